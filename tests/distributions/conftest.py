"""The wheels, built once for all tests of them."""

import pytest

from tests.distributions import installing


@pytest.fixture(scope="session")
def wheels(tmp_path_factory):
    """Name of a distribution -> its wheel."""
    folder = tmp_path_factory.mktemp("wheels")
    source = installing.sources(tmp_path_factory.mktemp("source"))
    return installing.build(source, folder, ".", "./library", "./layers")


@pytest.fixture(scope="session")
def wheelhouse(wheels):
    """The folder of the generator's wheel and of all that it needs, setuptools too, which builds it."""
    generator = wheels["automodel_codegen"]
    needed = installing.needs([*installing.requirements(generator), "setuptools"])
    for one in needed:
        installing.packed(one, generator.parent)
    return generator.parent
