# A fresh machine needs only Python 3.11 or later and make: every target sets up what it uses.
PYTHON ?= python3
CHAOS  ?= --seconds 300
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

# The oldest redis-py that pyproject.toml allows stands before the newest one, for these tests. They
# need one server: what a client does with it is no matter of its make.
OLDEST_REDIS := 5.0.1
OLDEST       := $(VENV)/redis-$(OLDEST_REDIS)
TOUCH_REDIS  := tests/unit/test_connection.py tests/integration/test_connection.py \
	$(wildcard tests/integration/test_cl*.py) tests/integration/test_leases.py \
	tests/acceptance/test_cluster.py tests/acceptance/test_sentinel.py
# What the next release of these breaks is known before `make lock` takes it up.
NEWEST       := $(VENV)/newest
TOUCH_NEWEST := tests/unit/test_connection.py tests/unit/test_kit.py tests/integration/test_kit_servers.py
PEERS  := .venv-peers/.ready
DOCS   := $(VENV)/.docs-ready
NODE   := tests/node/node_modules/.package-lock.json

# The tests start the command hundreds of times: it is compiled once, also where a machine is set
# up to write no bytecode.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: run test screenshots docs newest bench chaos hostile acceptance lock clean

run: $(READY)  ## the demo: an embedded server, the worker, sample producers, a live view
	$(BIN)/status-tracker demo

test: $(READY) $(OLDEST) $(NODE)  ## lint, strict types and every test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/pytest -n 6 --dist worksteal  # most of their time they wait for processes: also right for two cores
	TEST_VALKEY_ONLY=1 PYTHONPATH=$(CURDIR)/$(OLDEST) $(BIN)/pytest -n 6 --dist worksteal -q $(TOUCH_REDIS)

acceptance: $(READY)  ## the tests of processes, as the users of config/users.acl and over TLS
	SECURED=1 $(BIN)/pytest -n 3 tests/acceptance

screenshots: $(READY)  ## the pages of the demo, in build/screenshots, and how fast they are painted
	$(BIN)/python -m tests.browser.screenshots

newest: $(READY)  ## the tests that touch redis-py and fakeredis, with their newest releases
	rm -rf $(NEWEST)
	$(BIN)/pip install --quiet --disable-pip-version-check --target $(NEWEST) 'fakeredis[lua]' redis
	PYTHONPATH=$(CURDIR)/$(NEWEST) $(BIN)/pytest -n 3 -q $(TOUCH_NEWEST)

docs: $(DOCS)  ## the documentation as a site, in build/docs; a warning is an error
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs build/docs

bench: $(READY) $(PEERS)  ## the tracker beside what does the same work, and beside its alternatives
	$(BIN)/python -m tests.bench

chaos: $(READY)  ## faults at random on real processes, every effect compared with the model, for 5 minutes
	$(BIN)/python -m tests.chaos $(CHAOS)

hostile: $(READY)  ## hostile producers beside honest ones for 10 minutes: how long honest updates take
	$(BIN)/python -m tests.chaos.hostile

lock: $(READY)  ## pin the newest versions that pyproject.toml allows
	$(BIN)/pip-compile --quiet --upgrade --all-extras --strip-extras --no-emit-index-url --no-emit-find-links \
		--no-header --output-file constraints.txt pyproject.toml

clean:  ## the virtual environment and what the tools cached; never .status-tracker/, which is data
	rm -rf $(VENV) .venv-peers build tests/node/node_modules .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(OLDEST): $(READY)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --target $@ redis==$(OLDEST_REDIS)
	touch $@

# With an older one, pip would end in ResolutionImpossible.
NEW_ENOUGH = $(shell $(PYTHON) -c 'import sys; print(sys.version_info >= (3, 11))' 2>/dev/null)
TOO_OLD    = Python 3.11 or later is needed, but $(PYTHON) is: $(shell $(PYTHON) --version 2>&1 || true). \
	Name another one, as in: make run PYTHON=python3.12

$(READY): pyproject.toml constraints.txt
	$(if $(filter True,$(NEW_ENOUGH)),,$(error $(TOO_OLD)))
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[embedded,testing,dev]'
	touch $@

# What only the site needs.
$(DOCS): $(READY)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
	touch $@

# Without npm, or without a network, the tests that need it say that they are skipped.
$(NODE): tests/node/package-lock.json
	if command -v npm >/dev/null; then npm ci --silent --no-fund --no-audit --prefix tests/node || true; fi

# Only the benchmarks need these; where there is no network, they go on without.
$(PEERS): tests/bench/peers.txt
	-$(PYTHON) -m venv --clear .venv-peers && \
		.venv-peers/bin/pip install --quiet --disable-pip-version-check --requirement $< && touch $@
