# make run: set-up and the main job.  make test: set-up and the tests.  Both go on where they were stopped.
PYTHON ?= python3
VENV ?= .venv
CORES ?= all
ARGS ?=
BIN = $(VENV)/bin

.PHONY: run test check clean

run: $(VENV)/.ready
	$(BIN)/snakemake --cores $(CORES) $(ARGS)

test: check
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

check: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/snakemake --lint

$(VENV)/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed; make PYTHON=python3.12 names another one")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	@echo "Installing PyTorch, Snakemake and what else pyproject.toml lists into $(VENV) (some GB, a few minutes)"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	@touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
