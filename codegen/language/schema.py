"""The language as JSON Schema (draft 2020-12), for editors; generated from the same declarations as the check.

It knows shapes, keys and words. What needs more (fields of a config class, expressions, rules across keys) is for
`codegen check` alone.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from codegen.configs import table, vision_table
from codegen.language.frame import CONFIG_KEYS, DOCS_KEYS, EXCEPTIONS, FRAME, IMAGES, REFERENCE, TESTS_WORDS
from codegen.language.keys import Key, Section, keys
from codegen.language.normalize import SWITCHES
from codegen.language.spec import WIRINGS, Spec
from codegen.language.vision.sections import ImageTextSpec

Schema = dict[str, Any]
DRAFT = "https://json-schema.org/draft/2020-12/schema"
ID = "https://github.com/automodel-codegen/spec.schema.json"
FILE = "spec.schema.json"  # in the folder of specs
NAMED = f"# yaml-language-server: $schema={FILE}"  # the line by which editors find it
WORD = r"^[A-Za-z][A-Za-z0-9_]*$"
FIELD = r"^_?[A-Za-z][A-Za-z0-9_]*$"
EQUATION: Schema = {"$ref": "#/$defs/equation"}
TEXT: Schema = {"type": "string", "minLength": 1}
VALUE: Schema = {**TEXT, "type": ["string", "number", "boolean"]}  # of a field of a config
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
    """The schema of a whole spec file: that of one of text, or of one of images and text."""
    return {
        "$schema": DRAFT,
        "$id": ID,
        "title": "Model spec",
        "type": "object",
        "if": _of_images(),
        "then": {"$ref": "#/$defs/spec of images and text"},
        "else": {"$ref": "#/$defs/spec of text"},
        "$defs": dict(sorted({**_text(), **_images_and_text()}.items())),
    }


def _text() -> dict[str, Schema]:
    """What a spec of text may hold, as definitions."""
    writer = _Writer(Spec)
    sections = writer.sections(True)
    entries = {"$ref": "#/$defs/entries"}
    variants = {"$ref": "#/$defs/variants"}
    properties = {**_frame(), **sections, "variants": variants, "layers": entries, "why": WHY}
    overlay = writer.sections(False)
    writer.definitions["overlay"] = _object({**overlay, "why": WHY})
    writer.definitions["entries"] = _entries(overlay)
    writer.definitions["variant"] = _object({**overlay, "layers": entries, "why": WHY})
    writer.definitions["variants"] = _entries({**overlay, "layers": entries}, "variant")
    return {**writer.definitions, "spec of text": _object(properties, required=("name",))}


def _images_and_text() -> dict[str, Schema]:
    """What one of images and text may hold; names of its sections have a mark, since texts have others of that name."""
    writer = _Writer(ImageTextSpec, mark=" of images")
    frame = {name: shape for name, shape in _frame().items() if name != "overrides"}
    properties = {**frame, **writer.sections(True), "why": WHY}
    laid = {name: {"$ref": f"#/$defs/variant/properties/{name}"} for name in (*keys(Spec), "layers")}
    laid["variants"] = {"$ref": "#/$defs/variants"}
    empty: Schema = {"type": "object", "maxProperties": 0}  # a mapping merges with that of the spec below
    laid |= {name: _any(laid[name], empty) for name in ("variants", "layers")}
    writer.definitions["Text of images"]["properties"] |= laid  # a key of the text language
    return {**writer.definitions, "spec of images and text": _object(properties, required=("name",))}


def _of_images() -> Schema:
    """What tells a spec of images and text: a section, its config class, or its name; as `check.is_of_images` does."""
    of_text = table()
    names = [name for name in vision_table().model_types() if of_text.for_model_type(name) is None]
    classes = [f"transformers:{name}" for name in vision_table()]
    by_class = {"properties": {"config": {"enum": classes}}, "required": ["config"]}
    by_name = {"properties": {"name": {"enum": names}}, "required": ["name"], "not": {"required": ["config"]}}
    return _any(*({"required": [name]} for name in IMAGES), by_class, by_name)


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
        "tests": _object(tests) | {"dependentRequired": {name: ["why"] for name in EXCEPTIONS}},
        "overrides": {"type": "object", "additionalProperties": class_path},
    }
    return {name: {**shapes[name], "description": doc} for name, doc in FRAME.items()}


class _Writer:
    """Writes the schema of a language's sections; each class becomes one definition, its name with a mark behind it."""

    def __init__(self, language: type[Section], mark: str = "") -> None:
        self.language, self.mark = language, mark
        self.definitions: dict[str, Schema] = dict(SHARED)

    def sections(self, base: bool) -> dict[str, Schema]:
        """The sections of a spec; in an overlay a `kind` may be left to what lies below."""
        return {name: self.key(key, base, optional=name == "rope") for name, key in keys(self.language).items()}

    def key(self, key: Key, base: bool = True, optional: bool = True) -> Schema:
        if key.type == "kinds":
            found = self.kinds(key, base)
        elif key.type == "named":
            part = self.kinds(key, base, required=True)
            found = {"type": "object", "additionalProperties": part}
        elif key.type == "section":
            found = self.section(key, optional)
        elif key.type == "projection" and key.section is not None:
            found = _any(_SHAPES[key.type](key), {**self.reference(key.section), "required": ["class"]})
        else:
            found = _SHAPES[key.type](key)
        return {**found, "description": key.doc}

    def reference(self, cls: type[Section], kind: str | None = None) -> Schema:
        """A reference to the definition of a section, which is written on first use."""
        name = (cls.__name__ if kind is None else f"{cls.__name__}.{kind}") + self.mark
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
        name = f"{default.__name__ if default else 'any'} of {len(key.kinds)}{self.mark}"
        if name not in self.definitions:
            self.definitions[name] = self._kinds(key.kinds, key.default if default else None)
        mapping: Schema = {"$ref": f"#/$defs/{name}"}
        if required:  # a part by name
            if key.bare is not None:
                return _any({"enum": list(key.kinds)}, mapping)
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
        if key.bare in SWITCHES:
            options.append({"type": "boolean"})
        if key.bare in keys(key.section):
            bare = self.key(keys(key.section)[str(key.bare)])
            options.append(bare if optional else {**bare, "not": {"const": "none"}})
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
    "projection": lambda _: _any({"const": "none"}, EQUATION, _listed(EQUATION, 0)),
    "tensor": lambda _: TEXT,
    "tensors": lambda key: {"type": "object", "additionalProperties": TEXT if key.names else VALUE, "minProperties": 1},
    "fused": _fused,
    "drops": lambda _: _listed(_object({"match": TEXT, "why": TEXT}, ("match", "why"))),
}
