"""The library under a name that no other library has, for trees whose own `nemo_automodel` is the hand-written one."""

import shutil
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "library"))
from needs import EXTRAS, NEEDS, VERSION, NoSources, extensions  # noqa: E402

THERE, HERE = "nemo_automodel", "automodel_layers"
ALONE = '"""Nothing else has this name: it stands beside any other distribution."""\n'


class Renamed(build_py):
    """Every module calls itself and the others by the other name."""

    def run(self):
        if self.editable_mode:
            raise SystemExit(f"{HERE} is made when it is built: install it without -e")
        made, target = Path(self.build_lib, THERE), Path(self.build_lib, HERE)
        shutil.rmtree(made, ignore_errors=True)
        super().run()
        shutil.rmtree(target, ignore_errors=True)
        for path in made.rglob("*.py"):
            path.write_text(path.read_text(encoding="utf-8").replace(THERE, HERE), encoding="utf-8")
        (made / "_alone.py").write_text(ALONE, encoding="utf-8")
        made.rename(target)


setup(
    version=VERSION,
    install_requires=NEEDS,
    extras_require=EXTRAS,
    ext_modules=extensions(HERE),
    cmdclass={"build_py": Renamed, "sdist": NoSources},
)
