"""A tiny generator in place of the real one, so that tests of writing depend on writing alone.

A spec's text becomes the body of its files; a spec with the word `bad` is invalid.
"""

from pathlib import Path

from codegen.artifacts import Artifact, Generated, IndexRow, RegistryEntry
from codegen.errors import Location, Problem, SpecError
from codegen.run.build import RealGenerator


def generate(self: RealGenerator, path: str, root: str) -> Generated:
    text, name = read(path, root), Path(path).stem
    body = f'"""{text!r}"""\n'
    package = f"nemo_automodel/components/models/{name}"
    artifacts = [Artifact(f"{package}/model.py", body, path)]
    artifacts += [Artifact(f"{package}/config.py", body, path)] if "config" in text else []
    artifacts += [Artifact(f"tests/unit_tests/models/{name}/test_{name}.py", body, path)]
    artifacts += [Artifact(f"docs/model-coverage/llm/{name}.md", text, path, "<!--")]
    module = package.replace("/", ".")
    config = (name, f"{module}.config", f"{name.title()}Config") if "config" in text else None
    entry = RegistryEntry((architecture(name),), f"{module}.model", architecture(name), config)
    row = IndexRow("docs/model-coverage/llm/index.md", f"{name}.md", name, (text,))
    return Generated(name, tuple(artifacts), (entry,), row)


def read(path: str, root: str) -> str:
    text = Path(root, path).read_text()
    if "bad" in text:
        raise SpecError([Problem(Location(path, 2, 3), "body", "is bad", "make it good")])
    return text


def architecture(name: str) -> str:
    return f"{name.title()}ForCausalLM"


def install() -> None:
    """Put this generator in place of the real one."""
    RealGenerator.generate = generate  # type: ignore[method-assign]
    RealGenerator.prepare = lambda self, paths, root: None  # type: ignore[method-assign]
