# Everything here works inside .venv and leaves the rest of the machine alone. `make help` lists the targets.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --require-hashes
ARGS   ?=

# What `make lint` runs. Each also is a hook of .pre-commit-config.yaml.
LINTS  := lint-format lint-style lint-types lint-layers lint-words lint-docs
# Where typing errors are looked for, and where the words of tools/words/glossary.txt must not occur.
PROSE  := daemon docs config examples helm README.md CHANGELOG.md CONTRIBUTING.md SECURITY.md .github
TYPOS  := $(PROSE) tests tools bench

# The user chooses the package index (PIP_INDEX_URL, PIP_CERT, pip.conf …), but not the versions or the target folder.
export PIP_USER := 0
export PIP_DISABLE_PIP_VERSION_CHECK := 1
unexport PIP_TARGET PIP_PREFIX PIP_ROOT PIP_CONSTRAINT PIP_BUILD_CONSTRAINT PIP_REQUIREMENT PIP_EDITABLE PIP_DRY_RUN
unexport PIP_REQUIRE_HASHES PIP_NO_DEPS PIP_PRE PIP_NO_BINARY PIP_UPGRADE PIP_IGNORE_INSTALLED PIP_PYTHON
unexport PYTHONHOME PYTHONPATH VIRTUAL_ENV

.PHONY: help install demo observe pictures pictures-page test test-full fuzz soak lint $(LINTS) developed docs docs-build docs-serve bench lock release-check clean
.DEFAULT_GOAL := help

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

install: $(VENV)/.installed ## install streamcanary into .venv

demo: install ## run a simulated outage: a canary fails, an alert fires and resolves
	$(BIN)/streamcanary demo $(ARGS)

test: $(VENV)/.developed ## run the tests; ARGS goes to pytest
	@echo "Looking for the programs that tests run; the first time they are built, which takes some minutes." >&2
	@$(BIN)/python tools/fetch.py
	$(BIN)/pytest $(FULL:%=--ignore=%) $(ARGS)

# The tests with servers that take long to build, or scenarios that take minutes.
FULL = tests/durability tests/upstreams tests/backends tests/browser tests/kubernetes tests/image

test-full: $(VENV)/.developed ## run the tests with real proxies, inference servers, databases, Prometheus, Jaeger, a browser and a Kubernetes API; ARGS goes to pytest
	@echo "Looking for the servers that tests run; the first time they are installed and compiled: up to three quarters of an hour." >&2
	@$(BIN)/python tools/fetch.py otelcol prometheus jaeger chromium litellm llama alertmanager promtool helm etcd kube-apiserver kubectl postgresql
	$(BIN)/pytest -n 0 -o timeout=300 $(ARGS) $(FULL)

observe: $(VENV)/.developed ## run a daemon in an outage beside a Collector, Prometheus, Jaeger, and Grafana if it is on PATH
	@$(BIN)/python -m tools.observe $(ARGS)

pictures: $(VENV)/.developed pictures-page ## draw the status page, notifications, and the dashboards after a minute of observe, into docs/images
	@$(BIN)/python -m tools.docs.notifications.pictures
	@$(BIN)/python -m tools.observe --for 75 --pictures docs/images/dashboards $(ARGS)

pictures-page: $(VENV)/.developed ## draw the status page in a scenario of an outage into docs/images/status-page
	@$(BIN)/python tools/fetch.py chromium
	@PYTHONPATH=tests $(BIN)/python -m support.browser.pictures docs/images/status-page

fuzz: $(VENV)/.developed ## test properties of client, alerting and store with over 100,000 cases; ten minutes on two cores
	HYPOTHESIS_PROFILE=fuzz $(BIN)/pytest -o timeout=1200 $(ARGS) tests/client/core/test_core_fuzz*.py tests/client/drivers/test_drivers_fuzz.py tests/alerting/engine/test_engine_stateful.py tests/store/sqlite/test_store_damaged_files.py

soak: $(VENV)/.developed ## simulate a day of 100,000 canaries over 50 replicas that crash, and run a daemon for a day's worth of runs, in half an hour; ARGS=--help
	@PYTHONPATH=tests $(BIN)/python -m support.soak $(ARGS)

lint: $(VENV)/.developed ## run every lint-* target below
	@$(MAKE) --no-print-directory $(LINTS)

lint-format: developed ## check the format of the code
	$(BIN)/ruff format --check

lint-style: developed ## check the rules of ruff
	$(BIN)/ruff check

lint-types: developed ## check the types of the package, the tools and the tests
	$(BIN)/mypy
	$(BIN)/mypy examples tools bench
	$(BIN)/mypy --config-file tests/mypy.ini tests

lint-layers: developed ## check that imports point from upper layers to lower ones
	$(BIN)/lint-imports

lint-words: developed ## check spelling, and that no word of tools/words/glossary.txt is used
	$(BIN)/codespell --config tools/words/typos.cfg $(TYPOS)
	$(BIN)/codespell --config tools/words/glossary.cfg $(PROSE)

lint-docs: developed ## check that the generated documentation is up to date, and that the site builds
	$(BIN)/python -m tools.docs --check
	@$(MAKE) --no-print-directory docs-build

# The lint-* targets install nothing, so that a commit hook needs no network.
developed:
	@test -e $(VENV)/.developed || { echo "The tools are not installed: run \`make lint\` once." >&2; exit 1; }

docs: $(VENV)/.developed ## write the pages and tables of docs/ that are generated from the code
	$(BIN)/python -m tools.docs

docs-build: developed ## build the documentation site into site/; a broken link is an error
	$(BIN)/zensical build --strict --clean

docs-serve: $(VENV)/.developed ## serve the documentation site on http://localhost:8000, rebuilt at each change
	$(BIN)/zensical serve

bench: install ## measure CPU, memory and latency of the daemon and the client
	$(BIN)/python -m bench $(ARGS)

LOCK = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-emit-find-links --custom-compile-command "make lock" $(ARGS)

lock: $(VENV)/.developed ## pin the dependencies; ARGS="--upgrade" takes the newest, ARGS="--upgrade-package X" one
	$(LOCK) pyproject.toml --extra azure --extra mcp --extra postgres --output-file requirements.lock
	$(LOCK) pyproject.toml --extra azure --extra mcp --extra postgres --group dev --constraints requirements.lock --output-file requirements-dev.lock
	$(LOCK) --group build --constraints requirements-dev.lock --output-file requirements-build.lock
	$(LOCK) tools/upstreams/litellm.in --output-file tools/upstreams/litellm.lock
	$(LOCK) tools/upstreams/llama.in --output-file tools/upstreams/llama.lock

release-check: $(VENV)/.developed ## build a release and test it; ARGS=--keep-going even if it is not ready
	$(BIN)/python -m tools.release $(ARGS)

clean: ## remove .venv and everything that tools leave behind
	rm -rf $(VENV) build dist site .cache .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The files below are stamps that record what is installed in .venv.

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "streamcanary needs Python 3.11 or newer; say which with: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
		echo "This Python cannot make a virtual environment: its package python3-venv is missing." >&2; \
		test "$$(id -u)" = 0 && command -v apt-get >/dev/null || \
			{ echo "Install it with: sudo apt-get install python3-venv" >&2; exit 1; }; \
		echo "Installing it with apt-get." >&2; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y python3-venv; }
	@echo "Creating the virtual environment $(VENV)." >&2
	@$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(VENV)/.installed: $(VENV)/.made requirements.lock requirements-build.lock pyproject.toml
	@echo "Installing the dependencies into $(VENV), about 40 seconds." >&2
	@$(PIP) -r requirements.lock -r requirements-build.lock
	@$(MAKE) --no-print-directory $(VENV)/.package
	@touch $@

$(VENV)/.developed: $(VENV)/.made requirements-dev.lock pyproject.toml
	@echo "Installing the dependencies and the development tools into $(VENV), one to two minutes." >&2
	@$(PIP) -r requirements-dev.lock
	@$(MAKE) --no-print-directory $(VENV)/.package
	@touch $(VENV)/.installed $@

$(VENV)/.package: pyproject.toml
	@echo "Installing streamcanary into $(VENV)." >&2
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --no-index --editable .
	@touch $@
