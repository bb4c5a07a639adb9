# Everything runs in a local virtual environment, made on first use.
PYTHON ?= python3
VENV ?= .venv
WORKERS ?= 2
BIN := $(VENV)/bin
# The oldest transformers of the range, and a family of each kind: dense, window, chunk, ALiBi, mixture, latent, sinks, longrope.
FLOOR := 5.17.0
KINDS := llama mistral llama4_text baichuan mixtral deepseek_v2 gpt_oss phi3
TRANSFORMERS ?= 5.24.0
# Its import costs every process a second, so it is not in the environment of all tests.
BITSANDBYTES := $(shell grep ^bitsandbytes== constraints.txt)
# The release that PyTorch for cards brings; 700 MB on the disk.
TRITON := $(shell grep ^triton== constraints.txt)

.PHONY: try test full floor qlora triton release lint format docs docs-serve clean

try: $(VENV)/installed        ## from a spec to a loaded, proven model, on a scratch copy
	OMP_NUM_THREADS=1 $(BIN)/python examples/try.py

test: $(VENV)/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) tests

full: $(VENV)/installed       ## the whole contract of every family, on all of its configs
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "" -n $(WORKERS) tests

floor: $(VENV)/installed      ## the contract of a family of each kind, with the oldest transformers
	OMP_NUM_THREADS=1 VENV=$(VENV) .ci/at $(FLOOR) \
		python -m pytest -m "" -n $(WORKERS) tests/common/test_releases.py $(KINDS:%=tests/unit_tests/models/%)

qlora: $(VENV)/installed      ## adapters over weights of four bits, beside bitsandbytes
	OMP_NUM_THREADS=1 VENV=$(VENV) .ci/beside $(BITSANDBYTES) python -m pytest -n 0 tests/recipes/qlora

triton: $(VENV)/installed     ## our kernels, under Triton's interpreter on a CPU
	OMP_NUM_THREADS=1 TRITON_INTERPRET=1 VENV=$(VENV) .ci/beside $(TRITON) \
		python -m pytest -n $(WORKERS) tests/kernels

release: $(VENV)/installed    ## parity and contract of all families: make release TRANSFORMERS=5.22.0
	OMP_NUM_THREADS=1 VENV=$(VENV) WORKERS=$(WORKERS) .ci/release $(TRANSFORMERS)

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/black --check --quiet .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports
	$(BIN)/codegen check --no-cache

format: $(VENV)/installed
	$(BIN)/ruff check --fix .
	$(BIN)/black --quiet .

docs: $(VENV)/installed       ## the documentation site, strictly: build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

docs-serve: $(VENV)/installed ## the same while you write, at http://localhost:8000
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve --livereload

clean:
	rm -rf $(VENV) $(VENV)-* .codegen build library/build layers/build nemo_automodel/components/models/common/_simd_*.so

$(VENV)/installed: pyproject.toml setup.py $(wildcard library/*.*) constraints.txt $(wildcard nemo_automodel/components/models/common/cpp/*)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; name one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[test,docs]' -e './library[testing]'
	$(BIN)/python -m compileall -q codegen nemo_automodel
	@touch $@
