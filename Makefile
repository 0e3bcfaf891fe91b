# make demo, make test and make check each set up their own .venv first (Python 3.11 or newer).
PYTHON ?= $(firstword $(foreach p,python3.11 python3.12 python3.13 python3,$(shell command -v $(p) 2>/dev/null)))
BIN := .venv/bin

.PHONY: demo test check fast clean
.DEFAULT_GOAL := help

help:
	@echo "make demo    segment and score two small synthetic videos"
	@echo "make test    make check, then all tests: the slow ones, the chaos tests and the wheel in a clean environment too"
	@echo "make fast    the tests of a plain pytest run"
	@echo "make check   ruff, format and types"

$(BIN)/rvos: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' || \
	  { echo "refervos needs Python 3.11 to 3.13; name one with: make PYTHON=python3.11 ..."; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(BIN)/rvos
	$(BIN)/rvos demo --out demo

test: check
	$(BIN)/python -m pytest -m ""

fast: $(BIN)/rvos
	$(BIN)/python -m pytest

check: $(BIN)/rvos
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright

clean:
	rm -rf .venv demo dist build
