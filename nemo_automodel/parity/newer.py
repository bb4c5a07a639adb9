"""Families that are newer than the installed transformers: without their config class, or where the classes of an older
release fail, there is no reference."""

from collections.abc import Iterator
from contextlib import contextmanager

from codegen.configs import table


class NewerFamily(LookupError):
    """The installed transformers does not have a family yet, or fails in it, unlike the last that was tested."""


def refuse_newer(config_class: str) -> None:
    """Raises NewerFamily for `transformers:Name` where only newer releases have that class."""
    import transformers

    module, _, name = config_class.partition(":")
    known = table().get(name) if module == "transformers" else None
    if known is not None and not known.in_oldest and not hasattr(transformers, name) and (newest := _newest()):
        raise NewerFamily(f"transformers {_version()} has no {name}: {newest} does, so install that")


@contextmanager
def asked_of_older(asked: type) -> Iterator[None]:
    """For what a class does by itself: what one of an older transformers raises there, ends as NewerFamily; what others
    raise, ours too, stays what it is."""
    try:
        yield
    except Exception as error:
        if not asked.__module__.startswith("transformers.") or not (newest := _newest()):
            raise
        told = f"its {asked.__name__} ({type(error).__name__}: {error})".split("\n")[0]
        raise NewerFamily(f"transformers {_version()} fails in {told}: install {newest}") from error


def _newest() -> str | None:
    """The last release that was tested, where an older one is installed."""
    from nemo_automodel.components.models.common.releases import INSTALLED, NEWEST

    return None if INSTALLED >= NEWEST else ".".join(map(str, NEWEST))


def _version() -> str:
    from nemo_automodel.components.models.common.releases import VERSION

    return VERSION
