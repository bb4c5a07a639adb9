"""Every small change of a spec: keys deleted, values flipped, terms and calls of equations dropped, one at a time.

Two sources: what the spec says (changed or deleted where it stands), and what the language offers (every key that the
spec leaves at its default is set to something else). A mutant is the text of a whole spec.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from codegen.configs import ConfigClass
from codegen.language.load import load
from codegen.language.loaded import LoadedSpec
from codegen.language.spec import Spec
from codegen.language.vision.loaded import LoadedImageText
from codegen.language.vision.sections import ImageTextSpec
from nemo_automodel.parity import mutate_images, mutate_sections
from nemo_automodel.parity.mutant import Mutation, Reader, dotted, dumped
from nemo_automodel.parity.mutate_written import deletions, flips, of_language

DERIVED = ("bias", "when")
OVERLAYS = ("layers", "variants")  # what they say is no default, and may leave the same to the other layers
# Of images and text: keys without a default of their own, and words that a config may say.
DERIVED_OF_IMAGES = (*DERIVED, "pixels", "output", "skip", "grid", "lookup", "start", "tie", "deepstack")


def mutations(
    text: str, spec: LoadedSpec | LoadedImageText, config: ConfigClass, values: Mapping[str, Any]
) -> Iterator[Mutation]:
    """All mutants of a spec, each once. `values` is a config under which its expressions can be read."""
    data: dict[str, Any] = load(text, spec.path).plain()
    reader = Reader(config, values)
    if isinstance(spec, LoadedImageText):
        languages, derived = (ImageTextSpec, Spec), DERIVED_OF_IMAGES
        offered = mutate_images.Offers(data, spec, reader).mutants()
    else:
        languages, derived = (Spec,), DERIVED
        offered = mutate_sections.Offers(data, next(iter(spec.flat.values())), reader).mutants()
    seen = {dumped(data)}
    deleted = {f"delete {dotted(path)}": _only_key(value) for path, value in of_language(data)}
    overlaid = tuple(dotted(path) for path, _ in of_language(data) if path[0] in OVERLAYS)
    written = (*deletions(data), *flips(data, reader, languages))
    for from_default, source in ((False, written), (True, offered)):
        for name, mutant in source:
            made = dumped(mutant)
            if made not in seen:
                seen.add(made)
                place = name.removeprefix("delete ").partition(":")[0]
                key = deleted.get(name) or place.rpartition(".")[2]
                follows = key in derived or any(path.endswith(f".{place}") for path in overlaid)
                yield Mutation(name, made, key, from_default, from_default and follows)


def _only_key(value: Any) -> str | None:
    """The key that is all that a section says; None for what is no section, or says more."""
    if not isinstance(value, dict) or len(value) != 1:
        return None
    ((key, inner),) = value.items()
    return _only_key(inner) if isinstance(inner, dict) else key
