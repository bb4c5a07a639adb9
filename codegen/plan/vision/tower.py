"""Plans the tower: how it is built, what it is given, and what of its output goes on."""

import ast
from typing import cast

from codegen.language.values import Expression, expression
from codegen.language.vision.equations import PACKS, calls
from codegen.language.vision.loaded import LoadedImageText
from codegen.language.vision.tensors import OUTPUTS, TILED, WORDS
from codegen.plan.types import Code
from codegen.plan.vision.asked import IN_INIT, IN_METHOD, Asked
from codegen.plan.vision.types import ModulePlan, ProjectorPlan

LAYERS = "hidden_states[config.vision_feature_layer]"
STRATEGY = "config.vision_feature_select_strategy"


def tower_class(asked: Asked) -> tuple[str, str] | None:
    """Module and name of the class that the spec names; None: transformers' own choice for the config."""
    named = asked.loaded.spec.vision.tower or "auto"
    cure = "write auto, or family.Class: qwen2_vl.Qwen2VisionTransformerPretrainedModel"
    return None if named == "auto" else class_of(asked, named, "vision.tower", cure)


def output(asked: Asked) -> Expression:
    """What of the tower's output goes on."""
    spec = asked.loaded.spec
    if spec.vision.output is not None:
        return spec.vision.output
    if not spec.projector:
        return expression("pooler_output")
    return expression(LAYERS if asked.has(expression("config.vision_feature_layer")) else "last_hidden_state")


def class_of(asked: Asked, named: str, path: str, cure: str) -> tuple[str, str]:
    """Module and name of a class of transformers, `family.Class`."""
    family, _, name = named.rpartition(".")
    if not family.isidentifier() or not name.isidentifier():
        raise asked.unready(f"{named!r} names no class", path, cure)
    return f"transformers.models.{family}.modeling_{family}", name


def chosen_layers(asked: Asked) -> ast.expr | None:
    """The expression over the config that says of which layers the features are; None: it says nothing of them."""
    match output(asked).tree:
        case ast.Subscript(value=ast.Name(id="hidden_states"), slice=chosen) if "config" in _names(chosen):
            return chosen
        case _:
            return None


def field_of_layers(loaded: LoadedImageText) -> str | None:
    """The field of the config that is these layers itself."""
    tree = chosen_layers(Asked(loaded))
    if not isinstance(tree, ast.Attribute) or not isinstance(tree.value, ast.Name):
        return None
    return loaded.config_class.field_name(tree.attr)


def strategy(loaded: LoadedImageText) -> bool:
    """Whether the config says whether leading tokens go."""
    asked = Asked(loaded)
    return loaded.spec.vision.skip is None and bool(loaded.spec.projector) and asked.has(expression(STRATEGY))


def width(asked: Asked) -> Code:
    """How wide it is, in `__init__`."""
    one = IN_INIT.code(asked.value(asked.loaded.spec.vision, "width", "vision"))
    chosen = chosen_layers(asked)
    if chosen is None:
        return one
    tight = isinstance(ast.parse(one, mode="eval").body, ast.BinOp | ast.IfExp)
    return f"{f'({one})' if tight else one} * layers({IN_INIT.tree_code(chosen)})"


def plan_features(
    asked: Asked, tower: str, projector: ProjectorPlan | ModulePlan | None, name: str
) -> tuple[Code, ...]:
    """The body of `image_features`."""
    vision, taken = asked.loaded.spec.vision, output(asked)
    deep = asked.loaded.spec.merge.deepstack
    pixels = "pixel_values" if vision.pixels is None else tensor(vision.pixels.tree)
    given = [pixels, *(f"{key}={tensor(value.tree)}" for key, value in (vision.inputs or {}).items())]
    given += ["output_hidden_states=True"] if "hidden_states" in _names(taken.tree) else []
    called = f"self.{tower}({', '.join(given)})"
    lines = [*_tiles(asked), f"output = {called}"]
    x = tensor(taken.tree)
    skipped = _skip(asked)
    if skipped is not None:
        if not isinstance(ast.parse(x, mode="eval").body, ast.Name | ast.Attribute | ast.Call):
            lines.append(f"x = {x}")
            x = "x"
        x = f"{x}[:, {skipped}:]"
    if projector is None:
        lines.append(f"return {x}, output.{deep}" if deep else f"return {x}")
        return tuple(lines)
    if isinstance(projector, ModulePlan):
        made = f"self.{name}({', '.join([x, *projector.inputs])})"
        lines.append(f"return {made}, output.{deep}" if deep else f"return {made}")
        return tuple(lines)
    if projector.regroups or vision.grid is not None:
        lines.append(f"x = {x}")
        lines.append(f"grid = {tensor(vision.grid.tree) if vision.grid is not None else 'square_grid(x)'}")
        x = "rows(x, grid)"
    made = f"self.{name}({x}{', grid' if projector.regroups else ''})"
    if projector.packs:
        newline, *most = projector.packs
        made = f"tiles.packed({', '.join([made, f'self.{newline}', *most])})"
    lines.append(f"return {made}, output.{deep}" if deep else f"return {made}")
    return tuple(lines)


def is_tiled(asked: Asked) -> bool:
    """Whether images are cut into tiles."""
    spec = asked.loaded.spec
    pixels = spec.vision.pixels
    return PACKS in calls(spec.equations) or (pixels is not None and "real_tiles" in _names(pixels.tree))


def _tiles(asked: Asked) -> list[Code]:
    if not is_tiled(asked):
        return []
    if not asked.has(expression("config.image_grid_pinpoints"), filled=False):
        message = f"{asked.config.name} has no image_grid_pinpoints, by which images are cut"
        raise asked.unready(message, "vision.pixels", "leave out real_tiles and pack_tiles")
    config = [
        IN_METHOD.code(expression(f"config.{name}")) for name in ("image_grid_pinpoints", "vision_config.image_size")
    ]
    return [f"tiles = Tiles.of({', '.join((TILED[0], *config, TILED[1]))})"]


def _skip(asked: Asked) -> Code | None:
    """Leading tokens that go, as code; None: none ever."""
    written = asked.loaded.spec.vision.skip
    if written is not None:
        return None if written.constant == 0 else IN_METHOD.code(written)
    if not strategy(asked.loaded):
        return None
    return f"int({IN_METHOD.code(expression(STRATEGY))} == 'default')"


def _names(tree: ast.AST) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def tensor(tree: ast.expr) -> Code:
    """An expression over a batch, or over the tower's `output`, as code of a method."""
    return ast.unparse(_Tensor().visit(ast.parse(IN_METHOD.tree_code(tree), mode="eval").body))


class _Tensor(ast.NodeTransformer):
    """Spells names of the language as the library does."""

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if node.id in OUTPUTS:
            return ast.parse(f"output.{node.id}", mode="eval").body
        return ast.Constant(node.id) if node.id in WORDS else node

    def visit_Call(self, node: ast.Call) -> ast.expr:
        if isinstance(node.func, ast.Name) and node.func.id == "real_tiles":
            return ast.parse(f"tiles.real({ast.unparse(self.visit(node.args[0]))})", mode="eval").body
        return cast(ast.expr, self.generic_visit(node))

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        states = isinstance(node.value, ast.Name) and node.value.id == "hidden_states"
        if states and not isinstance(node.slice, ast.Constant | ast.UnaryOp):
            return ast.Call(ast.Name("of_layers"), [cast(ast.expr, self.visit(node.value)), node.slice], [])
        return cast(ast.expr, self.generic_visit(node))
