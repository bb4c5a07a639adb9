"""Vision-language models composed by hand of the library's parts and generated text models, one for each shape.

Llava (a fixed square, layers chosen by number), Mistral3 (sizes of its own for each image, merged patches), Qwen2_5VL
(packed patches, three axes), Qwen3VL (features for several layers, interleaved axes), Gemma3 (pooled, blocks),
PaliGemma (a prefix).
"""

from math import isqrt

import torch
from torch import nn
from transformers import (
    Gemma3Config,
    LlavaConfig,
    Mistral3Config,
    PaliGemmaConfig,
    Qwen2_5_VLConfig,
    Qwen3VLConfig,
)
from transformers import initialization as init
from transformers.activations import ACT2FN
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VisionTransformerPretrainedModel
from transformers.processing_utils import Unpack
from transformers.utils.generic import TransformersKwargs

from nemo_automodel.components.models.common.causal_lm import CausalLM
from nemo_automodel.components.models.common.norm import OffsetFloat32RMSNorm, RMSNorm
from nemo_automodel.components.models.common.vision.adapter import ImageTextStateDictAdapter
from nemo_automodel.components.models.common.vision.causal import ImageTextLM
from nemo_automodel.components.models.common.vision.masks import image_blocks, prefix
from nemo_automodel.components.models.common.vision.merging import avg_pool, merge_patches
from nemo_automodel.components.models.common.vision.model import (
    ImageTextModel,
    ImageTextModelWithAxes,
    ImageTextModelWithDeepstack,
)
from nemo_automodel.components.models.common.vision.positions import AxesRotaryTable, merged_boxes
from nemo_automodel.components.models.common.vision.rows import rows, square_grid
from nemo_automodel.components.models.common.vision.tower import build_tower
from nemo_automodel.components.models.gemma.model import GemmaModel
from nemo_automodel.components.models.gemma.state_dict_adapter import GemmaStateDictAdapter
from nemo_automodel.components.models.gemma3_text.model import Gemma3Model as Gemma3TextModel
from nemo_automodel.components.models.gemma3_text.state_dict_adapter import (
    Gemma3StateDictAdapter as Gemma3TextStateDictAdapter,
)
from nemo_automodel.components.models.llama.model import LlamaModel
from nemo_automodel.components.models.llama.state_dict_adapter import LlamaStateDictAdapter
from nemo_automodel.components.models.mistral.model import MistralModel
from nemo_automodel.components.models.mistral.state_dict_adapter import MistralStateDictAdapter
from nemo_automodel.components.models.mistral4.model import Mistral4Model
from nemo_automodel.components.models.mistral4.state_dict_adapter import Mistral4StateDictAdapter
from nemo_automodel.components.models.qwen2.model import Qwen2Model
from nemo_automodel.components.models.qwen2.state_dict_adapter import Qwen2StateDictAdapter
from nemo_automodel.components.models.qwen3.model import Qwen3Model
from nemo_automodel.components.models.qwen3.state_dict_adapter import Qwen3StateDictAdapter
from nemo_automodel.components.moe.causal_lm import MoECausalLM

FOUR = {
    "language_model.model": "model.language_model",
    "language_model.lm_head": "lm_head",
    "vision_tower": "model.vision_tower",
    "multi_modal_projector": "model.multi_modal_projector",
}


class LM(ImageTextLM, CausalLM):
    """A head over `model_class`, which generated code writes out."""

    _tied_weights_keys = {"lm_head.weight": "model.language_model.embed_tokens.weight"}

    def __init__(self, config, backend=None):
        super().__init__(config, backend)
        self.model = self.base_class(config, self.backend)
        self.lm_head = nn.Linear(config.text_config.hidden_size, config.text_config.vocab_size, bias=False)
        self.post_init()

    def forward(
        self,
        input_ids=None,
        pixel_values=None,
        image_sizes=None,
        image_grid_thw=None,
        token_type_ids=None,
        attention_mask=None,
        position_ids=None,
        past_key_values=None,
        inputs_embeds=None,
        labels=None,
        use_cache=None,
        logits_to_keep=0,
        **kwargs: Unpack[TransformersKwargs],
    ):
        given = {
            "pixel_values": pixel_values,
            "image_sizes": image_sizes,
            "image_grid_thw": image_grid_thw,
            "token_type_ids": token_type_ids,
        }
        return super().forward(
            input_ids,
            attention_mask,
            position_ids,
            past_key_values,
            inputs_embeds,
            labels,
            use_cache,
            logits_to_keep,
            **{name: value for name, value in given.items() if value is not None},
            **kwargs,
        )


class LlavaAdapter(ImageTextStateDictAdapter):
    text_adapter, names = LlamaStateDictAdapter, FOUR


class LlavaProjector(nn.Module):
    def __init__(self, config):
        super().__init__()
        bias, layers = config.multimodal_projector_bias, config.vision_feature_layer
        count = 1 if isinstance(layers, int) else len(layers)
        self.linear_1 = nn.Linear(config.vision_config.hidden_size * count, config.text_config.hidden_size, bias=bias)
        self.act = ACT2FN[config.projector_hidden_act]
        self.linear_2 = nn.Linear(config.text_config.hidden_size, config.text_config.hidden_size, bias=bias)

    def forward(self, x):
        return self.linear_2(self.act(self.linear_1(x)))


class LlavaModel(ImageTextModel):
    config_class, adapter_class = LlavaConfig, LlavaAdapter
    _no_split_modules = ["LlamaDecoderLayer", "CLIPEncoderLayer"]

    def __init__(self, config, backend=None):
        super().__init__(config, backend)
        self.image_token = config.image_token_id
        self.vision_tower = build_tower(config.vision_config)
        self.multi_modal_projector = LlavaProjector(config)
        self.language_model = LlamaModel(config.text_config, self.backend)
        self.post_init()

    def image_features(self, pixel_values):
        layers, skip = self.config.vision_feature_layer, self.config.vision_feature_select_strategy == "default"
        states = self.vision_tower(pixel_values, output_hidden_states=True).hidden_states
        x = states[layers] if isinstance(layers, int) else torch.cat([states[layer] for layer in layers], -1)
        return self.multi_modal_projector(x[:, int(skip) :])


class Llava(LM):
    config_class, adapter_class, base_class = LlavaConfig, LlavaAdapter, LlavaModel


class Mistral3Adapter(ImageTextStateDictAdapter):
    text_adapter, names = MistralStateDictAdapter, FOUR


class Mistral3Projector(nn.Module):
    def __init__(self, config):
        super().__init__()
        vision, text, bias = config.vision_config, config.text_config, config.multimodal_projector_bias
        self.n = config.spatial_merge_size
        self.norm = RMSNorm(vision.hidden_size, text.rms_norm_eps)
        self.patch_merger = nn.Module()
        self.patch_merger.merging_layer = nn.Linear(self.n**2 * vision.hidden_size, vision.hidden_size, bias=False)
        self.linear_1 = nn.Linear(vision.hidden_size, text.hidden_size, bias=bias)
        self.act = ACT2FN[config.projector_hidden_act]
        self.linear_2 = nn.Linear(text.hidden_size, text.hidden_size, bias=bias)

    def forward(self, x, grid):
        x, grid = merge_patches(self.norm(x), grid, self.n, "channel_major")
        return self.linear_2(self.act(self.linear_1(self.patch_merger.merging_layer(x))))


class Mistral3Model(ImageTextModel):
    config_class, adapter_class, text_class = Mistral3Config, Mistral3Adapter, MistralModel
    image_fields = ("pixel_values", "image_sizes")
    _no_split_modules = ["MistralDecoderLayer", "PixtralAttentionLayer"]

    def __init__(self, config, backend=None):
        super().__init__(config, backend)
        self.image_token = config.image_token_id
        self.vision_tower = build_tower(config.vision_config)
        self.multi_modal_projector = Mistral3Projector(config)
        self.language_model = self.text_class(config.text_config, self.backend)
        self.post_init()

    def image_features(self, pixel_values, image_sizes):
        states = self.vision_tower(pixel_values, image_sizes=image_sizes, output_hidden_states=True).hidden_states
        grid = image_sizes // self.config.vision_config.patch_size
        return self.multi_modal_projector(rows(states[self.config.vision_feature_layer], grid), grid)


class Mistral3(LM):
    config_class, adapter_class, base_class = Mistral3Config, Mistral3Adapter, Mistral3Model


class Mistral4VLAdapter(ImageTextStateDictAdapter):
    text_adapter, names = Mistral4StateDictAdapter, FOUR


class Mistral4VLModel(Mistral3Model):
    config_class, adapter_class, text_class = Mistral3Config, Mistral4VLAdapter, Mistral4Model
    _supports_flash_attn = False
    _no_split_modules = ["Mistral4DecoderLayer", "PixtralAttentionLayer"]


class Mistral4VL(LM, MoECausalLM):
    config_class, adapter_class, base_class = Mistral3Config, Mistral4VLAdapter, Mistral4VLModel
    _supports_flash_attn = False


class Qwen2_5VLAdapter(ImageTextStateDictAdapter):
    text_adapter, tower_path = Qwen2StateDictAdapter, "model.visual"
    names = {"model": "model.language_model", "visual": "model.visual"}


class Qwen2_5VLModel(ImageTextModelWithAxes):
    config_class, adapter_class = Qwen2_5_VLConfig, Qwen2_5VLAdapter
    image_fields = ("pixel_values", "image_grid_thw")
    _no_split_modules = ["Qwen2DecoderLayer", "Qwen2_5_VLVisionBlock"]

    def __init__(self, config, backend=None):
        super().__init__(config, backend)
        self.image_token = config.image_token_id
        self.visual = build_tower(config.vision_config, of=Qwen2_5_VisionTransformerPretrainedModel)
        self.language_model = Qwen2Model(config.text_config, self.backend)
        self.language_model.rotary_emb = AxesRotaryTable(
            self.language_model.rotary_emb, config.text_config.rope_parameters["mrope_section"]
        )
        self.post_init()

    def image_features(self, pixel_values, image_grid_thw):
        return self.visual(pixel_values, grid_thw=image_grid_thw).pooler_output

    def boxes(self, image_grid_thw, **fields):
        return merged_boxes(image_grid_thw, self.config.vision_config.spatial_merge_size)


class Qwen2_5VL(LM):
    config_class, adapter_class, base_class = Qwen2_5_VLConfig, Qwen2_5VLAdapter, Qwen2_5VLModel


class Qwen3VLAdapter(ImageTextStateDictAdapter):
    text_adapter, tower_path = Qwen3StateDictAdapter, "model.visual"


class Qwen3VLModel(ImageTextModelWithDeepstack, ImageTextModelWithAxes):
    config_class, adapter_class = Qwen3VLConfig, Qwen3VLAdapter
    image_fields = ("pixel_values", "image_grid_thw")
    _no_split_modules = ["Qwen3DecoderLayer", "Qwen3VLVisionBlock"]

    def __init__(self, config, backend=None):
        super().__init__(config, backend)
        self.image_token = config.image_token_id
        self.visual = build_tower(config.vision_config)
        self.language_model = Qwen3Model(config.text_config, self.backend)
        self.language_model.rotary_emb = AxesRotaryTable(
            self.language_model.rotary_emb, config.text_config.rope_parameters["mrope_section"], "interleaved"
        )
        self.post_init()

    def image_features(self, pixel_values, image_grid_thw):
        output = self.visual(pixel_values, grid_thw=image_grid_thw)
        return output.pooler_output, output.deepstack_features

    def boxes(self, image_grid_thw, **fields):
        return merged_boxes(image_grid_thw, self.config.vision_config.spatial_merge_size)


class Qwen3VL(LM):
    config_class, adapter_class, base_class = Qwen3VLConfig, Qwen3VLAdapter, Qwen3VLModel


class Gemma3Adapter(ImageTextStateDictAdapter):
    text_adapter, names = Gemma3TextStateDictAdapter, FOUR


class Gemma3Projector(nn.Module):
    def __init__(self, config):
        super().__init__()
        vision = config.vision_config
        self.n = vision.image_size // vision.patch_size // isqrt(config.mm_tokens_per_image)
        self.mm_soft_emb_norm = OffsetFloat32RMSNorm(vision.hidden_size, vision.layer_norm_eps)
        self.mm_input_projection_weight = nn.Parameter(torch.empty(vision.hidden_size, config.text_config.hidden_size))

    def initialize(self, std):
        init.zeros_(self.mm_input_projection_weight)

    def forward(self, x, grid):
        x, grid = avg_pool(x, grid, self.n)
        return self.mm_soft_emb_norm(x) @ self.mm_input_projection_weight


class Gemma3Model(ImageTextModel):
    config_class, adapter_class = Gemma3Config, Gemma3Adapter
    _supports_flash_attn = False
    _no_split_modules = ["Gemma3DecoderLayer", "SiglipEncoderLayer"]

    def __init__(self, config, backend=None):
        super().__init__(config, backend)
        self.image_token = config.image_token_id
        self.vision_tower = build_tower(config.vision_config)
        self.multi_modal_projector = Gemma3Projector(config)
        self.language_model = Gemma3TextModel(config.text_config, self.backend)
        self.post_init()

    def image_features(self, pixel_values):
        x = self.vision_tower(pixel_values).last_hidden_state
        grid = square_grid(x)
        return self.multi_modal_projector(rows(x, grid), grid)

    def lookup(self, input_ids):
        if self.image_token < self.config.text_config.vocab_size:
            return input_ids
        return input_ids.masked_fill(self.is_image(input_ids), 0)

    def together(self, is_image, images):
        return image_blocks(is_image) if images else None


class Gemma3(LM):
    config_class, adapter_class, base_class = Gemma3Config, Gemma3Adapter, Gemma3Model
    _supports_flash_attn = False


class PaliGemmaAdapter(ImageTextStateDictAdapter):
    text_adapter, names = GemmaStateDictAdapter, FOUR


class PaliGemmaProjector(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.linear = nn.Linear(config.vision_config.hidden_size, config.text_config.hidden_size)

    def forward(self, x):
        return self.linear(x)


class PaliGemmaModel(Gemma3Model):
    config_class, adapter_class = PaliGemmaConfig, PaliGemmaAdapter
    token_fields, first_position = ("token_type_ids",), 1
    _no_split_modules = ["GemmaDecoderLayer", "SiglipEncoderLayer"]

    def __init__(self, config, backend=None):
        super(Gemma3Model, self).__init__(config, backend)
        self.image_token = config.image_token_id
        self.vision_tower = build_tower(config.vision_config)
        self.multi_modal_projector = PaliGemmaProjector(config)
        self.language_model = GemmaModel(config.text_config, self.backend)
        self.post_init()

    def image_features(self, pixel_values):
        return self.multi_modal_projector(self.vision_tower(pixel_values).last_hidden_state)

    def together(self, is_image, images, token_type_ids=None):
        return prefix(token_type_ids)


class PaliGemma(LM):
    config_class, adapter_class, base_class = PaliGemmaConfig, PaliGemmaAdapter, PaliGemmaModel
    _supports_flash_attn = False
