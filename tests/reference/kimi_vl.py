"""Kimi-VL (arXiv 2504.07491) as its published modelling file computes it: the tower and the text are transformers',
what stands between them is written out. Published names are read as transformers reads those of Kimi-K2.5."""

import torch
from torch import nn
from transformers import AutoModel, GenerationMixin, Kimi_K25PreTrainedModel
from transformers.conversion_mapping import (
    get_checkpoint_conversion_mapping,
    register_checkpoint_conversion_mapping,
)
from transformers.modeling_outputs import MoeCausalLMOutputWithPast, MoeModelOutputWithPast
from transformers.models.kimi_k25.configuration_kimi_k25 import Kimi_K25VisionConfig
from transformers.models.kimi_k25.modeling_kimi_k25 import Kimi_K25VisionModel

from nemo_automodel.components.models.kimivl.config import KimiVLConfig

SIZES = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "patch_size")

published = [
    entry
    for entry in get_checkpoint_conversion_mapping("kimi_k25")
    if not any("mm_projector" in pattern for pattern in entry.source_patterns)
]
register_checkpoint_conversion_mapping("PublishedKimiVL", published, overwrite=True)  # by the class: ours has the type


def tower_config(config):
    """The sizes of MoonViT under the names that Kimi-K2.5's tower has for them."""
    return Kimi_K25VisionConfig(
        attn_implementation=config._attn_implementation,
        **{name: getattr(config, name) for name in SIZES},
        merge_kernel_size=config.merge_kernel_size,
        pos_emb_height=config.init_pos_emb_height,
        pos_emb_width=config.init_pos_emb_width,
    )


class Projector(nn.Module):
    def __init__(self, config):
        super().__init__()
        vision = config.vision_config
        self.width = vision.hidden_size * vision.merge_kernel_size[0] * vision.merge_kernel_size[1]
        self.pre_norm = nn.LayerNorm(vision.hidden_size, eps=1e-5)
        self.linear_1 = nn.Linear(self.width, self.width)
        self.linear_2 = nn.Linear(self.width, config.text_config.hidden_size)

    def forward(self, x):
        return self.linear_2(nn.functional.gelu(self.linear_1(self.pre_norm(x).view(-1, self.width))))


class PublishedPreTrainedModel(Kimi_K25PreTrainedModel):
    config: KimiVLConfig
    config_class = KimiVLConfig


class PublishedKimiVLModel(PublishedPreTrainedModel):
    def __init__(self, config):
        super().__init__(config)
        self.vision_tower = Kimi_K25VisionModel._from_config(tower_config(config.vision_config))
        self.multi_modal_projector = Projector(config)
        self.language_model = AutoModel.from_config(config.text_config)
        self.post_init()

    def get_input_embeddings(self):
        return self.language_model.get_input_embeddings()

    def set_input_embeddings(self, value):
        self.language_model.set_input_embeddings(value)

    def get_image_features(self, pixel_values, image_grid_hws):
        grid = torch.cat((torch.ones_like(image_grid_hws[:, :1]), image_grid_hws), dim=1)
        return self.multi_modal_projector(self.vision_tower(pixel_values, grid_thw=grid).pooler_output)

    def forward(self, input_ids=None, pixel_values=None, image_grid_hws=None, inputs_embeds=None, **kwargs):
        if inputs_embeds is None:
            inputs_embeds = self.get_input_embeddings()(input_ids)
        if pixel_values is not None:
            features = self.get_image_features(pixel_values, image_grid_hws).to(inputs_embeds.dtype)
            places = input_ids == self.config.media_placeholder_token_id
            if places.sum() != len(features):
                raise ValueError(f"{places.sum()} image tokens, {len(features)} features")
            inputs_embeds = inputs_embeds.masked_scatter(places[..., None], features)
        return MoeModelOutputWithPast(**self.language_model(inputs_embeds=inputs_embeds, **kwargs))


class PublishedKimiVL(PublishedPreTrainedModel, GenerationMixin):
    _tied_weights_keys = {"lm_head.weight": "model.language_model.embed_tokens.weight"}

    def __init__(self, config):
        super().__init__(config)
        self.model = PublishedKimiVLModel(config)
        self.lm_head = nn.Linear(config.text_config.hidden_size, config.text_config.vocab_size, bias=False)
        self.post_init()

    def get_image_features(self, pixel_values, image_grid_hws):
        return self.model.get_image_features(pixel_values, image_grid_hws)

    def forward(
        self,
        input_ids=None,
        pixel_values=None,
        image_grid_hws=None,
        attention_mask=None,
        position_ids=None,
        inputs_embeds=None,
        labels=None,
        logits_to_keep=0,
        **kwargs,
    ):
        outputs = self.model(
            input_ids,
            pixel_values,
            image_grid_hws,
            inputs_embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            **kwargs,
        )
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(outputs.last_hidden_state[:, kept])
        loss = None
        if labels is not None:
            rows = self.config.text_config.vocab_size
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=rows, **kwargs)
        rest = {name: value for name, value in outputs.items() if name != "last_hidden_state"}
        return MoeCausalLMOutputWithPast(loss=loss, logits=logits, **rest)

    def _expand_inputs_for_generation(self, expand_size=1, is_encoder_decoder=False, input_ids=None, **kwargs):
        """Continuations of one text have its images each."""
        images = {name: kwargs.pop(name) for name in ("pixel_values", "image_grid_hws") if name in kwargs}
        if expand_size > 1 and images and len(input_ids) > 1:
            raise ValueError("continuations of one text at a time")
        ids, kwargs = super()._expand_inputs_for_generation(expand_size, is_encoder_decoder, input_ids, **kwargs)
        return ids, {**kwargs, **{name: torch.cat([one] * expand_size) for name, one in images.items()}}
