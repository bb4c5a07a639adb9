"""The projector of a draft: none, equations, or a module of transformers."""

from collections.abc import Iterator, Mapping, Sequence
from math import isqrt
from typing import Any, cast

from codegen.frozen import Frozen
from codegen.language.vision.equations import ORDERS
from codegen.new.body import Body
from codegen.new.vision.nearest import Candidate
from codegen.new.vision.placed import Placed
from codegen.new.vision.projector import Chain, Step, Widths, chain, equations
from codegen.new.vision.published import Published
from codegen.new.vision.tower import module_inputs

DEFAULT = "x = linear_2(act(linear_1(x)))"
_MERGES = ("merge", "downsample", "scale", "shuffle", "ratio")  # words in names of fields that say how many are merged
_BIAS = ("multimodal_projector_bias", "projector_bias")
_DIGITS = "0123456789"


def draft_projector(body: Body, placed: Placed, published: Published, likes: Sequence[Candidate]) -> None:
    """Write `projector`, `parts` and the names of the parts on disk.

    likes: specs that are near, the nearest first.
    """
    if not placed.text:
        _unseen(body, published, next(iter(likes), None))
    elif not placed.projector:
        body.put("none", "projector")
    else:
        module = published.module(placed.prefixes["projector"])
        widths = Widths(published.rows_width, published.text_width)
        act = "act" if published.fields.get("projector_hidden_act") else None
        inside = module.get("inside", {})
        found = chain(placed.projector, widths, inside, act) if all(vars(widths).values()) else None
        if found is None:
            found = _of_another_width(body, published, placed, inside, act)
        if found is None:
            _module(body, module, published, placed)
        else:
            _Writer(body, published, placed, module, *_order(body, likes)).write(found)


def _of_another_width(
    body: Body, published: Published, placed: Placed, inside: Mapping[str, str], act: str | None
) -> Chain | None:
    """Maps of rows that leave the tower in another width, which a field of its config says; `vision.width` then."""
    fields = [name for name, value in published.tower.items() if type(value) is int and value > 1]
    for name in sorted(fields, key=lambda name: "output" not in name):
        found = chain(placed.projector, Widths(published.tower[name], published.text_width), inside, act)
        if found is not None and all(step.merges == 1 for step in found.steps):
            body.put(f"config.vision_config.{name}", "vision", "width", doubt=f"what the projector takes is {name}")
            return found
    return None


def _unseen(body: Body, published: Published, near: Candidate | None) -> None:
    """Without tensors: none where the class has no module for it, else that of the nearest spec."""
    if published.model and not published.beside:
        body.put("none", "projector")
    elif near is not None:
        for name in ("projector", "parts"):
            if name in near.written:
                body.put(near.written[name], name, doubt=f"as in {near.loaded.name}; no tensors were seen")
    else:
        body.marks["projector",] = "it is the default, two maps: no tensors were seen"


def _module(body: Body, module: Mapping[str, Any], published: Published, placed: Placed) -> None:
    """A projector that is no sequence of maps: transformers' own."""
    held = ", ".join(sorted({name.split(".")[0] for name in placed.projector}))
    named = str(module.get("class", ""))
    if "." not in named:
        body.marks["projector",] = f"TODO: it is no sequence of maps ({held}); name a module of transformers"
        return
    found = {"class": named} | ({"config": "config.vision_config"} if module.get("towers") else {})
    body.put(found, "projector", doubt=f"no sequence of maps ({held}), so it is the module of transformers")
    if inputs := module_inputs(module.get("takes", ()), body, published.model.get("batch", ())):
        body.put(inputs, "projector", "inputs", doubt="by the names of its arguments")


def _order(body: Body, likes: Sequence[Candidate]) -> tuple[str, str]:
    """How merged patches lie in a row, and why: as in the first of these specs that merges any.

    Of patches in a row, as towers have them that are told grids, those that are merged follow each other mostly.
    """
    for one in likes:
        text = str(one.written.get("projector", ""))
        if "merge_patches" in text:
            return next((word for word in ORDERS[1:] if word in text), ORDERS[0]), f"as in {one.loaded.name}"
    told_grids = any("grid" in name for name in body.section("vision", "inputs"))
    return ("preordered" if told_grids else ORDERS[0]), "guessed"


class _Writer(Frozen):
    """Writes a chain of maps into a body."""

    body: Body
    published: Published
    placed: Placed
    module: Mapping[str, Any]
    order: str
    why_order: str

    def write(self, found: Chain) -> None:
        side = max(step.merges for step in found.steps)
        count, doubt = self.count(side) if side > 1 else ("", None)
        lines = equations(found, count, self.order)
        if side == 1 and (pooled := self.pooled()) is not None:
            lines[0] = lines[0].replace("(x)", f"(avg_pool(x, {pooled}))", 1)
            doubt = "the config says fewer rows an image than it has patches; where their mean is taken leaves no trace"
        lines = self.packed(lines)
        if lines != [DEFAULT]:
            why = "; ".join(filter(None, (doubt, *self.doubts(found, side))))
            self.body.put(lines[0] if len(lines) == 1 else lines, "projector", doubt=why or None)
        for step in found.steps:
            self.linear(step)
        for step in found.all_norms:
            self.norm(step)

    def doubts(self, found: Chain, side: int) -> Iterator[str]:
        if side > 1:
            yield f"how merged patches lie in a row is {self.why_order}: a checkpoint does not show it"
        if any(step.gated for step in found.steps):
            yield "which half is the gate leaves no trace"
        if not found.ordered:
            yield "the order of the maps is that of their names"
        if "weight" in self.placed.projector:
            yield "TODO: it lies at the place of the projector itself, and parts have names below that"
        if not found.acts and any(step.acts for step in found.steps):
            yield "where an activation stands is guessed"

    def count(self, side: int) -> tuple[str, str | None]:
        """How many patches a side are merged, as an expression over the field that says so."""
        found = sorted(self.counts(side), key=lambda one: not any(word in one for word in _MERGES))
        if not found:
            return str(side), f"no field holds the {side} patches a side that are merged"
        return found[0], None if any(word in found[0] for word in _MERGES) else f"{found[0]} is {side} by chance, maybe"

    def counts(self, side: int) -> Iterator[str]:
        for before, name, value in self.fields():
            if type(value) is int and value == side:
                yield f"{before}.{name}"
            elif isinstance(value, float) and value and 1 / value == side:
                yield f"int(1 / {before}.{name})"
            elif isinstance(value, list) and value and set(map(str, cast("list[Any]", value))) == {str(side)}:
                yield f"{before}.{name}[0]"

    def fields(self) -> Iterator[tuple[str, str, Any]]:
        """What fields hold, with the path before their names: of the whole before those of the tower."""
        for before, held in (("config", self.published.fields), ("config.vision_config", self.published.tower)):
            yield from ((before, name, value) for name, value in held.items() if self.published.has(before, name))

    def pooled(self) -> str | None:
        """Patches a side that a mean is taken of, where the config says fewer rows an image than it has patches."""
        image, patch = (self.published.tower.get(name) for name in ("image_size", "patch_size"))
        if not isinstance(image, int) or not isinstance(patch, int) or not patch:
            return None
        for name, value in self.published.fields.items():
            if name.endswith("tokens_per_image") and isinstance(value, int) and value > 0:
                rows, side = isqrt(value), image // patch
                if rows * rows == value and rows < side and side % rows == 0:
                    whole = "config.vision_config.image_size // config.vision_config.patch_size"
                    return f"int({whole} // config.{name} ** 0.5)"
        return None

    def packed(self, lines: list[str]) -> list[str]:
        """Tiles put together, where a newline lies beside the projector and the config says how images are cut."""
        newline = next(iter(self.placed.vectors), None)
        if newline is None or "image_grid_pinpoints" not in self.published.fields:
            return lines
        name = newline.rpartition(".")[2]
        given = ", ".join(filter(None, (lines[-1].removeprefix("x = "), name, self.most_tiles())))
        self.body.put("parameter", "parts", name)
        self.body.put("real_tiles(pixel_values)", "vision", "pixels")
        return [*lines[:-1], f"x = pack_tiles({given})"]

    def most_tiles(self) -> str | None:
        """The number at the end of a word that says how images are cut, `anyres_max_9`."""
        for name, value in self.published.fields.items():
            word = str(value).rstrip(_DIGITS)
            if "aspect_ratio" in name and isinstance(value, str) and word != value:
                return f"int(config.{name}[{len(word)}:])"
        return None

    def linear(self, step: Step) -> None:
        """Where a map is otherwise than by itself."""
        if step.gives != self.published.text_width:
            out, doubt = self.out(step)
            self.body.put(out, "parts", step.name, "out", doubt=doubt)
        held = [self.published.fields.get(name) for name in _BIAS]
        flag = next((bool(value) for value in held if value is not None), None)
        if step.bias != (flag is not False) or (flag is not None and self.told("biases", step) is not None):
            self.body.put(step.bias, "parts", step.name, "bias")
        if step.turned:
            self.body.put([*self.body.listed("checkpoint", "transposed"), step.name], "checkpoint", "transposed")
        self.stored(step)

    def out(self, step: Step) -> tuple[str, str | None]:
        """How wide a map's output is: as its input, as the tower, or as a field says."""
        if step.gives == step.takes:
            return "width", None
        if step.gives == self.published.tower_width:
            return "config.vision_config.hidden_size", None
        found = [
            f"{before}.{name}" for before, name, value in self.fields() if type(value) is int and value == step.gives
        ]
        return (found[0], None) if len(found) == 1 else (next(iter(found), str(step.gives)), "found by its size")

    def norm(self, step: Step) -> None:
        """A norm, with what its class adds to variance and weight."""
        kind = "layernorm" if step.bias else "rmsnorm"
        told = self.told("norms", step)
        self.stored(step)
        if told is None:
            self.body.put(kind, "parts", step.name, doubt="its epsilon and its offset leave no trace")
            return
        usual = "config.text_config.rms_norm_eps" if kind == "rmsnorm" else 1e-5
        rest = {name: value for name, value in told.items() if name == "offset" or value != usual}
        self.body.put({"kind": kind, **rest} if rest else kind, "parts", step.name)

    def told(self, what: str, step: Step) -> Any:
        """What the class says of a part, by its name there or on disk; None where it says nothing."""
        found = self.module.get(what, {})
        return found.get(step.path, found.get(step.name))

    def stored(self, step: Step) -> None:
        if step.path != step.name:
            self.body.put(step.path, "checkpoint", "names", step.name)
        if step.memory is not None:
            self.body.put(step.memory, "checkpoint", "memory", step.name)
