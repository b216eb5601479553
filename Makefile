# Errata's commands for people: `make help` lists them. Needs Python 3.11 or newer, make and pip.

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
# Test processes side by side; 0 runs all tests in one, as a debugger needs it.
JOBS ?= 2
# Where torch's wheel comes from: a package index's address, or empty to choose (see CONTRIBUTING.md).
TORCH_INDEX ?=

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq
LOCK := requirements/lock.txt
TORCH := $(shell grep '^torch==' $(LOCK))
CPU_INDEX := https://download.pytorch.org/whl/cpu

.DEFAULT_GOAL := help
.PHONY: help demo test check setup browser postgresql prometheus clean

help:  ## list these commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo 'Options: ARGS="..." (for the demo, or for pytest), JOBS=4 (test processes), PYTHON=python3.12, TORCH_INDEX=URL'

demo: setup  ## serve the embedded model, correct it, train on the corrections, show before and after
	@$(BIN)/errata demo $(ARGS)

test: check browser postgresql prometheus  ## everything CI runs: setup, check and the tests
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

check: setup  ## lint, format, types and the direction of imports
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@cd clients/python && $(abspath $(BIN))/mypy
	@$(BIN)/lint-imports --no-logo

setup: $(VENV)/.installed  ## install the tested versions into .venv (once)

browser:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || { $(install_chromium); }

postgresql:
	@command -v initdb >/dev/null || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || { $(install_postgresql); }

prometheus: setup
	@command -v promtool >/dev/null || test -x $(VENV)/prometheus/usr/bin/promtool || { $(unpack_prometheus); }

docs: setup  ## build the documentation as a site into build/docs
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "build/docs/index.html"

clean:  ## remove .venv and what the tools cached
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache clients/python/.mypy_cache

$(VENV)/.installed: $(LOCK) pyproject.toml clients/python/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Errata needs Python 3.11 or newer, and '$(PYTHON)' is not; name another one: make PYTHON=python3.12 ..." >&2; \
	  exit 1; }
	@echo "setup 1/4: creating $(VENV)"
	@$(PYTHON) -m venv $(VENV) || { \
	  echo "'$(PYTHON) -m venv' failed; on Debian and Ubuntu it needs the package python3-venv" >&2; exit 1; }
	@echo "setup 2/4: installing $(TORCH)"
	@$(install_torch)
	@echo "setup 3/4: installing the other tested versions (takes a minute or two)"
	@$(PIP) install -r $(LOCK)
	@echo "setup 4/4: linking errata-server and its Python client"
	@$(PIP) install --no-deps --no-build-isolation -e . -e clients/python
	@$(PIP) check || { echo "$(LOCK) does not fit pyproject.toml; see CONTRIBUTING.md, 'Dependencies'" >&2; exit 1; }
	@touch $@

# Linux wheels of torch bring gigabytes of CUDA by default. Without an NVIDIA driver the CPU build is tried first, unless
# its index cannot be reached within seconds; its dependencies are in the lock file, so it is asked for nothing else.
define install_torch
index='$(TORCH_INDEX)'; \
if [ -z "$$index" ] && [ "$$(uname -s)" = Linux ] && ! command -v nvidia-smi >/dev/null \
  && timeout 10 $(PYTHON) -c 'import sys, urllib.request as r; r.urlopen(sys.argv[1], timeout=5)' $(CPU_INDEX)/torch/ 2>/dev/null; \
then $(PIP) install --no-deps --index-url $(CPU_INDEX) $(TORCH) 2>/dev/null && exit 0; fi; \
if [ -n "$$index" ]; then $(PIP) install --no-deps --index-url "$$index" $(TORCH); else $(PIP) install --no-deps $(TORCH); fi
endef

# The page's tests drive a real browser; without one they are skipped, so nothing here may fail. Debian alone has
# Chromium as a package that runs in a container; Ubuntu's is a snap.
define install_chromium
packages='chromium fonts-liberation'; \
install() { DEBIAN_FRONTEND=noninteractive timeout 300 apt-get install -qq -y --no-install-recommends $$packages; }; \
if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && grep -qs '^ID=debian' /etc/os-release; then \
  echo "installing $$packages for the page's tests"; \
  { install || { apt-get update -qq && install; }; } >/dev/null 2>&1 </dev/null && exit 0; \
fi; \
echo "Chromium is not here and could not be installed, so the page's tests are skipped; on Debian, as root:" >&2; \
echo "  apt-get install --no-install-recommends $$packages" >&2
endef

# The store's tests start a server of their own, as another user than root. Debian's package would make a cluster for the
# machine when it is installed, which nobody asked for. Without it those tests are skipped, so nothing here may fail.
define install_postgresql
install() { DEBIAN_FRONTEND=noninteractive timeout 300 apt-get install -qq -y --no-install-recommends postgresql; }; \
if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && grep -qsE '^ID(_LIKE)?=.*(debian|ubuntu)' /etc/os-release; then \
  echo "installing postgresql for the store's tests"; \
  none=/etc/postgresql-common/createcluster.d/errata.conf; \
  mkdir -p $$(dirname $$none) && echo 'create_main_cluster = false' > $$none; \
  { install || { apt-get update -qq && install; }; } >/dev/null 2>&1 </dev/null; is_done=$$?; \
  rm -f $$none; [ $$is_done = 0 ] && exit 0; \
fi; \
echo "PostgreSQL is not here and could not be installed, so the store's tests on it are skipped; on Debian, as root:" >&2; \
echo "  apt-get install --no-install-recommends postgresql" >&2
endef

# Debian's package, unpacked and not installed: that would start a service. Without it the tests of alerts and board are
# skipped, so nothing here may fail.
define unpack_prometheus
if command -v apt-get >/dev/null && command -v dpkg >/dev/null; then \
  echo "unpacking prometheus for the tests of the alerts and the board"; \
  mkdir -p $(VENV)/prometheus && cd $(VENV)/prometheus; \
  download() { timeout 300 apt-get download -qq prometheus; }; \
  { download || { [ "$$(id -u)" = 0 ] && apt-get update -qq && download; }; } >/dev/null 2>&1 </dev/null \
    && dpkg -x prometheus_*.deb . && rm prometheus_*.deb && exit 0; \
fi; \
echo "Prometheus is not here and could not be fetched, so the tests of the alerts and the board are skipped" >&2
endef
