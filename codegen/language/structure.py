"""The shape of a section: known keys, types, words. Cerberus, with a schema made from the language, is here only."""

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, cast

import cerberus  # pyright: ignore[reportMissingTypeStubs]
import cerberus.errors  # pyright: ignore[reportMissingTypeStubs]
import cerberus.schema  # pyright: ignore[reportMissingTypeStubs]

from codegen.errors import Problem, dotted, shown
from codegen.language import equations, expressions
from codegen.language.keys import Key, Section, element, keys
from codegen.language.load import Node
from codegen.language.normalize import EVERY_ROLE
from codegen.language.suggest import cure

Report = Callable[[str, str], None]
Validator: Any = cerberus.Validator
UnvalidatedSchema: Any = cerberus.schema.UnvalidatedSchema
codes: Any = cerberus.errors
SHAPES = {"dict": "a mapping", "list": "a list", "string": "text"}
CURES = {"dict": "write {<name>: <value>, ...}", "list": "write [..., ...]", "string": "quote it"}


class Message(str):
    """The text of a refusal, with its cure; Cerberus carries it through."""

    cure: str = ""

    @classmethod
    def of(cls, message: str, cure: str = "") -> "Message":
        self = cls(message)
        self.cure = cure
        return self


def problems(cls: type[Section], node: Node, path: str) -> list[tuple[tuple[Any, ...], Problem]]:
    """What is wrong with a section's normal mapping, each with the path of the key inside the section."""
    if node.mapping is None:
        return [((), Problem(node.at, path, *not_a_mapping(cls, node.value)))]
    return list(_validated(_validator(cls), node, cls, path))


def key_problems(cls: type[Section], name: str, node: Node, path: str) -> list[tuple[tuple[Any, ...], Problem]]:
    """The same for the normal value of one key."""
    found = _validated(_key_validator(cls, name), Node({name: node}, node.at), cls, path)
    return [(at[1:], problem) for at, problem in found]


def _validated(validator: Any, node: Node, cls: type[Section], path: str) -> Iterator[tuple[tuple[Any, ...], Problem]]:
    if not validator.validate(node.plain(), normalize=False):
        for at, error in _leaves(validator._errors):
            yield at, _located(error, at, cls, node, path)


@cache
def _validator(cls: type[Section]) -> Any:
    return _trusting(schema(cls))


@cache
def _key_validator(cls: type[Section], name: str) -> Any:
    return _trusting({name: _rule(keys(cls)[name])})


def _trusting(rules: dict[str, Any]) -> Any:
    """A validator by these rules. It would take longer to check that they are rules than to check specs by them."""
    return Validator(UnvalidatedSchema(rules))


@cache
def schema(cls: type[Section]) -> dict[str, Any]:
    """The Cerberus schema of a section."""
    return {"why": {"type": "string"}, **{name: _rule(key) for name, key in keys(cls).items()}}


def _rule(key: Key) -> dict[str, Any]:
    return _RULES[key.type](key)


def _expression(key: Key) -> dict[str, Any]:
    if key.words:
        return _choice(key)
    return {"nullable": True, "check_with": _checker(lambda value, report: check_expression(key, value, report))}


def _choice(key: Key) -> dict[str, Any]:
    return {"check_with": _checker(lambda value, report: check_choice(key, value, report))}


def _text(key: Key) -> dict[str, Any]:
    return {"type": "list", "minlength": 1, "schema": _string()} if key.many else _string()


def _string() -> dict[str, Any]:
    return {"type": "string", "minlength": 1}


def _mapping(key: Key) -> dict[str, Any]:
    if not key.words:
        return {"type": "dict", "keysrules": {"type": "string"}, "valuesrules": {"check_with": _checker(_stored_name)}}
    allowed = {"type": "string", "allowed": [*key.words, EVERY_ROLE]}
    return {
        "type": "dict",
        "minlength": 1,
        "keysrules": allowed,
        "valuesrules": _expression(element(key)),
        "check_with": _checker(_one_flag),
    }


def _section(key: Key) -> dict[str, Any]:
    assert key.section is not None
    return {"type": "dict", "nullable": True, "schema": schema(key.section)}


def _equations(_: Key) -> dict[str, Any]:
    return {"type": "list", "minlength": 1, "schema": {"type": "string", "check_with": _checker(_equation)}}


def _fused(_: Key) -> dict[str, Any]:
    groups = _expression(Key("expression", ""))
    stored = {"parts": {"type": "list", "minlength": 2, "schema": _string()}, "groups": groups}
    return {"type": "dict", "keysrules": _string(), "valuesrules": {"type": "dict", "schema": stored}}


def _drops(_: Key) -> dict[str, Any]:
    entry = {"match": {**_string(), "required": True}, "why": {**_string(), "required": True}}
    return {"type": "list", "minlength": 1, "schema": {"type": "dict", "schema": entry}}


def _tensor(key: Key) -> dict[str, Any]:
    return {"check_with": _checker(lambda value, report: _check_tensor(key, value, report))}


def _tensors(key: Key) -> dict[str, Any]:
    return {"type": "dict", "minlength": 1, "keysrules": _string(), "valuesrules": _tensor(key)}


def _projection(_: Key) -> dict[str, Any]:
    return {"check_with": _checker(_projected)}


_RULES: dict[str, Callable[[Key], dict[str, Any]]] = {
    "expression": _expression,
    "tensor": _tensor,
    "tensors": _tensors,
    "projection": _projection,
    "choice": _choice,
    "text": _text,
    "mapping": _mapping,
    "section": _section,
    "equations": _equations,
    "fused": _fused,
    "drops": _drops,
    "data": lambda _: {"type": "dict", "keysrules": {"type": "string"}},
}


def _checker(check: Callable[[Any, Report], None]) -> Callable[[str, Any, Any], None]:
    def check_with(field: str, value: Any, error: Any) -> None:
        check(value, lambda message, cure: error(field, Message.of(message, cure)))

    return check_with


def check_expression(key: Key, value: Any, report: Report) -> None:
    if isinstance(value, dict | list):
        return report("must be an expression, not a mapping or a list", "quote it if it has brackets or commas")
    try:
        expressions.parse(value, names=(*expressions.NAMES, *key.names), words=key.words)
    except expressions.Refused as refused:
        report(refused.message, refused.cure)
    return None


def is_word(key: Key, value: Any) -> bool:
    """Whether the value is one of the key's words; True is not 1, 0 is 0.0."""
    return any(value == word and isinstance(value, bool) == isinstance(word, bool) for word in key.words)


def check_choice(key: Key, value: Any, report: Report) -> None:
    if is_word(key, value) or (key.truth and isinstance(value, bool)):
        return None
    if isinstance(value, str) and ("config." in value or "layer" in value) and not value.isidentifier():
        return check_expression(key, value, report)
    if isinstance(value, dict | list):
        return report(f"must be a word, not {_shown(value)}", cure("", key.words))
    return report(f"{shown(value)} is not known", cure(value, key.words))


def _check_tensor(key: Key, value: Any, report: Report) -> None:
    from codegen.language.vision.tensors import parse_tensor

    try:
        parse_tensor(value, names=key.names)
    except expressions.Refused as refused:
        report(refused.message, refused.cure)


def _projected(value: Any, report: Report) -> None:
    from codegen.language.vision.equations import parse_projected

    if not isinstance(value, list):
        return report(
            f"must be equations, not {_shown(value)}", "write x = linear_1(x), none, or {class: family.Class}"
        )
    for line in cast(list[Any], value):
        try:
            if not isinstance(line, str):
                raise expressions.Refused(f"{_shown(line)} is no equation", "write x = linear_1(x)")
            parse_projected(line)
        except expressions.Refused as refused:
            report(refused.message, refused.cure)
    return None


def _stored_name(value: Any, report: Report) -> None:
    chain = cast("list[Any]", value) if isinstance(value, list) else [value]
    if not chain or not all(isinstance(name, str) for name in chain):
        quoted = isinstance(value, int) and not isinstance(value, bool)
        report(f"{_shown(value)} is no name on disk", f'quote it: "{value}"' if quoted else "write the name")


def _one_flag(value: Any, report: Report) -> None:
    if isinstance(value, dict) and EVERY_ROLE in value and len(cast(dict[str, Any], value)) > 1:
        report("one value for every role beside values for some", "name every role, or none")


def _equation(value: Any, report: Report) -> None:
    if not isinstance(value, str):
        return
    try:
        equations.parse(value)
    except expressions.Refused as refused:
        report(refused.message, _wiring(value) or refused.cure)


def _wiring(value: str) -> str:
    from codegen.language.spec import WIRINGS

    return cure(value, WIRINGS, "named wirings") if value.isidentifier() else ""


def _leaves(found: Any) -> Iterator[tuple[tuple[Any, ...], Any]]:
    for error in found:
        if error.is_group_error or error.is_logic_error:
            yield from _leaves(error.child_errors)
        else:
            yield _path(error), error


def _path(error: Any) -> tuple[Any, ...]:
    return tuple(error.document_path)


def _located(error: Any, at: tuple[Any, ...], cls: type[Section], node: Node, path: str) -> Problem:
    message, remedy = _worded(error, at, cls)
    place = node.find(at, key=error.code == codes.UNKNOWN_FIELD.code)
    return Problem(place, dotted(*((path, *at) if path else at)), message, remedy)


def _worded(error: Any, at: tuple[Any, ...], cls: type[Section]) -> tuple[str, str]:
    if error.code == codes.UNKNOWN_FIELD.code:
        known = _known(cls, at[:-1])
        return "is not a key here", cure(at[-1], known, "keys")
    if error.code == codes.REQUIRED_FIELD.code:
        return "is missing", f"write {at[-1]}: ..."
    if error.code == codes.BAD_TYPE.code and error.constraint == "dict" and _section_at(cls, at) is not None:
        return not_a_mapping(_section_at(cls, at) or cls, error.value, _key_at(cls, at))
    if error.code == codes.BAD_TYPE.code:
        wanted = SHAPES.get(error.constraint, error.constraint)
        return f"must be {wanted}, not {_shown(error.value)}", CURES.get(error.constraint, f"write {wanted}")
    if error.code in (codes.UNALLOWED_VALUE.code, codes.NOT_NULLABLE.code):
        allowed = [word for word in error.constraint or () if word != EVERY_ROLE] if error.constraint else []
        return f"{_shown(error.value)} is not known", cure(error.value, allowed)
    if error.code == codes.MIN_LENGTH.code:
        return "is too short", f"at least {error.constraint}"
    if error.info and isinstance(error.info[0], Message):
        return str(error.info[0]), error.info[0].cure
    return f"is not valid ({error.rule})", "docs/spec-reference.md says what may stand here"


def _key_at(cls: type[Section], path: tuple[Any, ...]) -> Key | None:
    """The key at a path inside a section."""
    *above, last = path
    for part in above:
        key = keys(cls).get(part)
        if key is None or key.section is None:
            return None
        cls = key.section
    return keys(cls).get(last)


def _section_at(cls: type[Section], path: tuple[Any, ...]) -> type[Section] | None:
    key = _key_at(cls, path)
    return key.section if key is not None else None


def not_a_mapping(cls: type[Section], value: Any, key: Key | None = None) -> tuple[str, str]:
    """Message and cure for a scalar or a list in place of a section."""
    if key is not None and key.bare == "flag":
        return "must be true, false or a mapping", "what the config decides goes under variants: {when: ..., ...}"
    for name, candidate in keys(cls).items():
        if candidate.type == "choice" and not isinstance(value, list) and is_word(candidate, value):
            return f"must be a mapping, not {_shown(value)}", f"write {{{name}: {value}}}"
    return f"must be a mapping, not {_shown(value)}", _examples(cls)


def _known(cls: type[Section], path: tuple[Any, ...]) -> list[str]:
    """The keys of the section at a path inside a section."""
    for part in path:
        key = keys(cls).get(part)
        if key is None or key.section is None:
            return {"fused": ["parts", "groups"], "drop": ["match", "why"]}.get(str(path[0]), [])
        cls = key.section
    return [*keys(cls), "why"]


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return "a mapping"
    return "a list" if isinstance(value, list | tuple) else "none" if value is None else shown(value)


def _examples(cls: type[Section]) -> str:
    return "keys: " + ", ".join(list(keys(cls))[:8])
