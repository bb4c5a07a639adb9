"""The keys of the language below a section, as a spec has it; and what a key is about."""

from collections.abc import Iterator

from codegen.language.keys import Key, Section, element, keys
from codegen.language.spec import Spec
from nemo_automodel.parity.mutant import Data, Path
from nemo_automodel.parity.sensitivity import is_dtype_key


def key_at(path: Path, data: Data) -> Key | None:
    """The key of the language at a path of a spec."""
    return dict(keys_below(path[:1], keys(Spec).get(str(path[0])), data)).get(path)


def keys_below(path: Path, key: Key | None, data: Data) -> Iterator[tuple[Path, Key]]:
    """The keys of a section as the candidate has it, with those below; of a mapping the words that it may have."""
    if key is None:
        return
    yield path, key
    for word in key.words if key.type == "mapping" else ():
        yield (*path, word), element(key)
    inner: type[Section] | None = key.section
    if key.kinds is not None:
        written = data.get(path[0]) if len(path) == 1 else None
        kind = written.get("kind") if isinstance(written, dict) else written if isinstance(written, str) else None
        inner = key.kinds.get(str(kind or key.default)) or next(iter(key.kinds.values()))
    if inner is not None and len(path) < 4:
        for name, below in keys(inner).items():
            if name != "kind":
                yield from keys_below((*path, name), below, data)


def rounds(path: Path) -> bool:
    """Whether a key may change roundings alone: dtypes, and activations, of which several are one function."""
    return is_dtype_key(str(path[-1])) or path[-1] == "activation"
