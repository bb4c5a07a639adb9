"""All registries: the library's own, and those of packages that generate into themselves.

A package names its registry, a module with the same mappings, in its metadata:

    [project.entry-points."nemo_automodel.registries"]
    mine = "mine.models.registry"

A program whose package is not installed calls `register("mine.models.registry")`. What such a package says comes before
what the library says; two packages that say different things of one name are refused.
"""

from functools import cache
from importlib import import_module
from importlib.metadata import entry_points

from nemo_automodel._transformers import registry

GROUP = "nemo_automodel.registries"
MAPPINGS = ("MODEL_ARCH_MAPPING", "MODEL_TYPE_MAPPING", "MODEL_TEXT_MAPPING", "_CUSTOM_CONFIG_REGISTRATIONS")
_registered = []


def register(module):
    """Adds the registry at a dotted module. Raises ImportError where it cannot be imported."""
    import_module(module)
    if module not in _registered:
        _registered.append(module)
        _foreign.cache_clear()


def mapping(name):
    """One of `MAPPINGS`, of all registries.

    Raises:
        ImportError: a package names a registry that cannot be imported.
        ValueError: two packages say different things of one name.
    """
    own, foreign = getattr(registry, name), _foreign(name)
    return {**own, **foreign} if foreign else own


@cache
def _foreign(name):
    found, origin = {}, {}
    for module in dict.fromkeys((*_registered, *(point.value for point in entry_points(group=GROUP)))):
        for key, value in getattr(import_module(module), name, {}).items():
            if found.setdefault(key, value) != value:
                raise ValueError(
                    f"{name}: {key!r} is registered by {origin[key]} and by {module}: uninstall one of them, or give"
                    " one's model an architecture of its own in its spec"
                )
            origin.setdefault(key, module)
    return found
