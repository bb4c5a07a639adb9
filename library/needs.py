"""What both builds of the library have in common: the generator's version, and what they need."""

import re
from pathlib import Path

from setuptools.command.sdist import sdist

SOURCE = Path(__file__).resolve().parents[1] / "codegen" / "__init__.py"
VERSION = re.findall(r'__version__ = "(.+)"', SOURCE.read_text(encoding="utf-8"))[0]
NEEDS = [
    f"automodel-codegen=={VERSION}",  # what it proves and what is generated fit together
    "accelerate>=1.10",
    "rich>=13.7",
    "safetensors>=0.5",
    "torch>=2.10",
    "transformers>=5.17,<5.25",
]


class NoSources(sdist):
    """An archive of this folder alone would lack the packages, which lie beside it."""

    def run(self):
        raise SystemExit(f"{Path.cwd().name}/ has no archive of sources: build a wheel with `pip wheel --no-deps`")
