"""The language as JSON Schema (draft 2020-12), for editors; generated from the same declarations as the check.

It knows shapes, keys and words. What needs more (fields of a config class, expressions, rules across keys) is for
`codegen check` alone.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from codegen.language.frame import CONFIG_KEYS, DOCS_KEYS, FRAME, REFERENCE, TESTS_WORDS
from codegen.language.keys import Key, Section, keys
from codegen.language.spec import WIRINGS, Spec

Schema = dict[str, Any]
DRAFT = "https://json-schema.org/draft/2020-12/schema"
ID = "https://github.com/automodel-codegen/spec.schema.json"
WORD = r"^[A-Za-z][A-Za-z0-9_]*$"
FIELD = r"^_?[A-Za-z][A-Za-z0-9_]*$"
EQUATION: Schema = {"$ref": "#/$defs/equation"}
TEXT: Schema = {"type": "string", "minLength": 1}
WHY: Schema = {"type": "string", "description": "Becomes the comment at this place of the generated code."}
SCALAR: Schema = {"$ref": "#/$defs/expression"}
CHOICE_EXPRESSION: Schema = {"$ref": "#/$defs/choice expression"}
SHARED: dict[str, Schema] = {
    "equation": {"type": "string", "pattern": "="},
    "expression": {"type": ["string", "number", "boolean", "null"]},
    # A choice that the config makes: an expression, not a bare word.
    "choice expression": {"type": "string", "pattern": r"^(?=.*(config\.|layer)).*[^A-Za-z0-9_]"},
}


def schema_text() -> str:
    """The committed file's text."""
    return json.dumps(json_schema(), indent=2) + "\n"


def json_schema() -> Schema:
    """The schema of a whole spec file."""
    writer = _Writer()
    frame = _frame()
    sections = writer.sections(True)
    entries = {"$ref": "#/$defs/entries"}
    variants = {"$ref": "#/$defs/variants"}
    properties = {**frame, **sections, "variants": variants, "layers": entries, "why": WHY}
    overlay = writer.sections(False)
    writer.definitions["overlay"] = _object({**overlay, "why": WHY})
    writer.definitions["entries"] = _entries(overlay)
    writer.definitions["variant"] = _object({**overlay, "layers": entries, "why": WHY})
    writer.definitions["variants"] = _entries({**overlay, "layers": entries}, "variant")
    return {
        "$schema": DRAFT,
        "$id": ID,
        "title": "Model spec",
        **_object(properties, required=("name",)),
        "$defs": dict(sorted(writer.definitions.items())),
    }


def _object(properties: Mapping[str, Schema], required: tuple[str, ...] = (), **more: Any) -> Schema:
    found: Schema = {"type": "object", "properties": dict(properties), "additionalProperties": False, **more}
    return {**found, "required": list(required)} if required else found


def _any(*options: Schema, **more: Any) -> Schema:
    return {"anyOf": list(options), **more}


def _listed(item: Schema, minimum: int = 1) -> Schema:
    return {"type": "array", "items": item, "minItems": minimum}


def _one_or_more(item: Schema) -> Schema:
    return _any(item, _listed(item))


def _entries(overlay: Mapping[str, Schema], kind: str = "overlay") -> Schema:
    """`variants` or `layers`: one entry or a list."""
    same = {name: {"$ref": f"#/$defs/{kind}/properties/{name}"} for name in overlay}
    when = _object({**same, "when": SCALAR, "why": WHY}, ("when",), anyOf=[{"required": [name]} for name in overlay])
    kinds = {"type": "object", "additionalProperties": {"$ref": f"#/$defs/{kind}"}}
    by = _object({"by": SCALAR, "kinds": kinds, "why": WHY}, ("by",))
    entry = _any(when, by)
    return _any(entry, {"type": "array", "items": entry})


def _frame() -> dict[str, Schema]:
    """The keys around the language."""
    word: Schema = {"type": "string", "pattern": WORD}
    fields: Schema = {
        "type": "object",
        "propertyNames": {"type": "string", "pattern": FIELD},
        "additionalProperties": {"not": {"const": "none"}},
    }
    names: Schema = {"type": "object", "propertyNames": word, "additionalProperties": word}
    declared = {"model_type": word, "class": word, "fields": fields, "attribute_map": names, "why": WHY}
    docs = {name: {"type": "string"} for name in DOCS_KEYS}
    docs["hub"]["pattern"] = r"^[\w.-]+/[\w.-]+$"
    class_path = {"type": "string", "pattern": r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$"}
    tests: Schema = {"tiny": {"type": "object"}, "also": _listed({"type": "object"}), "excluded": {"type": "string"}}
    tests["reference"] = {"type": "string", "pattern": f"^{REFERENCE}$"}
    tests |= {name: {"enum": [*words]} for name, words in TESTS_WORDS.items()} | {"why": WHY}
    tests["equal"] = {"type": "object", "additionalProperties": WHY}
    shapes: dict[str, Schema] = {
        "name": word,
        "architecture": _any(word, {**_listed(word), "uniqueItems": True}),
        "config": _any(
            {"type": "string", "pattern": r"^transformers:[A-Za-z][A-Za-z0-9_]*$"}, _object(declared, CONFIG_KEYS)
        ),
        "summary": {"type": "string", "pattern": r"\S"},
        "docs": _object(docs),
        "tests": _object(tests) | {"dependentRequired": {"positions": ["why"]}},
        "overrides": {"type": "object", "additionalProperties": class_path},
    }
    return {name: {**shapes[name], "description": doc} for name, doc in FRAME.items()}


class _Writer:
    """Writes the schema of sections; each class becomes one definition."""

    def __init__(self) -> None:
        self.definitions: dict[str, Schema] = dict(SHARED)

    def sections(self, base: bool) -> dict[str, Schema]:
        """The sections of a spec; in an overlay a `kind` may be left to what lies below."""
        return {name: self.key(key, base, optional=name == "rope") for name, key in keys(Spec).items()}

    def key(self, key: Key, base: bool = True, optional: bool = True) -> Schema:
        if key.type == "kinds":
            found = self.kinds(key, base)
        elif key.type == "named":
            part = self.kinds(key, base, required=True)
            found = {"type": "object", "additionalProperties": part}
        elif key.type == "section":
            found = self.section(key, optional)
        else:
            found = _SHAPES[key.type](key)
        return {**found, "description": key.doc}

    def reference(self, cls: type[Section], kind: str | None = None) -> Schema:
        """A reference to the definition of a section, which is written on first use."""
        name = cls.__name__ if kind is None else f"{cls.__name__}.{kind}"
        if name not in self.definitions:
            self.definitions[name] = {}
            properties = {item: self.key(key) for item, key in keys(cls).items()}
            if kind is not None:
                properties["kind"] = {"const": kind}
            self.definitions[name] = _object({**properties, "why": WHY})
        return {"$ref": f"#/$defs/{name}"}

    def kinds(self, key: Key, base: bool, required: bool = False) -> Schema:
        """A word, or a mapping with a `kind`; each kind has its own keys."""
        assert key.kinds is not None
        default = key.kinds[key.default] if base and key.default is not None else None
        name = f"{default.__name__ if default else 'any'} of {len(key.kinds)}"
        if name not in self.definitions:
            self.definitions[name] = self._kinds(key.kinds, key.default if default else None)
        mapping: Schema = {"$ref": f"#/$defs/{name}"}
        if required:  # a part by name
            return {**mapping, "required": ["kind"]} if base else mapping
        return _any({"enum": list(key.kinds)}, mapping)

    def _kinds(self, kinds: Mapping[str, type[Section]], default: str | None) -> Schema:
        chosen = [
            {"if": {"properties": {"kind": {"const": kind}}, "required": ["kind"]}, "then": self.reference(cls, kind)}
            for kind, cls in kinds.items()
        ]
        names = kinds if default is None else (default,)
        unnamed = {"anyOf": [self.reference(kinds[kind], kind) for kind in names]}
        return {
            "type": "object",
            "properties": {"kind": {"enum": list(kinds)}},
            "allOf": [*chosen, {"if": {"not": {"required": ["kind"]}}, "then": unnamed}],
        }

    def section(self, key: Key, optional: bool) -> Schema:
        assert key.section is not None
        options = [self.reference(key.section)]
        absent: list[Any] = ["none", None]
        if key.bare in ("flag", "over", "when"):
            options.append({"type": "boolean"})
        if key.bare in ("kind", "over", "when"):
            options.append(self.key(keys(key.section)[key.bare]))
        if optional and key.bare != "kind":
            options.append({"enum": absent})
        return options[0] if len(options) == 1 else _any(*options)


def _choice(key: Key) -> Schema:
    options: list[Schema] = [{"enum": list(key.words)}, CHOICE_EXPRESSION]
    return _any(*options, *([{"type": "boolean"}] if key.truth else []))


def _mapping(key: Key) -> Schema:
    if not key.words:
        return {"type": "object", "additionalProperties": _one_or_more({"type": "string"})}
    every = _object({"*": SCALAR}, ("*",))
    roles = _object(dict.fromkeys(map(str, key.words), SCALAR), minProperties=1)
    return _any(*([SCALAR, every] if key.bare is not None else [every]), roles)


def _fused(_: Key) -> Schema:
    parts: Schema = _listed(TEXT, 2)
    return {"type": "object", "additionalProperties": _any(parts, _object({"parts": parts, "groups": SCALAR}))}


_SHAPES: dict[str, Callable[[Key], Schema]] = {
    "expression": lambda key: _choice(key) if key.words else SCALAR,
    "choice": _choice,
    "text": lambda key: _listed(TEXT) if key.many else TEXT,
    "mapping": _mapping,
    "equations": lambda _: _any({"enum": list(WIRINGS)}, EQUATION, _listed(EQUATION)),
    "fused": _fused,
    "drops": lambda _: _listed(_object({"match": TEXT, "why": TEXT}, ("match", "why"))),
}
