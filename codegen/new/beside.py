"""An MLP for every token that lies beside the channel mixer of a layer."""

import re
from typing import cast

from codegen.language.spec import ROLE_NAMES, WIRINGS
from codegen.new.body import Body
from codegen.new.channel import DENSE, at_path, projections, put_width
from codegen.new.mixing import name_role
from codegen.new.modules import Layer, Module
from codegen.new.values import Values


def draft_beside(body: Body, layer: Layer, values: Values) -> None:
    """An MLP for every token beside the channel mixer: a part, which is taken to read what that reads."""
    name = next(iter(layer.beside)).split(".")[0]
    body.put({"kind": "gated"}, "parts", name)
    found = name_beside(body, layer)
    if not {"gate", "gate_up"} & found.keys():
        body.put({"kind": "plain"}, "parts", name)
    put_width(body, found, values, "parts", name)
    block = body.get("block") or "pre_norm"
    equations = WIRINGS[block] if isinstance(block, str) else cast("list[str]", block)
    doubt = f"{name} is taken to read what mlp reads, and to be added to it"
    body.put([line for one in equations for line in _both(one, name)], "block", doubt=doubt)


def name_beside(body: Body, layer: Layer) -> dict[str, Module]:
    """Says what the projections of that part are called; these by role. A part that only some models have cannot stand
    before the dot of a role: what its projections are called is then said of all, and of the mixer's own by itself."""
    name = next(iter(layer.beside)).split(".")[0]
    inside = {path[len(name) + 1 :]: _below(one, name) for path, one in layer.beside.items()}
    if name in body.section("parts"):
        return projections(body, inside, f"{name}.")
    own = "experts" if body.section("mlp").get("kind") == "moe" else "mlp"
    stored = {role: body.get("checkpoint", "names", role) or ROLE_NAMES[role] for role in DENSE}
    found = projections(body, inside, "")
    for role in found.keys() & stored.keys():
        if (qualified := f"{own}.{role}") not in body.section("checkpoint", "names"):
            name_role(body, qualified, stored[role])
    return found


def _both(equation: str, name: str) -> list[str]:
    """An equation in which a part acts beside the mlp."""
    called = re.search(r"\bmlp\((\w+\(x\))\)", equation)
    if called is None:
        return [equation]
    return [f"h = {called[1]}", equation.replace(called[0], f"(mlp(h) + {name}(h))")]


def _below(module: Module, name: str) -> Module:
    return at_path(module, module.path[len(name) + 1 :])
