# `make demo` builds the demo; `make test` runs the tests; `make check` also runs lint, type checks and the wheel test.
# `make quick` runs the tests that start no process, on two cores, in seconds.
# `make man` writes the manual pages from the commands' help: run it after changing the help.
# `make schema` writes the JSON Schemas of answers, recipes and prov.toml: run it after changing their types.
# `make site` builds the documentation site in build/site; it fails on a warning or a broken link.
# `make floors` measures the coverage of `make quick`, and fails below a package's floor; `make coverage` measures all tests.
# `make attacks` runs the attacks that take minutes.
# `make servers` runs the tests of remotes with more kinds of servers.
# `make farm` builds on farms whose workers are killed, full or lying, fixtures/world as well, for an hour.
# `make fuzz` attacks every parser with random input (for FUZZ_SECONDS=N in total), then a store with hostile records.
# `make faults` disturbs commands at every writing call, for hours (FAULTS_POINTS=N: at N calls of each command).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

all: demo

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --disable-pip-version-check --progress-bar off --editable '.[test]'
	touch $@

demo: $(VENV)/.installed
	@cd fixtures/demo && ../../$(BIN)/prov build demo-image
	@echo; echo "What the tasks of hello changed (A added, M changed, R renamed):"
	@cd fixtures/demo && for task in unpack configure compile install package package_deb; do \
		echo "  hello:$$task"; ../../$(BIN)/prov diff hello:$$task | sed 's/^/    /'; done
	@echo; echo "To look around:"; echo "  . $(BIN)/activate; cd fixtures/demo"; echo "  prov log"; echo "  prov show hello:compile"; echo "  git --git-dir=.prov log builds"

test: $(VENV)/.installed
	tests/install-tools
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder tests

QUICK := -m pytest -n 2 --dist loadfile -p tests.quick -m "not slow" -q -r fE tests
quick: $(VENV)/.installed
	$(BIN)/python $(QUICK)

floors: $(VENV)/.installed
	$(BIN)/coverage erase
	$(BIN)/coverage run $(QUICK)
	$(BIN)/coverage combine -q
	$(BIN)/python -m tests.coverage_floors --check

coverage: $(VENV)/.installed
	tests/install-tools
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n 2 --dist loadfile tests
	$(BIN)/coverage combine -q
	$(BIN)/python -m tests.coverage_floors | tee coverage.txt

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell . .github

man: $(VENV)/.installed
	$(BIN)/python -m tests.manual
	$(BIN)/python -m tests.cli.help

schema: $(VENV)/.installed
	$(BIN)/python -m tests.schema
	$(BIN)/python -m tests.recipes.schema

# the oldest and the newest typer that pyproject.toml allows
TYPERS := ==0.26.0 <0.29
typers: $(VENV)/.installed
	for version in $(foreach version,$(TYPERS),'$(version)'); do \
		$(BIN)/pip install --disable-pip-version-check -q --upgrade --target build/typer "typer$$version" && \
		PYTHONPATH=build/typer $(BIN)/python -m pytest -q tests/cli/test_help.py || exit; \
	done

$(VENV)/.docs: $(VENV)/.installed
	$(BIN)/pip install --disable-pip-version-check --progress-bar off --editable '.[docs]'
	touch $@

site: $(VENV)/.docs
	$(BIN)/python -m tests.site build/pages
	$(BIN)/sphinx-build -q -W --keep-going -c docs build/pages build/site
	@echo "the site is build/site/index.html"

wheel: $(VENV)/.installed
	tests/install-tools
	tests/wheel-demo $(PYTHON)

check: lint wheel test

faults: $(VENV)/.installed
	$(BIN)/python -m pytest -m faults -s tests/faults

EDITS ?= 1000
edits: $(VENV)/.installed
	EDITS=$(EDITS) $(BIN)/python -m pytest -m edits -s tests/scheduler

CACHED_EDITS ?= 10000
cached: $(VENV)/.installed
	EDITS=$(CACHED_EDITS) $(BIN)/python -m pytest -m cached -s tests/wrapped

FUZZ_SECONDS ?= 1800
fuzz: $(VENV)/.installed
	FUZZ_SECONDS=$(FUZZ_SECONDS) $(BIN)/python -m pytest -m fuzz -s tests/fuzz tests/remote

servers: $(VENV)/.installed
	tests/install-tools
	$(BIN)/python -m pytest -n 2 --dist loadfile -m servers tests

farm: $(VENV)/.installed
	tests/install-tools
	$(BIN)/python -m pytest -m farm -s tests/farm

attacks: $(VENV)/.installed
	$(BIN)/python -m pytest -n 2 --dist loadfile -m attacks tests

bitbake: $(VENV)/.installed
	$(BIN)/python -m pytest -n 2 --dist loadfile tests/bitbake

bench: $(VENV)/.installed
	$(BIN)/python -m tests.bench

clean:
	rm -rf $(VENV) build dist fixtures/demo/build fixtures/demo/.prov

.PHONY: all demo test quick floors coverage lint man schema typers site wheel check faults edits cached fuzz attacks servers farm bitbake bench clean
