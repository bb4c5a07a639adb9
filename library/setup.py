"""The library as it stands at the repository's root."""

import sys
from pathlib import Path

from setuptools import setup

sys.path.insert(0, str(Path(__file__).resolve().parent))
from needs import NEEDS, VERSION, NoSources  # noqa: E402

setup(version=VERSION, install_requires=NEEDS, cmdclass={"sdist": NoSources})
