# A fresh machine needs only Python 3.11 or later and make: every target sets up what it uses.
PYTHON ?= python3
CHAOS  ?= --seconds 300
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.PHONY: run test bench chaos lock clean

run: $(READY)  ## the demo: an embedded server, the worker, sample producers, a live view
	$(BIN)/status-tracker demo

test: $(READY)  ## lint, strict types and every test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/pytest -n 3  # most of their time they wait for processes: also right for two cores

bench: $(READY)  ## every figure the tracker is held to, beside what else one could do
	$(BIN)/python -m tests.bench
	$(BIN)/python -m tests.bench.compare
	if [ -e .venv-peers/installed.txt ]; then .venv-peers/bin/python -I tests/bench/picture.py; fi
	$(BIN)/python -m tests.bench.readme

chaos: $(READY)  ## faults at random on real processes, every effect compared with the model, for 5 minutes
	$(BIN)/python -m tests.chaos $(CHAOS)

lock: $(READY)  ## pin the newest versions that pyproject.toml allows
	$(BIN)/pip-compile --quiet --upgrade --all-extras --strip-extras --no-emit-index-url \
		--no-header --output-file constraints.txt pyproject.toml

clean:  ## the virtual environment and what the tools cached; never .status-tracker/, which is data
	rm -rf $(VENV) .venv-peers .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[embedded,dev]'
	touch $@
