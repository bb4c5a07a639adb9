"""The model with a head: what `generate` must know of images."""

from functools import wraps

import torch
from transformers import GenerationMixin

from nemo_automodel.components.models.common.masks import seen
from nemo_automodel.components.models.common.releases import CACHE
from nemo_automodel.components.models.common.vision.model import remember

SAID_BY_IDS = ("mm_token_type_ids", "token_type_ids")  # what processors add, and the ids or the model say already


class ImageTextLM:
    """Images go in with the prompt alone. Stands before the causal model's class.

    text_class: of the text half alone, where it is no model of another family.
    """

    text_class = None

    @property
    def ties(self):
        """Whether the head is the token embedding's."""
        return self.config.tie_word_embeddings

    def get_expanded_tied_weights_keys(self, all_submodels=False):
        """transformers goes by the config of the whole."""
        said = self.config.tie_word_embeddings
        self.config.tie_word_embeddings = self.ties
        try:
            return super().get_expanded_tied_weights_keys(all_submodels)
        finally:
            self.config.tie_word_embeddings = said

    def get_decoder(self):
        return self.model.get_decoder()

    def get_image_features(self, **images):
        return self.model.get_image_features(**images)

    def _validate_model_kwargs(self, model_kwargs):
        super()._validate_model_kwargs({name: model_kwargs[name] for name in model_kwargs if name not in SAID_BY_IDS})

    @wraps(GenerationMixin.prepare_inputs_for_generation)  # `generate` reads the signature
    def prepare_inputs_for_generation(self, input_ids, next_sequence_length=None, is_first_iteration=False, **kwargs):
        """Images belong to what no cache holds: the prompt, or the whole text where it is read again."""
        inputs = super().prepare_inputs_for_generation(
            input_ids, next_sequence_length, is_first_iteration=is_first_iteration, **kwargs
        )
        model, cache = self.model, inputs.get(CACHE)
        new = is_first_iteration or not seen(cache)
        inputs.update({name: kwargs.get(name) if new else None for name in model.image_fields})
        if inputs.get("input_ids") is not None:
            self._place(inputs, kwargs.get("attention_mask"), cache)
        elif model.counts_positions:
            inputs["position_ids"] = None  # the model counts, by the embeddings
        return inputs

    def _place(self, inputs, mask, cache):
        """Positions, and masks that were made ahead, of a text whose images are known only here."""
        model = self.model
        is_image = model.is_image(inputs["input_ids"])
        images = model.given(inputs)
        if model.counts_positions:
            inputs["position_ids"], shift = model.positions(is_image, mask, cache, images, inputs.get("copies", 1))
            remember(cache, shift)
        elif model.first_position and inputs.get("position_ids") is not None:
            inputs["position_ids"] = inputs["position_ids"] + model.first_position
        tokens = {name: inputs[name] for name in model.token_fields if inputs.get(name) is not None}
        blocks = model.together(is_image, images, **tokens)
        if blocks is not None and isinstance(inputs.get("attention_mask"), dict):
            x = torch.empty(*is_image.shape, 0, dtype=self.dtype, device=is_image.device)
            inputs["attention_mask"] = model.masks(x, mask, cache, inputs.get("position_ids"), blocks)

    def _expand_inputs_for_generation(self, expand_size=1, is_encoder_decoder=False, input_ids=None, **model_kwargs):
        """Several continuations of a text: its images are not copied, and pass the tower once."""
        fields = self.model.image_fields
        images = {name: model_kwargs.pop(name) for name in fields if name in model_kwargs}
        input_ids, model_kwargs = super()._expand_inputs_for_generation(
            expand_size, is_encoder_decoder, input_ids, **model_kwargs
        )
        copies = {"copies": expand_size} if expand_size > 1 else {}
        return input_ids, {**model_kwargs, **images, **copies}
