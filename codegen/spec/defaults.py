"""Llama, the default of everything: what a spec of one line means."""

from codegen.spec import normalize
from codegen.spec.keys import keys
from codegen.spec.language import Spec
from codegen.spec.load import Node
from codegen.spec.values import NOWHERE

_EMPTY = Node({}, NOWHERE)
DEFAULTS: dict[str, Node] = {}
for _name, _key in keys(Spec).items():
    if _key.default is not None:
        _word = Node(_key.default, NOWHERE)
        DEFAULTS[_name] = Node({"kind": _word}, NOWHERE) if _key.type == "kinds" else normalize.value(_key, _word)
    else:
        DEFAULTS[_name] = Node(_key.words[0], NOWHERE) if _key.type == "choice" else _EMPTY
