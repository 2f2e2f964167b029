# `make demo` and `make test` need Python 3.11 or newer, make and a package index; everything else is installed into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
OLDEST := .venv-oldest
# A worker a file, the long ones first (tests/conftest.py): fixtures of a file are made once.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -rfEs -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: demo install test coverage test-long test-extra test-oldest lint types fix bench bench-quick clean

demo: $(STAMP)
	$(BIN)/stillhouse distill

install: $(STAMP)

$(STAMP): constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.11 ..."; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "Python's venv module is missing: install the package python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep '^torch==' constraints.txt)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	@touch $(STAMP)

# Types are checked beside the tests: with an empty cache that takes minutes.
test: lint
	@$(BIN)/mypy >$(VENV)/types.txt 2>&1 & types=$$!; $(PYTEST); tests=$$?; wait $$types; types=$$?; \
	echo "types:"; cat $(VENV)/types.txt; \
	echo "left out: what takes long (make test-long), what needs a browser or a process without Stillhouse (make test-extra),"; \
	echo "          the oldest supported versions (make test-oldest), the report of coverage (make coverage)"; \
	exit $$((tests || types))

coverage: $(STAMP)
	$(PYTEST) --cov --cov-report=term:skip-covered --cov-report=json:.coverage.json
	$(BIN)/python tests/coverage_floor.py .coverage.json

# What needs nothing but time: whole runs of every family and kind of task, two processes as a user
# launches them, comparisons of two processes and after a kill.
test-long: $(STAMP)
	$(PYTEST) -m long

# Today: reports in headless Chromium (skipped where there is none); students in a process that knows no Stillhouse.
test-extra: $(STAMP)
	$(PYTEST) -m extra

# The core: data sources, models, students, objectives, every family and method at stage level, a run of every method. Old
# versions warn of things of their own, which is no error here.
test-oldest: $(OLDEST)/.installed
	OMP_NUM_THREADS=1 $(OLDEST)/bin/python -m pytest -q -rfEs -n 2 --dist loadfile -W default \
		tests/data tests/models tests/students tests/objectives tests/methods

$(OLDEST)/.installed: $(STAMP) constraints-oldest.txt
	$(PYTHON) -m venv --clear $(OLDEST)
	$(OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement constraints-oldest.txt
	@# All else, torch above all, is that of .venv, looked for after what was just installed.
	$(BIN)/python -c 'import sysconfig; print("import site; site.addsitedir(%r)" % sysconfig.get_path("purelib"))' \
		>"$$($(OLDEST)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/newest.pth"
	@touch $@

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

fix: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP)
	$(BIN)/python benchmarks/bench.py $(ARGS)

bench-quick: $(STAMP)
	$(BIN)/python benchmarks/bench.py --quick $(ARGS)

clean:
	rm -rf $(VENV) $(OLDEST) build dist .pytest_cache .mypy_cache .ruff_cache .coverage .coverage.json
