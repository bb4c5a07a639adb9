"""Refuses to run where NVIDIA's `nemo-automodel` is installed too: of equal paths, the last installed file is left.

Whichever distribution has its `__init__.py` in place, this module is of ours alone, and so are those that import it.
"""

from importlib.metadata import PackageNotFoundError, version


def refuse_another():
    """Raises ImportError where both distributions are installed."""
    try:
        other = version("nemo-automodel")
    except PackageNotFoundError:
        return
    raise ImportError(
        f"automodel-library and nemo-automodel {other} are both installed, and both are imported as nemo_automodel:"
        " their files overwrite each other. Keep each in an environment of its own; here: `pip uninstall -y"
        " automodel-library nemo-automodel`, and install the one that you want again"
    )


refuse_another()
