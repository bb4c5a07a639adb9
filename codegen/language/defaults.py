"""Llama, the default of everything: what a spec of one line means. Of images and text it is Llava."""

from codegen.language import normalize
from codegen.language.keys import Key, Section, keys
from codegen.language.load import Node
from codegen.language.spec import Spec
from codegen.language.values import NOWHERE

_EMPTY = Node({}, NOWHERE)


def defaults(language: type[Section]) -> dict[str, Node]:
    """The sections of a language as they are where nothing is written."""
    return {name: _default(key) for name, key in keys(language).items()}


def _default(key: Key) -> Node:
    if key.default is None or key.type == "named":  # whose default is the kind of a part
        return Node(key.words[0], NOWHERE) if key.type == "choice" else _EMPTY
    word = Node(key.default, NOWHERE)
    return Node({"kind": word}, NOWHERE) if key.type == "kinds" else normalize.value(key, word)


DEFAULTS = defaults(Spec)
