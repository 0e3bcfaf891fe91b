# Every target creates .venv first, with the versions of constraints.txt (Python 3.11 to 3.13); tests add their tools.
PYTHON ?= $(firstword $(foreach p,python3.11 python3.12 python3.13 python3,$(shell command -v $(p) 2>/dev/null)))
BIN := .venv/bin

.PHONY: demo test check fast clean lock train-tiny
.DEFAULT_GOAL := help

help:
	@echo "make demo        render, segment, audit and score synthetic videos with the bundled checkpoint; a minute or two"
	@echo "make check       lint, formatting and types; about a minute"
	@echo "make fast        the tests that take seconds each, as a plain pytest run"
	@echo "make test        make check, then all tests, with slow tests, chaos tests and the wheel in a clean environment"
	@echo "make train-tiny  train the bundled checkpoint again, into TINY=tiny-training; almost three hours on 2 cores"
	@echo "make lock        write the hashes of all packages of the image to requirements.lock; needs uv"
	@echo "make clean       remove .venv, demo, dist and build"

$(BIN)/rvos: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' || \
	  { echo "refervos needs Python 3.11 to 3.13; name one with: make PYTHON=python3.11 ..."; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(BIN)/.dev: $(BIN)/rvos
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $(BIN)/rvos $@

demo: $(BIN)/rvos
	$(BIN)/rvos demo --out demo

test: check fast
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "slow and not chaos and not gpu"
	$(BIN)/python -m pytest -n 2 --dist loadfile -m chaos

# Two processes, each with its own Ray session and S3 server: many tests wait for processes, retries or the disk.
fast: $(BIN)/.dev
	$(BIN)/python -m pytest -n 2 --dist loadfile

check: $(BIN)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright

lock:
	echo hatchling | uv pip compile pyproject.toml - --extra aws -c constraints.txt --generate-hashes \
	  --python-version 3.11 --python-platform linux --no-annotate --no-header --quiet -o requirements.lock

# Train model/tiny on new scenes and score it. Phases: stills; a backbone that sees motion; words for motion; clips of all
# kinds; a quality head on scenes that the rest has not seen. Repeat the command to resume.
TINY ?= tiny-training
data = --data $(TINY)/$(1)/manifest.parquet --annotations $(TINY)/$(1)/annotations.parquet
heldout = --heldout $(TINY)/$(1)/manifest.parquet --heldout-annotations $(TINY)/$(1)/annotations.parquet
clips = $(BIN)/rvos synth --out $(TINY)/$(1) --frames 8:12 --expressions 8

$(TINY)/data.done: $(BIN)/rvos
	rm -rf $(addprefix $(TINY)/,stills looks words kinds clips motion alike sizes absence quality val-stills val-clips)
	$(BIN)/rvos synth --out $(TINY)/stills --videos 8500 --frames 1 --expressions 8
	$(BIN)/rvos synth --out $(TINY)/looks --videos 4500 --frames 1 --expressions 8 --seed 3 --focus appearance
	$(call clips,words) --videos 400 --seed 16 --focus motion
	$(call clips,kinds) --videos 130 --seed 17
	$(call clips,clips) --videos 3600 --seed 11
	$(call clips,motion) --videos 1150 --seed 12 --focus motion
	$(call clips,absence) --videos 800 --seed 13 --focus absence
	$(call clips,alike) --videos 1450 --seed 14 --focus appearance
	$(call clips,sizes) --videos 1200 --seed 15 --focus size
	$(BIN)/rvos synth --out $(TINY)/quality --videos 3000 --frames 8:12 --no-target --seed 21
	$(BIN)/rvos synth --out $(TINY)/val-stills --split val --videos 60 --frames 1 --expressions 2
	$(BIN)/rvos synth --out $(TINY)/val-clips --split val --videos 60 --frames 8:12 --expressions 2
	@touch $@

$(TINY)/moving: $(TINY)/data.done
	$(BIN)/rvos train --config tiny-stills --workers 2 --out $(TINY)/run-stills \
	  $(call data,stills) --weight 1 $(call data,looks) --weight 1 $(call heldout,val-stills)
	$(BIN)/python benchmarks/tiny_motion.py --checkpoint $(TINY)/run-stills/checkpoint --out $@

train-tiny: $(TINY)/moving
	$(BIN)/rvos train --config tiny-motion --workers 2 --out $(TINY)/run-motion --init $(TINY)/moving \
	  $(call data,words) --weight 75 $(call data,kinds) --weight 25 $(call heldout,val-clips)
	$(BIN)/rvos train --config tiny-clips --workers 2 --out $(TINY)/run-clips --init $(TINY)/run-motion/checkpoint \
	  $(call data,clips) --weight 46 $(call data,motion) --weight 14 $(call data,alike) --weight 16 \
	  $(call data,sizes) --weight 14 $(call data,absence) --weight 10 $(call heldout,val-clips)
	$(BIN)/rvos train --config tiny-quality --workers 2 --out $(TINY)/run-quality \
	  --init $(TINY)/run-clips/checkpoint $(call data,quality)
	$(BIN)/python benchmarks/presence.py --checkpoint $(TINY)/run-quality/checkpoint --out $(TINY)/presence
	$(BIN)/python benchmarks/tiny.py --checkpoint $(TINY)/run-quality/checkpoint --out $(TINY)/scores

clean:
	rm -rf .venv demo dist build
