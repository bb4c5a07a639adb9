"""A whole spec of a model of images and text, as declarations."""

from collections.abc import Mapping
from typing import Any

from codegen.language.keys import Section, choice, expr, key, mapping, section, text, when
from codegen.language.spec import Checkpoint, Fused
from codegen.language.values import Equation, Expression
from codegen.language.vision.equations import Projection
from codegen.language.vision.tensors import FIELDS, OUTPUTS


class Text(Section):
    """The text half: another spec of the repository, over which any key of the text language lays what is written."""

    spec: str | None = text(
        "Name of the spec, by itself the model type of the config's text. Any key of the text language may stand "
        "beside it: it is laid on that spec."
    )


class Vision(Section):
    """The tower, which is transformers' own, and what it is given."""

    tower: str | None = text("`auto` (AutoModel on the config's tower), or `family.Class` of transformers.")
    config: Mapping[str, Expression] | None = key(
        "tensors",
        "Fields of its class's config, where that is another family's than `config.vision_config`; other fields go "
        "over by equal name.",
    )
    pixels: Expression | None = key("tensor", "Its first argument.", names=FIELDS)
    inputs: Mapping[str, Expression] | None = key("tensors", "Further arguments, by name.", names=FIELDS)
    output: Expression | None = key(
        "tensor",
        "What of its output goes on: by itself `hidden_states[config.vision_feature_layer]` where there is such a "
        "field, else `last_hidden_state`; `pooler_output` where there is no projector.",
        names=OUTPUTS,
    )
    width: Expression | None = expr(
        "How wide a row of it is, of each layer where several go on.", "config.vision_config.hidden_size"
    )
    skip: Expression | None = expr(
        "Leading tokens that are no patches. By itself 1 where `config.vision_feature_select_strategy` is 'default', "
        "else 0."
    )
    grid: Expression | None = key(
        "tensor", "Height and width of each image in patches [I, 2]; by itself images are squares.", names=FIELDS
    )


class LinearPart(Section):
    """A linear map: what an equation calls and `parts` does not name is one, too. With `when` false, x goes on."""

    out: Expression | None = expr(
        "Output width; `width` is the incoming one.", "config.text_config.hidden_size", names=("width",)
    )
    bias: Expression | None = expr("Bias.", "config.multimodal_projector_bias", "config.projector_bias", "True")
    when: Expression | None = when()


class RmsNormPart(Section):
    """An RMS norm."""

    eps: Expression | None = expr("Epsilon.", "config.text_config.rms_norm_eps")
    offset: int | None = choice("What is added to the weight.", 0, 1)
    when: Expression | None = when()


class LayerNormPart(Section):
    """A layer norm."""

    eps: Expression | None = expr("Epsilon.", "1e-05")
    when: Expression | None = when()


class ProjectorModule(Section):
    """A projector that is no sequence of maps: a module of transformers, called on x as it left the tower."""

    class_: str | None = text("`family.Class` of transformers.")
    config: Expression | None = expr("What it is built with; by itself the whole config.")
    inputs: Mapping[str, Expression] | None = key("tensors", "Further arguments, by name.", names=FIELDS)


class ParameterPart(Section):
    """A vector that equations read by its name; on disk it lies beside the projector."""

    out: Expression | None = expr("Its width.", "config.text_config.hidden_size")


PARTS: dict[str, type[Section]] = {
    **{"linear": LinearPart, "rmsnorm": RmsNormPart, "layernorm": LayerNormPart},
    "parameter": ParameterPart,
}


class Merge(Section):
    """Where rows of images go."""

    token: Expression | None = expr(
        "Id of the placeholder.",
        *("config.image_token_id", "config.image_token_index", "config.media_placeholder_token_id"),
    )
    lookup: Expression | None = expr(
        "Id whose embedding stands at a placeholder before, or without, its row; `token` is the placeholder's.",
        "token",
        names=("token",),
    )
    deepstack: str | None = text("Attribute of the tower's output: rows that are added after the first layers.")


class Arange(Section):
    """Positions count tokens."""

    start: Expression | None = expr("The first position.", "0")


class Mrope(Section):
    """Positions in time, height and width (Qwen2-VL)."""

    order: str | None = choice("Which frequencies follow which axis.", "chunked", "interleaved")
    sections: Expression | None = expr("Frequencies of each axis.", "config.text_config.rope_parameters.mrope_section")
    grid: Expression | None = key("tensor", "Frames, height and width of each image in patches [I, 3].", names=FIELDS)
    merge: Expression | None = expr("Patches a side that make one row.", "config.vision_config.spatial_merge_size")


POSITIONS: dict[str, type[Section]] = {"arange": Arange, "mrope": Mrope}


class Head(Section):
    """The output head."""

    tie: Expression | None = expr("Whether it shares the token embedding.", "config.tie_word_embeddings")


class Processor(Section):
    """What makes batches; only tests and documentation read it."""

    class_: str | None = text("Class of transformers.")
    tokens: Expression | None = expr("Placeholders of an image.", names=("height", "width"))


class TowerOnDisk(Section):
    """Where the tower's own tensors lie below its prefix, otherwise than its class calls them."""

    names: Mapping[str, Any] | None = mapping(
        "Whole dotted pieces of the class's names -> what stands there on disk, all at once: "
        "{layers: encoder.blocks, norm1: norm0, norm2: norm1}."
    )
    fused: Mapping[str, Fused] | None = key("fused", "stored tensor -> the tensors of the class that its rows are.")
    pairs: tuple[str, ...] | None = text(
        "Tensors of the class whose rows lie as rotary pairs on disk, and in halves of a head in the class.", many=True
    )


class ImageTextCheckpoint(Checkpoint):
    """How the weights lie on disk."""

    vision: TowerOnDisk | None = section("The tower's own names.", TowerOnDisk)


class ImageTextSpec(Section):
    """Sections that were not written hold their defaults."""

    text: Text = section("The text half.", Text, bare="spec")
    vision: Vision = section("The tower.", Vision, bare="tower")
    projector: Projection | ProjectorModule = key(
        "projection",
        "Equations x -> x; `none`: the tower has its own; or a module of transformers: `{class: family.Class}`.",
        section=ProjectorModule,
        default="x = linear_2(act(linear_1(x)))",
    )
    parts: Mapping[str, Section] = key("named", "What the equations call.", kinds=PARTS, default="linear", bare="kind")
    merge: Merge = section("Images among the text.", Merge)
    positions: Section = key("kinds", "Positions.", kinds=POSITIONS, default="arange", bare="kind")
    mask: str = choice("Who sees whom.", "causal", "image_blocks", "prefix")
    output: tuple[Equation, ...] = key(
        "equations",
        "x -> logits, where x is what the text's own output hands to its head: what that one does around it does not "
        "hold here.",
        default="logits = lm_head(x)",
    )
    head: Head = section("Output head.", Head)
    processor: Processor = section("Processor.", Processor, bare="class")
    checkpoint: ImageTextCheckpoint = section("Disk layout.", ImageTextCheckpoint)

    @property
    def equations(self) -> Projection:
        """Those of the projector; none where the tower or a module of transformers is it."""
        return () if isinstance(self.projector, ProjectorModule) else self.projector

    @property
    def parameters(self) -> tuple[str, ...]:
        """Parts that are vectors."""
        return tuple(name for name, part in self.parts.items() if isinstance(part, ParameterPart))
