# Everything runs in a local virtual environment, made on first use.
PYTHON ?= python3
VENV ?= .venv
WORKERS ?= 2
BIN := $(VENV)/bin

.PHONY: try test lint format clean

try: $(VENV)/installed        ## from a spec to a loaded, proven model, on a scratch copy
	OMP_NUM_THREADS=1 $(BIN)/python examples/try.py

test: $(VENV)/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) tests

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/black --check --quiet .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports
	$(BIN)/codegen check --no-cache

format: $(VENV)/installed
	$(BIN)/ruff check --fix .
	$(BIN)/black --quiet .

clean:
	rm -rf $(VENV) .codegen nemo_automodel/components/moe/_avx512*.so

$(VENV)/installed: pyproject.toml constraints.txt $(wildcard nemo_automodel/components/moe/cpp/*)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; name one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[test]'
	@touch $@
