"""The frame of a spec: its name, its classes, and what is said about it. Derived where names follow the convention."""

import re
from collections.abc import Callable, Mapping
from keyword import iskeyword
from typing import Any, cast

from codegen.configs import ConfigClass, ConfigTable
from codegen.errors import Location, Problem, cut, dotted, shown
from codegen.frozen import Frozen
from codegen.language import reserved, tiny
from codegen.language.expressions import Refused, parse
from codegen.language.load import Node
from codegen.language.spec import ConfigDeclaration
from codegen.language.suggest import cure, nearest

# key -> what it holds; the same lines stand in the reference page
FRAME: dict[str, str] = {
    "name": "Name of the package, the tests, the docs and the example; the file's name.",
    "architecture": "Class name and registry key; a list registers aliases. Default: that of the config class.",
    "config": "`transformers:<Class>`, or {model_type, class, fields} of a class to generate, where "
    "{attribute_map: {hidden_size: n_embd}} names the fields that the library calls otherwise. Default: by name.",
    "summary": "First sentence of the generated docstring. Default: derived.",
    "docs": "What the docs page links to: {hub, paper}.",
    "tests": "What tests cannot know. `tiny`: {<config field>: <value>} of the config that all tests start "
    "from; `also`: a list of such mappings, each of a further config; `excluded`: a condition on configs that the "
    "reference cannot run; `reference`: a class, where transformers has none; `attention`: eager (default) or sdpa, "
    "which the reference then uses; `positions`: given (default), counted, where the reference takes places in the "
    "batch for positions whatever it is given, and generates after each text alone, or alone, where padding changes "
    "what it makes of a text: then it is asked about each alone; `disk`: written (default), or read, where the "
    "reference reads published names and writes others: checkpoints have the former; `equal`: {<mutation of "
    "--sensitivity>: <why it is the same model>}; `why`: the reason.",
    "overrides": "A hand-written class in place of a part: {attention: package.module:Class}.",
}
IMAGES = ("text", "vision", "projector", "merge", "mask", "processor")  # sections of specs of images and text alone
IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
REFERENCE = r"(transformers|tests\.reference(\.[A-Za-z]\w*)+):[A-Za-z]\w*"
REFERENCE_CURE = "write transformers:Class or tests.reference.<module>:Class"
_CLASS_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)
_HUB = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
REFRESH = "for a newer transformers: python -m nemo_automodel.parity.config_fields"
CONFIG_KEYS = ("model_type", "class", "fields")  # and attribute_map, why
_NAME = 64  # characters of a suggested name
TESTS_WORDS = {
    "attention": ("eager", "sdpa"),
    "positions": ("given", "counted", "alone"),
    "disk": ("written", "read"),
}
EXCEPTIONS = ("positions", "disk")  # words that need a reason
ABOUT_THE_REFERENCE = ("reference", *TESTS_WORDS)
TESTS_KEYS = ("tiny", "also", "excluded", *ABOUT_THE_REFERENCE, "equal", "why")
DOCS_KEYS = ("hub", "paper")


class Frame(Frozen):
    """The frame, with what was left out derived."""

    name: str
    architectures: tuple[str, ...]
    declaration: ConfigDeclaration
    config: ConfigClass | None
    summary: str | None
    docs: Mapping[str, Any]
    tests: Mapping[str, Any]
    overrides: Mapping[str, str]


class FrameReader(Frozen):
    """Reads the frame of one file; what is wrong goes to `report`."""

    root: Node
    table: ConfigTable
    report: Callable[[Problem], None]

    def read(self) -> Frame:
        name = self.name()
        declaration, config = self.config(name)
        architectures = self.architectures(config)
        self.classes(architectures, declaration)
        return Frame(
            name,
            architectures,
            declaration,
            config,
            self.text("summary"),
            self.docs(),
            self.tests(config),
            self.overrides(),
        )

    def refuse(self, node: Node, path: str, message: str, remedy: str) -> None:
        self.report(Problem(node.at, path, message, remedy))

    def node(self, name: str) -> Node | None:
        return (self.root.mapping or {}).get(name)

    def name(self) -> str:
        node = self.node("name")
        if node is None:
            self.refuse(self.root, "name", "is missing", "write name: <name of the file>")
            return ""
        if not self.identifier(node, "name"):
            return ""
        if node.value in reserved.PACKAGES:
            self.refuse(node, "name", f"'{node.value}' is a package of the library", "choose another name")
        return node.value

    def classes(self, architectures: tuple[str, ...], declaration: ConfigDeclaration) -> None:
        """Refuse names of classes that generated modules use already."""
        for taken in reserved.classes(architectures, declaration.class_name) if architectures else ():
            config = taken == declaration.class_name and declaration.fields is not None
            path = "config.class" if config else "architecture"
            node = (self.node("config") if config else self.node("architecture")) or self.root
            at = node.find(("class",)) if config else node.at
            message = f"the generated class '{cut(taken)}' would have a name that its module uses already"
            self.report(Problem(at, path, message, "choose another name"))

    def identifier(self, node: Node, path: str) -> bool:
        """Whether the node is an ASCII identifier and no keyword."""
        good = isinstance(node.value, str) and IDENTIFIER.fullmatch(node.value) and not iskeyword(node.value)
        if not good:
            written = shown(node.value) if node.mapping is None and node.items is None else "this"
            fixed = re.sub(r"\W+", "_", str(node.plain()), flags=re.ASCII).strip("_")[:_NAME]
            good_name = IDENTIFIER.fullmatch(fixed) and not iskeyword(fixed)
            remedy = f"write {fixed}" if good_name else "write letters, digits and _, a letter first"
            self.refuse(node, path, f"{written} must be a Python identifier in ASCII, no keyword", remedy)
        return bool(good)

    def config(self, name: str) -> tuple[ConfigDeclaration, ConfigClass | None]:
        node = self.node("config")
        if node is None:
            found = self.table.for_model_type(name) if name else None
            if found is None and name:
                remedy = self._like(name) or "write config: transformers:<Class>, or {model_type, class, fields}"
                known = f"transformers {self.table.releases} has no model type '{cut(name)}'"
                self.refuse(self.root, "config", known, f"{remedy}; {REFRESH}")
            return ConfigDeclaration(found.name if found else "", found.model_type if found else name), found
        if node.mapping is not None:
            return self.declared(node)
        return self.imported(node)

    def _like(self, name: str) -> str:
        near = nearest(name, self.table.model_types())
        return f"did you mean name: {near}? else write config: transformers:<Class>" if near is not None else ""

    def imported(self, node: Node) -> tuple[ConfigDeclaration, ConfigClass | None]:
        package, _, class_name = str(node.value).partition(":")
        if package != "transformers" or not IDENTIFIER.fullmatch(class_name):
            self.refuse(node, "config", f"{shown(node.plain())} names no config class", "write transformers:<Class>")
            return ConfigDeclaration("", ""), None
        found = self.table.get(class_name)
        if found is None:
            near = nearest(class_name, self.table)
            remedy = f"did you mean '{near}'?" if near else "declare it: {model_type, class, fields}"
            known = f"transformers {self.table.releases} has no config class '{cut(class_name)}'"
            self.refuse(node, "config", known, f"{remedy}; {REFRESH}")
        return ConfigDeclaration(class_name, found.model_type if found else ""), found

    def declared(self, node: Node) -> tuple[ConfigDeclaration, ConfigClass | None]:
        entries = self.known(node, "config", (*CONFIG_KEYS, "attribute_map", "why"))
        for name in CONFIG_KEYS:
            if name not in entries:
                self.refuse(node, f"config.{name}", "is missing", f"write {name}: ...")
        words = {part: entries[part] for part in ("model_type", "class") if part in entries}
        good = {part: child.value for part, child in words.items() if self.identifier(child, f"config.{part}")}
        fields = entries.get("fields")
        if fields is not None and fields.mapping is None:
            self.refuse(fields, "config.fields", "must be a mapping", "write {hidden_size: 4096, ...}")
        if fields is None or fields.mapping is None:
            return ConfigDeclaration("", ""), None
        for name, child in fields.mapping.items():
            public = name.removeprefix("_") if isinstance(name, str) else name  # some publish private fields
            self.identifier(Node(public, fields.key_at[name]), dotted("config.fields", name))
            self.constant(child, dotted("config.fields", name))
            if name in reserved.reserved("config"):
                at = Node(name, fields.key_at[name])
                message = "is a method of every config class"
                self.refuse(at, dotted("config.fields", name), message, "choose another name")
        if len(good) != 2:
            return ConfigDeclaration("", ""), None
        values = fields.plain()
        names = self.attribute_map(entries.get("attribute_map"), values)
        config = ConfigClass.from_declaration(values, good["class"], good["model_type"], names)
        why = entries.get("why")
        if why is not None and not isinstance(why.value, str):
            self.refuse(why, "config.why", "must be text", "write one sentence")
        reason = why.value if why is not None else None
        return ConfigDeclaration(good["class"], good["model_type"], values, reason, names), config

    def attribute_map(self, node: Node | None, fields: Mapping[str, Any]) -> Mapping[str, str]:
        """Other names of declared fields."""
        if node is None:
            return {}
        if node.mapping is None:
            self.refuse(node, "config.attribute_map", "must be a mapping", "write {hidden_size: n_embd}")
            return {}
        for name, child in node.mapping.items():
            path = dotted("config.attribute_map", name)
            self.identifier(Node(name, node.key_at[name]), path)
            if not isinstance(child.value, str) or child.value not in fields or name in fields:
                message, remedy = f"{shown(child.plain())} is no declared field", cure(child.plain(), fields)
                if name in fields:
                    message, remedy = f"'{name}' is a field", "remove it"
                self.refuse(child, path, message, remedy)
        return {str(name): str(child.value) for name, child in node.mapping.items()}

    def constant(self, node: Node, path: str) -> None:
        """Field values are plain data: `none` would be the text 'none'."""
        if node.value == "none":
            self.refuse(node, path, "'none' is text here", "write null")

    def architectures(self, config: ConfigClass | None) -> tuple[str, ...]:
        node = self.node("architecture")
        if node is None:
            found = config.architectures if config is not None else ()
            if config is not None and not found:
                remedy = f"write architecture: {config.name.removesuffix('Config')}ForCausalLM"
                reason = f"{config.name} has no causal language model"
                if config.lender is not None:  # transformers runs its checkpoints with the model of another family
                    reason += f" of its own: transformers takes {config.lender}"
                    remedy += f", and tests: {{reference: 'transformers:{config.lender}'}}"
                self.refuse(self.root, "architecture", reason, remedy)
            return found
        items = node.items if node.items is not None else (node,)
        if not items:
            self.refuse(node, "architecture", "is empty", "write the class's name")
        names = tuple(item.value for item in items if self.identifier(item, "architecture"))
        for name in sorted({name for name in names if names.count(name) > 1}):
            self.refuse(node, "architecture", f"'{name}' stands here twice", "remove one")
        return names

    def text(self, name: str) -> str | None:
        node = self.node(name)
        if node is None:
            return None
        if not isinstance(node.value, str) or not node.value.strip():
            self.refuse(node, name, "must be text", "write one sentence")
            return None
        return node.value

    def known(self, node: Node, path: str, allowed: tuple[str, ...]) -> Mapping[Any, Node]:
        """The entries of a mapping whose keys are known."""
        if node.mapping is None:
            self.refuse(node, path, "must be a mapping", f"keys: {', '.join(allowed)}")
            return {}
        for name in node.mapping:
            if name not in allowed:
                remedy = cure(name, allowed, "keys")
                self.report(Problem(_at(node, name), dotted(path, name), "is not a key here", remedy))
        return {name: child for name, child in node.mapping.items() if name in allowed}

    def docs(self) -> Mapping[str, Any]:
        node = self.node("docs")
        if node is None:
            return {}
        entries = self.known(node, "docs", DOCS_KEYS)
        for name, child in entries.items():
            if not isinstance(child.value, str):
                self.refuse(child, f"docs.{name}", "must be text", "quote it")
            elif name == "hub" and not _HUB.fullmatch(child.value):
                self.refuse(child, "docs.hub", f"{shown(child.value)} names no repository", "write owner/name")
        return {name: child.value for name, child in entries.items()}

    def tests(self, config: ConfigClass | None) -> Mapping[str, Any]:
        node = self.node("tests")
        if node is None:
            return {}
        entries = self.known(node, "tests", TESTS_KEYS)
        if "tiny" in entries:
            self.tiny(entries["tiny"], config, "tests.tiny")
        if "also" in entries:
            self.also(entries["also"], config)
        if "excluded" in entries:
            self.condition(entries["excluded"], "tests.excluded")
        if "reference" in entries and not is_reference(entries["reference"].value):
            message = f"{shown(entries['reference'].plain())} is no reference"
            self.refuse(entries["reference"], "tests.reference", message, REFERENCE_CURE)
        for name, words in TESTS_WORDS.items():
            if name in entries and (value := entries[name].value) not in words:
                message = f"{shown(entries[name].plain())} is not known"
                self.refuse(entries[name], f"tests.{name}", message, cure(value, words))
        if "equal" in entries and not _is_named_texts(entries["equal"].plain()):
            self.refuse(entries["equal"], "tests.equal", "must name a reason each", "write {<mutation>: <reason>}")
        if "why" in entries and not isinstance(entries["why"].value, str):
            self.refuse(entries["why"], "tests.why", "must be text", "write one sentence")
        for name in EXCEPTIONS:
            if name in entries and "why" not in entries:
                self.refuse(entries[name], f"tests.{name}", "is an exception without a reason", "add why")
        return {str(name): entry.plain() for name, entry in entries.items()}

    def tiny(self, node: Node, config: ConfigClass | None, path: str) -> None:
        if node.mapping is None:
            self.refuse(node, path, "must be a mapping", "write {hidden_size: 64}")
        for problem in tiny.problems(node, config, path) if config is not None else ():
            self.report(problem)

    def also(self, node: Node, config: ConfigClass | None) -> None:
        if not node.items:
            self.refuse(node, "tests.also", "must be a list of mappings", "write [{hidden_size: 64}]")
        for number, child in enumerate(node.items or ()):
            self.tiny(child, config, f"tests.also.{number}")

    def condition(self, node: Node, path: str) -> None:
        try:
            if not isinstance(node.value, str):
                raise Refused("must be an expression", "write config.<field>")
            parse(node.value, names=("config",))
        except Refused as refused:
            self.refuse(node, path, refused.message, refused.cure)

    def overrides(self) -> Mapping[str, str]:
        node = self.node("overrides")
        if node is None:
            return {}
        parts = (self.node("parts") or node).mapping or {}
        entries = self.known(
            node, "overrides", ("attention", "mlp", *map(str, parts if parts is not node.mapping else ()))
        )
        for name, child in entries.items():
            if not _is_class_path(child.value):
                message = f"{shown(child.plain())} names no class"
                self.refuse(child, f"overrides.{name}", message, "write package.module:Class")
        return {str(name): child.value for name, child in entries.items()}


def _is_named_texts(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(text, str) for text in cast(dict[Any, Any], value).values())


def is_reference(value: Any) -> bool:
    """Whether a name is one that parity may import: no spec makes it run another module."""
    return isinstance(value, str) and re.fullmatch(REFERENCE, value, re.ASCII) is not None


def _is_class_path(value: Any) -> bool:
    return isinstance(value, str) and _CLASS_PATH.fullmatch(value) is not None


def _at(node: Node | None, name: Any) -> Location:
    assert node is not None
    return node.key_at.get(name, node.at)
