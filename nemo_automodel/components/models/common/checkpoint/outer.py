"""The text half of a checkpoint of an outer class, a vision-language model say, by the names of its tensors."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class TextHalf:
    """Which names on disk are the text model's: those below `outer` are called `inner` by the text model's own rules.

    outer None: the checkpoint is the text model's own.
    """

    outer: str | None = None
    inner: str = ""
    head: str = ""
    left_out: dict = field(default_factory=dict)

    def in_text(self, name):
        """The name that the text model's checkpoints have for it, or None."""
        if self.outer is None or self._is_head(name):
            return name
        return self.inner + name.removeprefix(self.outer) if name.startswith(self.outer) else None

    def on_disk(self, name):
        """The name in this checkpoint."""
        if self.outer is None or self._is_head(name):
            return name
        return self.outer + name.removeprefix(self.inner)

    def tensors(self, tensors):
        """{name of the text model: tensor} of {name on disk: tensor}."""
        named = {self.in_text(name): tensor for name, tensor in tensors.items()}
        named.pop(None, None)
        return named

    def _is_head(self, name):
        return bool(self.inner) and name.startswith(self.head)


def text_half(names, model, adapter):
    """The TextHalf of these names on disk: where the token embedding of the model lies deeper than in its own.

    Both layouts are known: `language_model.model.layers...` beside `language_model.lm_head`, and
    `model.language_model.layers...` beside `lm_head`. The rest, the other halves, is left out.
    """
    prefix = f"{model.base_model_prefix}."
    embedding = adapter.convert_single_tensor_to_hf(*_embedding(model))[0][0]
    short = embedding.removeprefix(prefix)
    found = [name for name in names if name == short or name.endswith("." + short)]
    if len(found) != 1 or found[0] in (short, embedding):
        return TextHalf()
    place = found[0].removesuffix(short)  # "language_model.model." or "model.language_model."
    outer, inner = (place.removesuffix(prefix), "") if place.endswith("." + prefix) else (place, prefix)
    half = TextHalf(outer, inner, f"{getattr(model, '_output_embed_layer', 'lm_head')}.")
    rest = [name for name in names if half.in_text(name) is None]
    return TextHalf(outer, inner, half.head, {f"all but the text model ({outer}*)": rest} if rest else {})


def _embedding(model):
    weight = model.get_input_embeddings().weight
    name = next(name for name, parameter in model.named_parameters() if parameter is weight)
    return name, weight
