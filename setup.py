"""The specs of this repository come with the generator, as `codegen/specs`: see `codegen/lent.py`."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class WithSpecs(build_py):
    """Into what is installed as it is in this checkout nothing is copied."""

    def run(self):
        super().run()
        if not self.editable_mode:
            target = Path(self.build_lib, "codegen", "specs")
            shutil.rmtree(target, ignore_errors=True)
            target.mkdir(parents=True)
            for spec in sorted(Path(__file__).parent.glob("specs/*.yaml")):
                shutil.copy(spec, target)


setup(cmdclass={"build_py": WithSpecs})
