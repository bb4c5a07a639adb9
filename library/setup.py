"""The library as it stands at the repository's root."""

import sys
from pathlib import Path

from setuptools import setup

sys.path.insert(0, str(Path(__file__).resolve().parent))
from needs import EXTRAS, NEEDS, VERSION, NoSources, extensions  # noqa: E402

setup(
    version=VERSION,
    install_requires=NEEDS,
    extras_require=EXTRAS,
    ext_modules=extensions("nemo_automodel"),
    cmdclass={"sdist": NoSources},
)
