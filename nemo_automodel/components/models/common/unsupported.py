"""Configs that transformers' classes follow and generated models do not: refused, where they would be misread."""


class UnsupportedConfigError(ValueError):
    """A field of a config asks for what no generated model computes."""


def refuse_both_ways(config):
    """Raises UnsupportedConfigError where a text's tokens are to see those after them: masks here are causal."""
    if getattr(config, "use_bidirectional_attention", None):
        named = "use_bidirectional_attention"
    elif getattr(config, "is_causal", True) is False:
        named = "is_causal"
    else:
        return
    raise UnsupportedConfigError(
        f"config.{named} is {getattr(config, named)!r}: here tokens see those before them alone; "
        "load it with transformers' class, or set the field for a causal model"
    )
