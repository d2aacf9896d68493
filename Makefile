# The two commands of the README are `make demo` and `make test`; the rest is what they are made of.
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3
# The package takes any torch since 2.9; it is tested with these.
TORCH ?= torch>=2.9,<2.14

.PHONY: install demo test check slow clean

install: $(VENV)/installed

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet "$(TORCH)" --editable ".[dev]"
	touch $@

demo: install
	$(BIN)/autocompress search --out runs/demo --budget 2m
	$(BIN)/autocompress front runs/demo
	$(BIN)/autocompress report runs/demo
	$(BIN)/autocompress pick runs/demo --max-drop 1pp --out runs/demo-bundle

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Two processes, one file of tests each at a time; then those that time something, alone.
test: install check
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow and not gpu and not serial"
	$(BIN)/python -m pytest -m "serial and not slow and not gpu"

slow: install
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "slow and not serial and not gpu"
	$(BIN)/python -m pytest -m "slow and serial and not gpu"

clean:
	rm -rf $(VENV) runs
