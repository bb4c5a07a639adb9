"""A tiny generator in place of the real one, so that tests of writing depend on writing alone.

A spec's text becomes the body of its files; a spec with the word `bad` is invalid.
"""

import sys
import types
from pathlib import Path

from codegen.artifacts import Artifact, Generated, IndexRow, RegistryEntry
from codegen.errors import Location, Problem, SpecError


def read_spec(path: Path, root: Path) -> types.SimpleNamespace:
    text = path.read_text()
    if "bad" in text:
        where = Location(path.relative_to(root).as_posix(), 2, 3)
        raise SpecError([Problem(where, "body", "is bad", "make it good")])
    unready = ("mlp.kind: moe",) if "unready" in text else ()
    return types.SimpleNamespace(name=path.stem, text=text, architectures=(architecture(path.stem),), unready=unready)


def architecture(name: str) -> str:
    return f"{name.title()}ForCausalLM"


def generate(spec: types.SimpleNamespace, root: Path) -> Generated:
    name, source = spec.name, f"specs/{spec.name}.yaml"
    body = f'"""{spec.text!r}"""\n'
    package = f"nemo_automodel/components/models/{name}"
    artifacts = [Artifact(f"{package}/model.py", body, source)]
    artifacts += [Artifact(f"{package}/config.py", body, source)] if "config" in spec.text else []
    artifacts += [Artifact(f"tests/unit_tests/models/{name}/test_{name}.py", body, source)]
    artifacts += [Artifact(f"docs/model-coverage/llm/{name}.md", spec.text, source, "<!--")]
    module = package.replace("/", ".")
    config = (name, f"{module}.config", f"{name.title()}Config") if "config" in spec.text else None
    entry = RegistryEntry((architecture(name),), f"{module}.model", architecture(name), config)
    row = IndexRow("docs/model-coverage/llm/index.md", f"{name}.md", name, (spec.text,))
    return Generated(name, tuple(artifacts), entry, row)


def install() -> None:
    """Put this generator where the pipeline looks for the real one."""
    loader, generator = types.ModuleType("codegen.spec.load"), types.ModuleType("codegen.generate")
    loader.read_spec = read_spec  # type: ignore[attr-defined]
    generator.generate = generate  # type: ignore[attr-defined]
    sys.modules |= {"codegen.spec.load": loader, "codegen.generate": generator}
