"""Llama 4 of images and text (transformers' Llama4ForConditionalGeneration), callable with every release: that class
raises in every forward since 5.24 (findings/llama4_raises_in_every_forward.sh). Tower, projector and text are its own.
They lie as in transformers' other classes of images and text, and are read from the names on disk of this one."""

import torch
from torch import nn
from transformers import GenerationMixin, Llama4Config, Llama4TextModel, Llama4VisionModel
from transformers.conversion_mapping import register_checkpoint_conversion_mapping
from transformers.core_model_loading import WeightRenaming
from transformers.modeling_outputs import MoeCausalLMOutputWithPast, MoeModelOutputWithPast
from transformers.models.llama4.modeling_llama4 import Llama4MultiModalProjector, Llama4PreTrainedModel

PLACES = {
    r"^language_model\.lm_head": "lm_head",
    r"^language_model\.model": "model.language_model",
    r"^vision_model": "model.vision_model",
    r"^multi_modal_projector": "model.multi_modal_projector",
}
register_checkpoint_conversion_mapping(
    "CallableLlama4",
    [WeightRenaming(source_patterns=disk, target_patterns=memory) for disk, memory in PLACES.items()],
    overwrite=True,
)


class CallableLlama4Model(Llama4PreTrainedModel):
    config: Llama4Config
    config_class = Llama4Config

    def __init__(self, config):
        super().__init__(config)
        self.vision_model = Llama4VisionModel(config.vision_config)
        self.multi_modal_projector = Llama4MultiModalProjector(config)
        self.language_model = Llama4TextModel(config.text_config)
        self.post_init()

    def get_input_embeddings(self):
        return self.language_model.get_input_embeddings()

    def set_input_embeddings(self, value):
        self.language_model.set_input_embeddings(value)

    def get_image_features(self, pixel_values):
        x = self.vision_model(pixel_values).last_hidden_state
        return self.multi_modal_projector(x.flatten(0, 1))

    def forward(self, input_ids=None, pixel_values=None, inputs_embeds=None, **kwargs):
        if inputs_embeds is None:
            inputs_embeds = self.get_input_embeddings()(input_ids)
        if pixel_values is not None:
            features = self.get_image_features(pixel_values).to(inputs_embeds.dtype)
            places = input_ids == self.config.image_token_id
            if places.sum() != len(features):
                raise ValueError(f"{places.sum()} image tokens, {len(features)} features")
            inputs_embeds = inputs_embeds.masked_scatter(places[..., None], features)
        return MoeModelOutputWithPast(**self.language_model(inputs_embeds=inputs_embeds, **kwargs))


class CallableLlama4(Llama4PreTrainedModel, GenerationMixin):
    config: Llama4Config
    config_class = Llama4Config
    _tied_weights_keys = {"lm_head.weight": "model.language_model.embed_tokens.weight"}

    def __init__(self, config):
        super().__init__(config)
        self.model = CallableLlama4Model(config)
        self.lm_head = nn.Linear(config.text_config.hidden_size, config.text_config.vocab_size, bias=False)
        self.post_init()

    def get_expanded_tied_weights_keys(self, all_submodels=False):
        """By the flag of the text half, which is a causal model of its own in transformers' class."""
        said, self.config.tie_word_embeddings = (
            self.config.tie_word_embeddings,
            self.config.text_config.tie_word_embeddings,
        )
        try:
            return super().get_expanded_tied_weights_keys(all_submodels)
        finally:
            self.config.tie_word_embeddings = said

    def get_decoder(self):
        return self.model.language_model

    def get_image_features(self, pixel_values):
        return self.model.get_image_features(pixel_values)

    def forward(
        self,
        input_ids=None,
        pixel_values=None,
        attention_mask=None,
        position_ids=None,
        inputs_embeds=None,
        labels=None,
        logits_to_keep=0,
        **kwargs,
    ):
        given = {"attention_mask": attention_mask, "position_ids": position_ids, **kwargs}
        outputs = self.model(input_ids, pixel_values, inputs_embeds, **given)
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(outputs.last_hidden_state[:, kept])
        rows = self.config.text_config.vocab_size
        loss = None
        if labels is not None:
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=rows, **kwargs)
        rest = {name: value for name, value in outputs.items() if name != "last_hidden_state"}
        return MoeCausalLMOutputWithPast(loss=loss, logits=logits, **rest)

    def _expand_inputs_for_generation(self, expand_size=1, is_encoder_decoder=False, input_ids=None, **kwargs):
        """Continuations of one text have its images each."""
        pixels = kwargs.pop("pixel_values", None)
        ids, kwargs = super()._expand_inputs_for_generation(expand_size, is_encoder_decoder, input_ids, **kwargs)
        return ids, kwargs if pixels is None else {**kwargs, "pixel_values": torch.cat([pixels] * expand_size)}
