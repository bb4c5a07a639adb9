"""How the language is declared: a section is a frozen dataclass, a key is a field with its type, words and default.

Everything that knows the language (Cerberus schema, JSON Schema, reference page, mutations, drafts) walks these
classes; so does the check for what has no template yet (`ready=False`). A value of `None` means "not written": the plan
then takes the key's `chain`, the first field that the config class has, or its `default`.
"""

from collections.abc import Container, Mapping
from dataclasses import field, fields, replace
from functools import cache
from typing import Any, ClassVar, TypeAlias, dataclass_transform

from codegen.frozen import Frozen


@dataclass_transform(frozen_default=True, kw_only_default=True)
class Section(Frozen):
    """A mapping of the language, by keywords. `why` becomes the comment at the place that the mapping generates."""

    by_itself: ClassVar[bool] = False  # whether what it describes is there without it

    why: str | None = None

    def __init_subclass__(cls) -> None:
        super().__init_subclass__(kw_only=True)

    def __repr__(self) -> str:
        written = {name: value for name, value in vars(self).items() if value is not None}
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in written.items())})"


class Mixer(Section):
    """A section of a part that layers call; what it says of its storage here holds for one without a template."""

    words: ClassVar[str] = ""  # what it is called in a sentence
    turns: ClassVar[bool] = False  # whether rotary positions are for it

    def pinnable(self) -> tuple[str, ...]:
        """Roles that may stay fp32 in a model of any dtype."""
        return ()

    def roles(self, fused: Container[str] = ()) -> tuple[str, ...]:
        """Roles that are stored under names of their own, where some lie in one tensor; none: any may be."""
        return ()

    def fuses(self, parts: tuple[str, ...]) -> bool:
        """Whether one stored tensor may hold these roles."""
        return True


SectionClass: TypeAlias = type[Section]  # a key's own `type` hides the builtin below


class Key(Frozen):
    """What one key of a section may hold.

    type: choice (a word, or an expression yielding one), expression, equations, text, mapping (role -> path),
    section (one class), kinds (a class per `kind`), named (name -> one of the kinds), data (free YAML), fused, drops.
    An expression with `words` may be one of those words undecorated. `bare` says what a value that is no mapping means:
    the value of that key, `flag` (true: present with its defaults) or `*` (the value of every role).
    """

    type: str
    doc: str
    words: tuple[Any, ...] = ()
    default: str | None = None
    chain: tuple[str, ...] = ()
    section: SectionClass | None = None
    kinds: Mapping[str, SectionClass] | None = None
    bare: str | None = None
    names: tuple[str, ...] = ()  # what an expression may mention besides `config` and `layer`
    many: bool = False  # a text key that holds a list
    truth: bool = False  # may be a truth value as well: of a choice, true is the second of its two words
    ready: bool = True
    unready_words: tuple[Any, ...] = ()


def element(key: Key) -> Key:
    """What each role of a mapping holds: an expression, of which the roles are no words."""
    return replace(key, type="expression", words=())


def key(type_: str, doc: str, **options: Any) -> Any:
    return field(default=None, metadata={"key": Key(type_, doc, **options)})


def choice(doc: str, *words: Any, **options: Any) -> Any:
    """A word of the catalog, default first; or an expression that yields one."""
    return key("choice", doc, words=words, **options)


def expr(doc: str, *chain: str, **options: Any) -> Any:
    """An expression over the config; `chain` names the defaults, of which the first that exists is taken."""
    return key("expression", doc, chain=chain, **options)


def text(doc: str, **options: Any) -> Any:
    return key("text", doc, **options)


def mapping(doc: str, **options: Any) -> Any:
    return key("mapping", doc, **options)


def section(doc: str, cls: type[Section], **options: Any) -> Any:
    return key("section", doc, section=cls, **options)


def when(doc: str = "False: the thing is absent.") -> Any:
    return expr(doc)


@cache
def keys(cls: type[Section]) -> dict[str, Key]:
    """The keys of a section under the names that a spec uses."""
    return {item.name.rstrip("_"): item.metadata["key"] for item in fields(cls) if "key" in item.metadata}


def key_of(cls: type[Section], name: str) -> Key:
    """The key of a section by its name in a spec."""
    return keys(cls)[name]
