"""What every decoder-only language model does alike: embedding, masks, layers, cache, outputs, loss."""

from functools import wraps

import torch
from transformers import DynamicCache, GenerationMixin, StaticCache
from transformers.generation import GenerationMode
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.processing_utils import Unpack
from transformers.utils.generic import TransformersKwargs, can_return_tuple, merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

from nemo_automodel import _alone as _alone
from nemo_automodel.components.models.common.cross_entropy import (
    LARGE_VOCABULARY,
    chunked_cross_entropy,
    cross_entropy,
    why_not_chunked,
)
from nemo_automodel.components.models.common.decoder import Decoder
from nemo_automodel.components.models.common.few_rows import few_rows
from nemo_automodel.components.models.common.forgetting import products
from nemo_automodel.components.models.common.keywords import of_loss, refuse_unread
from nemo_automodel.components.models.common.masks import (
    cache_layers,
    dynamic_cache,
    fill,
    mask_kind,
    name_kinds,
    seen,
    with_bias,
)
from nemo_automodel.components.models.common.nested import place
from nemo_automodel.components.models.common.releases import (
    CACHE,
    NO_WAY_BACK,
    STATES,
    CheckpointedLayer,
    is_paged,
    sort_cache,
)
from nemo_automodel.components.models.common.stale_cache import empty, refuse_stale, switches, switching
from nemo_automodel.components.models.common.unsupported import refuse_both_ways


def of_text(position_ids):
    """Positions [B, S]; None for those of several axes, which tell neither of packing nor of a place in the text."""
    return position_ids if position_ids is None or position_ids.ndim == 2 else None


def last(x, count):
    """The last positions of x [B, S, H] by their count, 0: all; or those that a tensor names."""
    if isinstance(count, int):
        return x[:, -count:] if count else x
    return x[:, count]


class DecoderLayer(CheckpointedLayer):
    """x [B, S, H] -> x [B, S, H]. `rope_kind` names its table where the model has several."""

    rope_kind = "default"
    mask_kind = "full_attention"  # set by the model, from the layer's attention


class DecoderModel(Decoder):
    """ids [B, S] -> x [B, S, H]. Subclasses declare the parts and, where they differ, `embed` and `finish`."""

    _layers_name = "layers"
    _output_class = BaseModelOutputWithPast
    _positions_from_mask = False
    gradient_checkpointing = False  # switched with the layers; no cache is kept then
    is_first = is_last = True  # of the stages of a pipeline; the others get x, and give it, as it is between layers

    def post_init(self):
        kinds = [mask_kind(layer) for layer in self.decoder_layers]
        names = name_kinds(kinds)
        for layer, kind in zip(self.decoder_layers, kinds, strict=True):
            layer.mask_kind = names[kind]
        self._layer_kinds = kinds
        self._kinds = {name: (kind, kinds.index(kind)) for kind, name in names.items()}
        pinned = [module.pinned_names() for module in self.modules() if hasattr(type(module), "pinned_names")]
        self._keep_in_fp32_modules_strict = {name for names in pinned for name in names}
        super().post_init()

    def get_input_embeddings(self):
        return self.get_submodule(self._input_embed_layer)

    def set_input_embeddings(self, value):
        place(self, self._input_embed_layer, value)

    @property
    def decoder_layers(self):
        return self.get_submodule(self._layers_name)

    def embed(self, x, position_ids):
        """What follows the token embedding: x [B, S, H], positions [B, S] -> x [B, S, H]."""
        return x

    def finish(self, x):
        """What follows the last layer."""
        return self.norm(x)

    @merge_with_config_defaults
    @capture_outputs
    def forward(
        self,
        input_ids=None,
        attention_mask=None,
        position_ids=None,
        past_key_values=None,
        inputs_embeds=None,
        use_cache=None,
        cache=None,
        blocks=None,
        added=(),
        **kwargs: Unpack[TransformersKwargs],
    ):
        """`cache` is another name of `past_key_values`. Raises TypeError for keywords that nothing reads.

        position_ids: [B, S], or [axes, B, S] for a rotary table of several axes. blocks: `Blocks` [B, S], of tokens
        that see each other in both directions. added: tensors like x, the k-th of which is
        added to what layer k gives.
        """
        if not is_paged(cache):
            refuse_unread(kwargs, self.config)
        past_key_values, kwargs = sort_cache(past_key_values, cache, kwargs)
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("You must specify exactly one of input_ids or inputs_embeds")
        x = self.get_input_embeddings()(input_ids) if inputs_embeds is None else inputs_embeds
        if x.shape[1] == 0:
            raise ValueError(f"a batch of {x.shape[0]} texts without any position: give at least one token to each")
        if self.gradient_checkpointing and self.training and torch.is_grad_enabled():
            past_key_values = self._without_cache(past_key_values)
        elif use_cache and past_key_values is None:
            past_key_values = dynamic_cache(self._layer_kinds)
        fill(past_key_values, self._layer_kinds)
        masks = self.masks(x, attention_mask, past_key_values, of_text(position_ids), blocks)
        embedded = position_ids
        if position_ids is None:
            position_ids = self._positions(x, past_key_values)
            embedded = self._embedded_positions(position_ids, attention_mask)
        x = self.embed(x, embedded) if self.is_first else x
        if past_key_values is not None and (tables := self.switching_tables):
            refuse_stale(tables, position_ids, past_key_values)
        ropes, context = self._ropes(x, position_ids), self.layer_context(x, attention_mask)
        for index, layer in enumerate(self.decoder_layers[: self.config.num_hidden_layers]):
            x = layer(
                x,
                rope=ropes.get(layer.rope_kind),
                mask=masks[layer.mask_kind],
                past_key_values=past_key_values,
                use_cache=use_cache,
                position_ids=of_text(position_ids),
                **context,
                **kwargs,
            )
            x = x + added[index] if index < len(added) else x
        x = self.finish(x) if self.is_last else x
        return self._output_class(last_hidden_state=x, **{CACHE: past_key_values})

    def _without_cache(self, past_key_values):
        """Layers that run again for the backward pass would write twice. Raises ValueError where the past counts."""
        if past_key_values is not None and seen(past_key_values):
            raise ValueError("gradient checkpointing takes no cache with a past: give whole sequences, or disable it")

    def layer_context(self, x, attention_mask):
        """Further keywords of all layers, from what the first is given."""
        return {}

    def _positions(self, x, past_key_values):
        return (torch.arange(x.shape[1], device=x.device) + seen(past_key_values)).unsqueeze(0)

    def _embedded_positions(self, position_ids, attention_mask):
        """Positions of a learned table, where none are given; OPT's count the mask instead, and give padding -1."""
        if not self._positions_from_mask or getattr(attention_mask, "ndim", None) != 2:
            return position_ids
        counted = attention_mask.cumsum(-1) * attention_mask - 1
        return counted[:, -position_ids.shape[-1] :].long()

    def _ropes(self, x, position_ids):
        """{kind: (cosines, sines)}; empty where the model has no rotary positions."""
        tables = self._tables()
        made = {table: table(x, position_ids) for table in tables.values()}  # each once, whoever shares it
        return {kind: made[table] for kind, table in tables.items()}

    def _tables(self):
        table = getattr(self, "rotary_emb", None)
        if table is None:
            return {}
        return dict(table.items()) if isinstance(table, torch.nn.ModuleDict) else {"default": table}

    @property
    def switching_tables(self):
        return switching(self._tables().values())

    def masks(self, x, attention_mask, past_key_values, position_ids, blocks=None):
        """{kind: mask}, one for each kind that some layer wants; `generate` may have made them already.

        position_ids are the caller's: None tells that no sequences are packed. blocks: as of `forward`.
        """
        if isinstance(attention_mask, dict):
            return attention_mask
        alibi = getattr(self, "alibi", None)
        arguments = {
            "inputs_embeds": x,
            "attention_mask": attention_mask,
            "position_ids": position_ids,
            CACHE: past_key_values,
        }
        if blocks is not None:
            arguments["blocks"] = blocks.after(seen(past_key_values))
        masks = {
            name: kind.create(self.config, alibi is None, layer_idx=layer, **arguments)
            for name, (kind, layer) in self._kinds.items()
        }
        return masks if alibi is None else {name: self._biased(name, mask, arguments) for name, mask in masks.items()}

    def _biased(self, name, mask, arguments):
        implementation = self.config._attn_implementation
        if implementation not in ("eager", "sdpa"):
            raise ValueError(f"attn_implementation={implementation!r} takes no ALiBi biases: use 'eager' or 'sdpa'")
        cache, x = arguments[CACHE], arguments["inputs_embeds"]
        offset = 0 if cache is None else cache.get_mask_sizes(x.shape[1], self._kinds[name][1])[1]
        sum_dtype = self.alibi.sum_dtype if implementation == "eager" else None
        return with_bias(mask, self.alibi, arguments["attention_mask"], offset, x.dtype, sum_dtype)


class CausalLM(Decoder, GenerationMixin):
    """ids [B, S] -> logits [B, S, V], and the loss where labels are given."""

    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}
    _tp_plan = {"lm_head": "colwise_gather_output"}
    _pp_plan = {"lm_head": (["hidden_states"], ["logits"])}
    _fsdp_plan = {"lm_head": "keep_full_weight"}

    _output_embed_layer = "lm_head"

    def __init__(self, config, backend=None):
        refuse_both_ways(config)  # of a text by itself: beside images the spec says what sees what
        super().__init__(config, backend)
        self.loss_type = "ForCausalLM"  # transformers would look for it in the class name
        self.vocab_size = (
            config.get_text_config().vocab_size
        )  # losses that others put in place of ours read it, and resizing sets it

    @classmethod
    def _supports_default_dynamic_cache(cls):
        """All of ours do; transformers judges by the class's name, and its own MiniMax has a cache of another class."""
        return True

    def get_output_embeddings(self):
        return self.get_submodule(self._output_embed_layer)

    def set_output_embeddings(self, new_embeddings):
        if type(new_embeddings) is torch.nn.Linear:  # resizing makes a plain one
            new_embeddings.__class__ = type(self.get_output_embeddings())
        place(self, self._output_embed_layer, new_embeddings)

    def before_head(self, x):
        """What follows the base model: x [..., H] -> x [..., H]."""
        return x

    def transform_logits(self, logits):
        """What follows the head: logits [..., V] -> logits [..., V]."""
        return logits

    @can_return_tuple
    def forward(
        self,
        input_ids=None,
        attention_mask=None,
        position_ids=None,
        past_key_values=None,
        inputs_embeds=None,
        labels=None,
        use_cache=None,
        logits_to_keep=0,
        chunked_loss=None,
        cache=None,
        **kwargs: Unpack[TransformersKwargs],
    ):
        """`chunked_loss` overrides `backend.cross_entropy`: with it the loss comes without logits."""
        outputs = self.base_model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            cache=cache,
            **kwargs,
        )
        x = outputs.last_hidden_state
        if labels is not None and logits_to_keep == 0 and self._chunks_loss(chunked_loss):
            loss = self._chunked_loss(self.before_head(x), labels, **kwargs)
            return self.output(outputs, None, loss, attention_mask=attention_mask, labels=labels, **kwargs)
        x = self.before_head(last(x, logits_to_keep))
        (raw,) = products(x, self.get_output_embeddings())
        logits = self.transform_logits(raw)
        loss = None if labels is None else self._loss(x, raw, logits, labels, **kwargs)
        return self.output(outputs, logits, loss, attention_mask=attention_mask, labels=labels, **kwargs)

    def _loss(self, x, raw, logits, labels, **kwargs):
        """transformers' loss; where a gradient follows ours, equal and leaner (a compiler fuses theirs by itself).

        Its gradient goes to x and the head past the logits, where the head is a plain one.
        """
        is_own = getattr(self, "_loss_function", None) is not None
        if is_own or torch.compiler.is_compiling() or not logits.requires_grad:
            return self.loss_function(logits=logits, labels=labels, vocab_size=logits.shape[-1], **kwargs)
        if why_not_chunked(self.get_output_embeddings()) is None:
            return self._chunked_loss(x, labels, raw=raw, **kwargs)
        return cross_entropy(logits, labels, **of_loss(kwargs))

    def _chunks_loss(self, asked):
        """Raises ValueError where chunks are asked for and the head does not allow them."""
        if asked is None:
            asked = {"auto": None, "full": False, "chunked": True}[self.backend.cross_entropy]
        reason = why_not_chunked(self.get_output_embeddings())
        if asked and reason:
            raise ValueError(f"the loss cannot be chunked: {reason}; use backend.cross_entropy: full")
        if asked is None:
            return self.training and self.vocab_size >= LARGE_VOCABULARY and reason is None
        return asked

    def _chunked_loss(self, x, labels, raw=None, **kwargs):
        head, transform = self.get_output_embeddings(), self.transform_logits
        return chunked_cross_entropy(x, head, labels, transform, raw, **of_loss(kwargs))

    def output(self, outputs, logits, loss, **kwargs):
        """What the caller gets; `kwargs` are those of `forward`."""
        return CausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            **{CACHE: outputs.get(CACHE)},
        )

    @wraps(GenerationMixin.generate)
    def generate(self, *args, **kwargs):
        with few_rows(self):
            return super().generate(*args, **kwargs)

    def create_masks_for_generate(
        self, config, inputs_embeds, attention_mask, past_key_values=None, position_ids=None, cache=None, **kwargs
    ):
        """`generate` makes the masks of a static cache ahead of the compiled forward."""
        past_key_values, _ = sort_cache(past_key_values, cache, kwargs)
        return self.base_model.masks(inputs_embeds, attention_mask, past_key_values, position_ids)

    @wraps(GenerationMixin.prepare_inputs_for_generation)  # `generate` reads the signature
    def prepare_inputs_for_generation(self, input_ids, next_sequence_length=None, **kwargs):
        """Where the next token switches a rotary table, the whole text is read again into an emptied cache."""
        cache, tables = kwargs.get(CACHE), self.base_model.switching_tables
        past = seen(cache) if tables else 0
        if past and switches(tables, *self._lengths(input_ids, kwargs.get("position_ids"), past)):
            if kwargs.get("inputs_embeds") is not None:
                raise ValueError("rotary tables switch, and the text is not there to be read again: give input_ids")
            empty(cache, self.base_model._layer_kinds)
            next_sequence_length = None
        if STATES in kwargs:
            kwargs.pop(CACHE, None)
        inputs = super().prepare_inputs_for_generation(input_ids, next_sequence_length, **kwargs)
        if STATES in inputs:
            inputs[CACHE] = inputs.pop(STATES)
        return inputs

    def _lengths(self, input_ids, position_ids, seen):
        """Of the longest text: what the cache holds of it, and with the new tokens."""
        if position_ids is None:
            return seen, input_ids.shape[1]
        return int(position_ids[:, :seen].max()) + 1, int(position_ids.max()) + 1

    def _prepare_cache_for_generation(self, generation_config, model_kwargs, mode, *args, **kwargs):
        given = model_kwargs.get(CACHE)
        super()._prepare_cache_for_generation(generation_config, model_kwargs, mode, *args, **kwargs)
        if STATES in model_kwargs and mode == GenerationMode.ASSISTED_GENERATION:
            raise ValueError(NO_WAY_BACK)
        cache = model_kwargs.get(CACHE, model_kwargs.get(STATES))
        if given is None and type(cache) in (DynamicCache, StaticCache):
            length = self._previous_max_cache_length if isinstance(cache, StaticCache) else None
            cache.layers = cache_layers(self.base_model._layer_kinds, length)
