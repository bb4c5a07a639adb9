"""Llama, the default of everything: what a spec of one line means."""

from codegen.language import normalize
from codegen.language.keys import keys
from codegen.language.load import Node
from codegen.language.spec import Spec
from codegen.language.values import NOWHERE

_EMPTY = Node({}, NOWHERE)
DEFAULTS: dict[str, Node] = {}
for _name, _key in keys(Spec).items():
    if _key.default is not None:
        _word = Node(_key.default, NOWHERE)
        DEFAULTS[_name] = Node({"kind": _word}, NOWHERE) if _key.type == "kinds" else normalize.value(_key, _word)
    else:
        DEFAULTS[_name] = Node(_key.words[0], NOWHERE) if _key.type == "choice" else _EMPTY
