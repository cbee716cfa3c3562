# Two commands do all the set-up: `make score` and `make test`.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
  $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$p && break; done || \
  echo python3)
VENV ?= .venv
BIN := $(VENV)/bin
PIP := PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip install --quiet
# Its bound on orbax-checkpoint does not resolve beside the extra `train`, and exports use nothing of that library.
JAX2ONNX := $(shell grep -o 'jax2onnx>=[^"]*' pyproject.toml)
NPM := $(shell command -v npm)

.PHONY: score test notebook lint type docs docs-serve web install clean

score: $(VENV)/.score ## score the sample photographs; with another model: make score MODEL=path-or-name
	$(BIN)/liqe score samples $(if $(strip $(MODEL)),--model '$(MODEL)')

test: $(VENV)/.test ## run the tests; those of the page in the browser need npm and its registry
	$(if $(NPM),-$(MAKE) web)
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder -m 'not goldens'
	JAX_DISABLE_MOST_OPTIMIZATIONS=0 $(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder \
	  -m goldens $$(grep -l goldens tests/test_*.py) # compiled as users do

notebook: $(VENV)/.test ## execute the notebook, outputs in place
	$(BIN)/python tools/notebook.py notebooks/liqe_colab.ipynb

web: web/dist/build.js ## build the page that scores in the browser, into web/dist; needs npm

web/dist/build.js: tools/web.py $(wildcard web/*.*) $(wildcard liqe_jax/assets/liqe_nano/* liqe_jax/exports/*.py) | $(VENV)/.test
	JAX_PLATFORMS=cpu $(BIN)/python tools/web.py web/dist

lint: $(VENV)/.dev ## check style
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

type: $(VENV)/.dev ## check types
	$(BIN)/mypy

docs: $(VENV)/.dev ## build the documentation into site/; warnings are errors
	rm -rf site
	JAX_PLATFORMS=cpu $(BIN)/sphinx-build --quiet --fail-on-warning --keep-going -d build/doctrees docs site
	if [ -d web/dist ]; then cp -R web/dist site/web; fi
	$(BIN)/python tools/check_site.py site

docs-serve: docs ## build it and show it at http://localhost:8000
	$(BIN)/python -m http.server 8000 --bind localhost --directory site

install: $(VENV)/.dev ## everything a contributor needs

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
	  { echo "liqe_jax needs Python 3.11 to 3.13; name one: make ... PYTHON=python3.12" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; } # half an environment would be taken for a whole one

$(VENV)/.score: pyproject.toml | $(BIN)/python
	$(PIP) --editable .
	@touch $@

$(VENV)/.test: pyproject.toml | $(BIN)/python
	$(PIP) --editable '.[test]'
	$(PIP) --no-deps '$(JAX2ONNX)'
	@touch $@ $(VENV)/.score

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	$(PIP) --editable '.[dev]'
	$(PIP) --no-deps '$(JAX2ONNX)'
	@touch $@ $(VENV)/.test $(VENV)/.score

clean: ## remove the virtual environment and caches
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache build site web/dist
