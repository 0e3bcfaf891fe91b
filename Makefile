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

# The training of model/tiny on fresh still scenes, then on clips, then what it can do. Repeat to go on after an interruption.
TINY ?= tiny-training
STILLS := $(TINY)/stills
LOOKS := $(TINY)/looks
CLIPS := $(TINY)/clips
MOTION := $(TINY)/motion
ABSENCE := $(TINY)/absence
VAL := $(TINY)/val
VAL_CLIPS := $(TINY)/val-clips

$(TINY)/data.done: $(BIN)/rvos
	rm -rf $(STILLS) $(LOOKS) $(CLIPS) $(MOTION) $(ABSENCE) $(VAL) $(VAL_CLIPS)
	$(BIN)/rvos synth --out $(STILLS) --videos 6000 --frames 1 --expressions 8
	$(BIN)/rvos synth --out $(LOOKS) --videos 3000 --frames 1 --expressions 8 --seed 3 --focus appearance
	$(BIN)/rvos synth --out $(CLIPS) --videos 2200 --frames 8:12 --expressions 5 --seed 11
	$(BIN)/rvos synth --out $(MOTION) --videos 1100 --frames 8:12 --expressions 5 --seed 12 --focus motion
	$(BIN)/rvos synth --out $(ABSENCE) --videos 500 --frames 8:12 --expressions 5 --seed 13 --focus absence
	$(BIN)/rvos synth --out $(VAL) --split val --videos 60 --frames 1 --expressions 2
	$(BIN)/rvos synth --out $(VAL_CLIPS) --split val --videos 60 --frames 8:12 --expressions 2
	@touch $@

train-tiny: $(TINY)/data.done
	$(BIN)/rvos train --config tiny-stills --workers 2 --out $(TINY)/run-stills \
	  --data $(STILLS)/manifest.parquet --annotations $(STILLS)/annotations.parquet --weight 1 \
	  --data $(LOOKS)/manifest.parquet --annotations $(LOOKS)/annotations.parquet --weight 1 \
	  --heldout $(VAL)/manifest.parquet --heldout-annotations $(VAL)/annotations.parquet
	$(BIN)/rvos train --config tiny-clips --workers 2 --out $(TINY)/run-clips --init $(TINY)/run-stills/checkpoint \
	  --data $(CLIPS)/manifest.parquet --annotations $(CLIPS)/annotations.parquet --weight 58 \
	  --data $(MOTION)/manifest.parquet --annotations $(MOTION)/annotations.parquet --weight 27 \
	  --data $(ABSENCE)/manifest.parquet --annotations $(ABSENCE)/annotations.parquet --weight 15 \
	  --heldout $(VAL_CLIPS)/manifest.parquet --heldout-annotations $(VAL_CLIPS)/annotations.parquet
	$(BIN)/python benchmarks/tiny.py --checkpoint $(TINY)/run-clips/checkpoint --out $(TINY)/scores

clean:
	rm -rf .venv demo dist build
