"""Families that are newer than the installed transformers: a release without their config class has no reference."""

from codegen.configs import table


class NewerFamily(LookupError):
    """The installed transformers does not have a family yet, which the last that was tested has."""


def refuse_newer(config_class: str) -> None:
    """Raises NewerFamily for `transformers:Name` where only newer releases have that class."""
    import transformers

    from nemo_automodel.components.models.common.releases import INSTALLED, NEWEST, VERSION

    module, _, name = config_class.partition(":")
    known = table().get(name) if module == "transformers" else None
    if known is None or known.in_oldest or INSTALLED >= NEWEST or hasattr(transformers, name):
        return
    newest = ".".join(map(str, NEWEST))
    raise NewerFamily(f"transformers {VERSION} has no {name}: {newest} does, so install that")
