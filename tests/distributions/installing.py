"""Wheels of this repository and of what they need, made and installed without network."""

import base64
import hashlib
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from email.parser import Parser
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement

REPOSITORY = Path(__file__).resolve().parents[2]
SOURCES = ("codegen", "layers", "library", "nemo_automodel", "specs")
FILES = ("LICENSE", "MANIFEST.in", "README.md", "pyproject.toml", "setup.py", ".pre-commit-hooks.yaml")
LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.so", "build", "*.egg-info")


def sources(folder: Path) -> Path:
    """A copy of what the distributions are built from: a build leaves folders behind."""
    for name in SOURCES:
        shutil.copytree(REPOSITORY / name, folder / name, symlinks=True, ignore=LEFT_OUT)
    for name in FILES:
        if (REPOSITORY / name).exists():
            shutil.copy(REPOSITORY / name, folder)
    return folder


def build(source: Path, folder: Path, *projects: str) -> dict[str, Path]:
    """Name of a distribution -> its wheel."""
    pip("wheel", "--no-deps", "--no-build-isolation", "-w", str(folder), *projects, cwd=source)
    return {path.name.split("-")[0]: path for path in folder.glob("*.whl")}


def pip(*arguments: str, cwd: Path | None = None) -> str:
    command = [sys.executable, "-m", "pip", *arguments, "--disable-pip-version-check", "--no-index"]
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}  # pip would see packages there
    done = subprocess.run(command, cwd=cwd, env=kept, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def needs(requirements: list[str]) -> list[Distribution]:
    """The installed distributions that these requirements bring, and those that they bring in turn."""
    found: dict[str, Distribution] = {}
    pending = [Requirement(text) for text in requirements]
    while pending:
        wanted = pending.pop()
        if wanted.name not in found and (wanted.marker is None or wanted.marker.evaluate({"extra": ""})):
            found[wanted.name] = distribution(wanted.name)
            pending += map(Requirement, found[wanted.name].requires or ())
    return list(found.values())


def packed(installed: Distribution, folder: Path) -> Path:
    """An installed distribution as the wheel that it came from, but for scripts, which pip makes anew."""
    base = Path(str(installed.locate_file("")))
    files = [path for path in installed.files or () if ".." not in path.parts and path.suffix != ".pyc"]
    tags = [line.split(": ")[1] for line in (installed.read_text("WHEEL") or "").splitlines() if line[:4] == "Tag:"]
    name = installed.name.replace("-", "_")
    wheel = folder / f"{name}-{installed.version}-{tags[-1]}.whl"
    record = next(path for path in files if path.name == "RECORD")
    dropped = {record.as_posix(), *(str(record.parent / one) for one in ("INSTALLER", "REQUESTED", "direct_url.json"))}
    with zipfile.ZipFile(wheel, "w") as archive:
        lines = [f"{record},,"]
        for path in files:
            if path.as_posix() not in dropped:
                data = (base / path).read_bytes()
                archive.writestr(path.as_posix(), data)
                digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
                lines.append(f"{path},sha256={digest},{len(data)}")
        archive.writestr(str(record), "\n".join(lines) + "\n")
    return wheel


def environment(folder: Path, *, shared: bool) -> Path:
    """The interpreter of a new environment without pip. shared: it has what this one has, behind its own."""
    venv.create(folder, with_pip=False)
    if shared:
        here = packages(Path(sys.executable))
        (packages(folder / "bin/python") / "shared.pth").write_text(f"{here}\n")
    return folder / "bin/python"


def packages(python: Path) -> Path:
    """Where an interpreter's packages lie."""
    command = [str(python), "-c", "import site; print(site.getsitepackages()[0])"]
    return Path(subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip())


def requirements(wheel: Path) -> list[str]:
    """What a wheel says that it needs."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(archive.read(name).decode())
    return metadata.get_all("Requires-Dist") or []
