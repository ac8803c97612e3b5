# `make demo` and `make test` do all their own set-up; `make help` lists the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
TEST_INSTALLED := $(VENV)/test-installed
TRAIN_INSTALLED := $(VENV)/train-installed
NODE_INSTALLED := node_modules/installed
PRETTIER := node_modules/.bin/prettier --log-level warn
PRETTY := static/js static/css
CPU_TORCH := $(shell sed -n 's/^torch==.*/&+cpu/p' constraints.txt)
CPU_INDEX := https://download.pytorch.org/whl/cpu

# The CPU build from the configured index, or PyTorch's own
install_cpu_torch = $(1) install --quiet $(CPU_TORCH) || $(1) install --quiet $(CPU_TORCH) --index-url $(CPU_INDEX)

.PHONY: help demo test check coverage format screenshots train-demo bench gpu clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: $(INSTALLED) ## build the embedded demo's site into out/demo
	$(BIN)/python build.py run demo
	@echo "Open out/demo/site/index.html in a browser, or run: $(BIN)/python build.py serve out/demo"

test: $(TEST_INSTALLED) $(NODE_INSTALLED) browser ## lint, type-check, and run every test, those in a real browser too
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(PRETTIER) --check $(PRETTY)
	$(BIN)/mypy
	$(BIN)/python -m pytest

check: test ## the same as test: what CI runs

coverage: $(TEST_INSTALLED) ## measure how much of the package the fast tests run, in half as much time again; fails below the share in pyproject.toml
	rm -rf out/coverage && mkdir -p out/coverage
	$(BIN)/coverage run -m pytest -m "not slow and not browser"
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

format: $(TEST_INSTALLED) $(NODE_INSTALLED) ## format the code and fix what the linter can
	$(BIN)/ruff format .
	$(PRETTIER) --write $(PRETTY)
	$(BIN)/ruff check --fix .

accept-golden: $(TEST_INSTALLED) ## take the rendered four-feature site as the expected one
	$(BIN)/python -m pytest tests/golden --accept-golden

screenshots: $(TEST_INSTALLED) browser demo ## take the pictures of the README from the demo
	$(BIN)/python -m docs.screenshots out/demo/site

train-demo: $(TRAIN_INSTALLED) ## train the demo's model and autoencoder anew from packages of the registries
	$(BIN)/python -m demo.training

bench: $(TEST_INSTALLED) browser .venv-saedashboard/installed .venv-sae-vis/installed ## measure at full size beside the peers, an hour and a half; writes docs/performance.md
	$(BIN)/python -m benchmarks

gpu: $(TEST_INSTALLED) ## on a machine with a CUDA device: the GPU tests, CUDA against the CPU, the sweep's rate against a bare product
	$(BIN)/python -m pytest -m cuda tests/unit/test_cuda.py
	$(BIN)/python -m benchmarks.gpu measure

.venv-saedashboard/installed:
	$(PYTHON) -m venv $(@D)
	$(call install_cpu_torch,$(@D)/bin/pip)
	$(@D)/bin/pip install --quiet $(CPU_TORCH) sae-dashboard==0.8.0 'pyarrow<22'
	$(@D)/bin/pip uninstall --quiet --yes torchvision torchaudio # built for another torch than the CPU's
	touch $@

.venv-sae-vis/installed:
	$(PYTHON) -m venv $(@D)
	$(call install_cpu_torch,$(@D)/bin/pip)
	$(@D)/bin/pip install --quiet $(CPU_TORCH) sae-vis==0.3.7 sae-lens==5.11.0 'pyarrow<20' frozendict tabulate
	touch $@

clean: ## remove what was built, the virtual environment included
	rm -rf out node_modules $(VENV) .venv-saedashboard .venv-sae-vis

# Without an NVIDIA GPU the CPU build of torch is taken, from the configured index or PyTorch's own: the plain
# one would bring gigabytes of CUDA packages.
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	if command -v nvidia-smi >/dev/null || [ "$$(uname -s)" != Linux ]; then \
	  $(BIN)/pip install --quiet -c constraints.txt torch; \
	else \
	  $(call install_cpu_torch,$(BIN)/pip); \
	fi
	$(BIN)/pip install --quiet -c constraints.txt -e .
	touch $@

$(TEST_INSTALLED): $(INSTALLED)
	$(BIN)/pip install --quiet -c constraints.txt -e '.[test]'
	touch $@

$(TRAIN_INSTALLED): $(INSTALLED)
	$(BIN)/pip install --quiet -c constraints.txt -e '.[train]'
	touch $@

# What the site's scripts and pages are checked with, by npm's own lock file
$(NODE_INSTALLED): package.json package-lock.json | node
	npm ci --silent --no-fund --no-audit
	touch $@

.PHONY: node
node:
	@command -v node npm >/dev/null 2>&1 || sh tests/install_packages.sh nodejs npm

.PHONY: browser
browser:
	@command -v chromium-headless-shell chromium google-chrome >/dev/null 2>&1 || sh tests/install_packages.sh chromium-headless-shell
