"""The library has the generator's version, and needs that one: what it proves and what is generated fit together."""

import re
from pathlib import Path

from setuptools import setup
from setuptools.command.sdist import sdist

SOURCE = Path(__file__).resolve().parents[1] / "codegen" / "__init__.py"
VERSION = re.findall(r'__version__ = "(.+)"', SOURCE.read_text(encoding="utf-8"))[0]


class Refused(sdist):
    """An archive of this folder alone would lack the packages, which lie beside it."""

    def run(self):
        raise SystemExit("automodel-library has no archive of sources: build a wheel, `pip wheel --no-deps ./library`")


setup(
    version=VERSION,
    install_requires=[
        f"automodel-codegen=={VERSION}",
        "accelerate>=1.10",
        "rich>=13.7",
        "safetensors>=0.5",
        "torch>=2.10",
        "transformers>=5.17,<5.25",
    ],
    cmdclass={"sdist": Refused},
)
