#!/usr/bin/env bash
# black 26.10.1 cannot parse a tuple with a star behind an augmented assignment, `found += *first, *second`, unless it stands in
# parentheses: "cannot parse for target version Python 3.11". Python compiles it since 3.9 (its grammar has the same expressions on the
# right of `=` and `+=`), LibCST 1.9.0 reads and writes it back as it was, ruff 0.17.6 finds nothing and formats it. Behind `=` and
# `return` black takes the same tuple. Who writes the line has a file that every other tool accepts and black leaves unformatted.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check "black==26.10.1" "libcst==1.9.0" "ruff==0.17.6"
cat > "$folder/run.py" <<'PY'
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import black
import libcst

TAKEN = {"=": "found = *first, *second\n", "+= in parentheses": "found += (*first, *second)\n"}
REFUSED = {"+=": "found += *first, *second\n", "+= with one star": "found += 0, *second\n"}


def of_black(line):
    try:
        black.format_str(line, mode=black.Mode(target_versions={black.TargetVersion.PY311}))
    except black.InvalidInput as error:
        return str(error).splitlines()[0]
    return "taken"


print(sys.version.split()[0], {name: version(name) for name in ("black", "libcst", "ruff")})
said = {}
for name, line in {**TAKEN, **REFUSED}.items():
    values = {"found": (), "first": (1,), "second": (2,)}
    exec(compile(line, name, "exec"), values)
    assert libcst.parse_module(line).code == line
    (path := Path(sys.argv[1]) / "line.py").write_text(line)
    ruff = subprocess.run([sys.executable, "-m", "ruff", "format", "--isolated", path], capture_output=True, text=True)
    said[name] = of_black(line)
    print(f"{name:18} python {values['found']}, libcst reads it, ruff {ruff.stdout.strip() or ruff.stderr.strip()}, black: {said[name]}")
    assert ruff.returncode == 0, ruff.stderr
assert all(said[name] == "taken" for name in TAKEN), said
assert all(said[name].startswith("cannot parse") for name in REFUSED), said
PY
"$folder/venv/bin/python" "$folder/run.py" "$folder"
