# make demo, make test and make check each set up their own .venv first (Python 3.11 or newer).
PYTHON ?= $(firstword $(foreach p,python3.11 python3.12 python3.13 python3,$(shell command -v $(p) 2>/dev/null)))
BIN := .venv/bin

.PHONY: demo test check fast clean train-tiny
.DEFAULT_GOAL := help

help:
	@echo "make demo    segment, audit and score synthetic videos with the checkpoint in the box"
	@echo "make test    make check, then all tests: the slow ones, the chaos tests and the wheel in a clean environment too"
	@echo "make fast    the tests of a plain pytest run"
	@echo "make check   ruff, format and types"
	@echo "make train-tiny  train the checkpoint in the box again, into TINY=tiny-training: hours on 2 cores"

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

# The training of model/tiny on fresh still scenes, then what it can do. Repeat to go on after an interruption.
TINY ?= tiny-training
STILLS := $(TINY)/stills
LOOKS := $(TINY)/looks
VAL := $(TINY)/val

$(TINY)/data.done: $(BIN)/rvos
	rm -rf $(STILLS) $(LOOKS) $(VAL)
	$(BIN)/rvos synth --out $(STILLS) --videos 6000 --frames 1 --expressions 8
	$(BIN)/rvos synth --out $(LOOKS) --videos 3000 --frames 1 --expressions 8 --seed 3 --focus appearance
	$(BIN)/rvos synth --out $(VAL) --split val --videos 60 --frames 1 --expressions 2
	@touch $@

train-tiny: $(TINY)/data.done
	$(BIN)/rvos train --config tiny-stills --workers 2 --out $(TINY)/run-stills \
	  --data $(STILLS)/manifest.parquet --annotations $(STILLS)/annotations.parquet --weight 1 \
	  --data $(LOOKS)/manifest.parquet --annotations $(LOOKS)/annotations.parquet --weight 1 \
	  --heldout $(VAL)/manifest.parquet --heldout-annotations $(VAL)/annotations.parquet
	$(BIN)/python benchmarks/tiny.py --checkpoint $(TINY)/run-stills/checkpoint --out $(TINY)/scores

clean:
	rm -rf .venv demo dist build
