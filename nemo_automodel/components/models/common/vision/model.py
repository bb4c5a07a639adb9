"""Models of images and text: features take the places of placeholders among the text's embeddings, and the generated
text model does the rest.

Shapes: B batch, S positions, H text width, I images, T rows of features of all images, in their order.
"""

import re

import torch
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.processing_utils import Unpack
from transformers.utils.generic import TransformersKwargs

from nemo_automodel.components.models.common.decoder import Decoder
from nemo_automodel.components.models.common.masks import seen
from nemo_automodel.components.models.common.releases import CACHE, sort_cache
from nemo_automodel.components.models.common.vision.given import CURE, Takes, refuse_videos
from nemo_automodel.components.models.common.vision.positions import image_positions
from nemo_automodel.components.models.common.vision.tower import family_of


class ImageTextModel(Decoder):
    """ids [B, S], images -> x [B, S, H].

    Subclasses set `image_token`, the tower, the projector and the text model, which lies at the adapter's `text_path`,
    and say by `image_features` what the tower is given; where they differ, `lookup` and `together` too. image_fields:
    what `image_features` takes, pixels first. token_fields: what `together` takes besides. first_position: where texts
    begin to count.
    """

    image_fields = ("pixel_values",)
    token_fields = ()
    first_position = 0
    counts_positions = False  # whether `positions` knows more than the mask says

    def post_init(self):
        """What the text model alone leaves out of its checkpoints (a tower) is no surplus where it is held."""
        super().post_init()
        adapter = self.adapter_class
        places = [f"{place}." for place in (*adapter.names, *adapter.names.values(), adapter.tower_path)]
        left_out = self._keys_to_ignore_on_load_unexpected
        self._keys_to_ignore_on_load_unexpected = {
            one for one in left_out if not any(re.search(one, place) for place in places)
        }
        tower = self.get_submodule(adapter.tower_path.removeprefix(f"{self.base_model_prefix}."))
        self._takes = Takes.of(self.config, tower, self.image_fields)

    def get_input_embeddings(self):
        return self.get_decoder().get_input_embeddings()

    def set_input_embeddings(self, value):
        self.get_decoder().set_input_embeddings(value)

    def get_decoder(self):
        return getattr(self, self._text_name)

    @property
    def _text_name(self):
        return self.adapter_class.text_path.removeprefix(f"{self.base_model_prefix}.")

    @property
    def _layers_name(self):
        return f"{self._text_name}.{self.get_decoder()._layers_name}"

    @property
    def decoder_layers(self):
        return self.get_decoder().decoder_layers

    @property
    def _layer_kinds(self):
        return self.get_decoder()._layer_kinds

    @property
    def switching_tables(self):
        return self.get_decoder().switching_tables

    def masks(self, *args, **kwargs):
        return self.get_decoder().masks(*args, **kwargs)

    def _init_weights(self, module):
        family = family_of(module, self.config)
        if family is None:
            super()._init_weights(module)
        else:
            family._init_weights(module)

    def image_features(self, **images):
        """Rows of the images, one for each placeholder: [T, H], or [I, P, H] where each has P of them."""
        raise NotImplementedError(f"{type(self).__name__}: say what its tower is given")

    def get_image_features(self, **images):
        """The same as transformers returns it: in `pooler_output`, the rows of all images one after the other.

        Raises ValueError where the fields contradict one another, or what the tower takes.
        """
        return BaseModelOutputWithPooling(pooler_output=_rows(self._features(self.given(images))))

    def given(self, keywords):
        """Those of `image_fields` among them that are given, as tensors that fit one another and the tower. Raises
        ValueError where they do not."""
        found = {name: keywords[name] for name in self.image_fields if keywords.get(name) is not None}
        return self._takes.checked(found, self.image_fields)

    def _features(self, images):
        """`image_features` of pixels in the dtype of the tower, which is the first of the parts."""
        pixels = self.image_fields[0]
        try:
            return self.image_features(**{**images, pixels: images[pixels].to(self.dtype)})
        except LookupError as error:  # in a table that is made for other sizes
            told = ", ".join(f"{name} {tuple(value.shape)}" for name, value in images.items())
            raise ValueError(f"{told} do not fit the tower: {error}; {CURE}, of images that it can take") from error

    def lookup(self, input_ids):
        """The ids whose embeddings stand at their places before (or without) images [B, S]."""
        return input_ids

    def together(self, is_image, images, **tokens):
        """`Blocks` [B, S] of tokens that see each other; None: each sees those before it."""

    def is_image(self, input_ids):
        """Which ids are placeholders [B, S]."""
        return input_ids == self.image_token

    def positions(self, is_image, attention_mask, past_key_values, images, copies=1):
        """(positions, what a cache must remember of them); (None, None): the text model counts."""
        if not self.first_position:
            return None, None
        first = self.first_position + seen(past_key_values)
        return torch.arange(first, first + is_image.shape[1], device=is_image.device)[None], None

    def forward(
        self,
        input_ids=None,
        attention_mask=None,
        position_ids=None,
        past_key_values=None,
        inputs_embeds=None,
        use_cache=None,
        cache=None,
        copies=1,
        mm_token_type_ids=None,
        **kwargs: Unpack[TransformersKwargs],
    ):
        """`mm_token_type_ids` say what the ids say already. copies: how many rows, one after the other, have the same
        images. Raises ValueError where placeholders and rows of features are not equally many, where what is given of
        images does not fit together, and for videos.
        """
        images, tokens = self.given(self._taken(self.image_fields, kwargs)), self._taken(self.token_fields, kwargs)
        refuse_videos(kwargs)
        past_key_values, kwargs = sort_cache(past_key_values, cache, kwargs)
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("You must specify exactly one of input_ids or inputs_embeds")
        is_image = self._placeholders(inputs_embeds, images) if input_ids is None else self.is_image(input_ids)
        x = self.get_input_embeddings()(self.lookup(input_ids)) if inputs_embeds is None else inputs_embeds
        x, added = self._put(x, is_image, images, copies)
        shift = None
        if use_cache is None:  # some families' config says it of the whole
            use_cache = getattr(self.config, "use_cache", None)
        if position_ids is None:
            position_ids, shift = self.positions(is_image, attention_mask, past_key_values, images, copies)
        outputs = self.get_decoder()(
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=x,
            use_cache=use_cache,
            blocks=self.together(is_image, images, **tokens),
            added=added,
            **kwargs,
        )
        remember(outputs.get(CACHE), shift)
        return outputs

    def _taken(self, fields, kwargs):
        """Those of the fields that are given, which are not the text model's."""
        found = {name: kwargs.pop(name, None) for name in fields}
        return {name: value for name, value in found.items() if value is not None}

    def _placeholders(self, inputs_embeds, images):
        """Which embeddings are those of the placeholder [B, S]; none without images."""
        if not images:
            return torch.zeros(inputs_embeds.shape[:2], dtype=torch.bool, device=inputs_embeds.device)
        token = torch.tensor([self.image_token], device=inputs_embeds.device)
        looked_up = self.lookup(token)
        if looked_up.item() != self.image_token:
            raise ValueError(
                f"the image token {self.image_token} has no embedding of its own to be found by: give input_ids"
            )
        return (inputs_embeds == self.get_input_embeddings()(looked_up)).all(-1)

    def _put(self, x, is_image, images, copies):
        """x [B, S, H] with the rows of features in its placeholders, and what is added to the first layers' outputs."""
        if self.image_fields[0] not in images:
            return x, ()
        features = self._features(images)
        places = is_image.flatten().nonzero()[:, 0]
        rows = self._checked(_copied(_rows(features), is_image, copies), places)
        return _scattered(x, places, rows), self._added(features, x, is_image, places, copies)

    def _added(self, features, x, is_image, places, copies):
        return ()

    def _checked(self, rows, places):
        if len(rows) != len(places):
            raise ValueError(
                f"{len(places)} placeholders (token {self.image_token}) in the text, {len(rows)} rows of image "
                "features: an image needs as many placeholders as its rows; make ids and pixels by one processor call"
            )
        return rows


class ImageTextModelWithDeepstack(ImageTextModel):
    """`image_features` gives (rows, [rows, ...]): the k-th of the latter are added at the placeholders after layer k
    (Qwen3-VL, after DeepStack, arXiv 2406.04334)."""

    def _added(self, features, x, is_image, places, copies):
        deep = [_copied(rows, is_image, copies) for rows in features[1]]
        return [_scattered(torch.zeros_like(x), places, rows) for rows in deep]


class ImageTextModelWithAxes(ImageTextModel):
    """Tokens have positions in time, height and width (M-RoPE). Subclasses say by `boxes` how large images are.

    How far the count of positions is off that of tokens is remembered by the cache.
    """

    counts_positions = True

    def boxes(self, **images):
        """Frames, height and width of each image, in rows [I, 3]."""
        raise NotImplementedError(f"{type(self).__name__}: say how large its images are")

    def positions(self, is_image, attention_mask, past_key_values, images, copies=1):
        length, past = is_image.shape[1], seen(past_key_values)
        mask = attention_mask if getattr(attention_mask, "ndim", None) == 2 else None
        shift = _remembered(past_key_values if past else None, len(is_image), is_image.device)
        before = shift + (past if mask is None else mask[:, :-length].sum(-1, keepdim=True))
        new = torch.ones_like(is_image) if mask is None else mask[:, -length:].bool()
        if self.image_fields[0] not in images and mask is None and not past:
            return None, shift
        if self.image_fields[0] not in images:
            return ((new.cumsum(-1) - 1).clamp(min=0) + before).expand(3, -1, -1), shift
        one_each = slice(None, None, copies)
        places, counts = image_positions(
            is_image[one_each], self.boxes(**images), new[one_each], before.expand(len(is_image), 1)[one_each]
        )
        counts = counts.repeat_interleave(copies, dim=0)
        return places.repeat_interleave(copies, dim=1), shift + counts - before - new.sum(-1, keepdim=True)


def remember(cache, shift):
    """A cache keeps what later positions are ahead of the count of tokens [B, 1]."""
    if cache is not None and shift is not None:
        cache.shift = shift


def _remembered(cache, rows, device):
    """[B, 1]; a cache that was copied for several continuations has remembered for each of the rows before."""
    shift = getattr(cache, "shift", None)
    if shift is None:
        return torch.zeros(rows, 1, dtype=torch.long, device=device)
    return shift.to(device).repeat_interleave(rows // len(shift), dim=0)


def _rows(features):
    """The rows of features [T, H], with or without those for further layers."""
    return (features[0] if isinstance(features, tuple) else features).flatten(0, -2)


def _copied(rows, is_image, copies):
    """Rows of each text's images, as often as the text is there."""
    if copies == 1:
        return rows
    counts = is_image[::copies].sum(-1).tolist()
    return rows if sum(counts) != len(rows) else torch.cat([part.repeat(copies, 1) for part in rows.split(counts)])


def _scattered(x, places, rows):
    """x [B, S, H] with rows [T, H] at these places of the batch [T]."""
    return x.flatten(0, 1).index_copy(0, places, rows.to(x)).view_as(x)
