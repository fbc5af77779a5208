# make demo and make test are all a newcomer needs; each line below also works typed by hand (see README).
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
OLDEST := .venv-oldest
CORE := tests/numerics tests/vectors tests/sparsify/test_chain.py tests/merging/test_engine.py \
  tests/storage/test_checkpoint.py tests/results/test_index.py tests/results/test_table.py tests/app/test_config.py
LOCK := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-emit-index-url \
  --custom-compile-command "make lock"
LOCK_OLDEST := uv pip compile --quiet --python-version 3.11 --python-platform x86_64-unknown-linux-gnu --generate-hashes \
  --no-annotate --no-emit-index-url --resolution lowest-direct

.PHONY: fuzz help demo results test oldest slow launchers lint types audit bill docs lock
help:  ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/'

$(VENV)/.installed: pyproject.toml requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --require-hashes -r requirements.lock
	$(RUN) -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

# --no-deps: the lock names them all, and pip would refuse what [tool.uv] in pyproject.toml settles.
$(VENV)/.launchers: $(VENV)/.installed requirements-launchers.lock
	$(RUN) -m pip install --quiet --require-hashes --no-deps -r requirements-launchers.lock
	@touch $@

$(VENV)/.docs: $(VENV)/.installed requirements-docs.lock
	$(RUN) -m pip install --quiet --require-hashes --no-deps -r requirements-docs.lock
	@touch $@

$(VENV)/.audit: $(VENV)/.installed requirements-audit.lock
	$(RUN) -m pip install --quiet --require-hashes --no-deps -r requirements-audit.lock
	@touch $@

# What requirements-oldest.lock does not name, torch before all, comes from the environment of requirements.lock.
$(OLDEST)/.installed: $(VENV)/.installed requirements-oldest.lock
	$(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip install --quiet --require-hashes --no-deps -r requirements-oldest.lock
	$(RUN) -c 'import site; print("import site; site.addsitedir(%r)" % site.getsitepackages()[0])' \
	  > $$($(OLDEST)/bin/python -c 'import site; print(site.getsitepackages()[0])')/newer.pth
	@touch $@

demo: $(VENV)/.installed  ## the main job: five methods, each plain, with TADrop and with its control, on eight tasks
	$(RUN) run.py +board=demo

results: $(VENV)/.installed  ## for maintainers: every table, figure and page of results/ anew from its records
	$(RUN) -m tadrop results
	$(RUN) -m docs.generate.readme

test: $(VENV)/.installed  ## the test suite
	$(RUN) -m pytest

# Without the plugins and options of newer test tools, which these versions do not have.
oldest: $(OLDEST)/.installed  ## quick tests of the core with the oldest versions that pyproject.toml allows (Python 3.11; torch as it is)
	$(OLDEST)/bin/python -m pytest -p no:anyio -o addopts=-q -m 'not slow and not gpu' -n auto --dist loadfile $(CORE)

slow: $(VENV)/.installed  ## the tests that take minutes, one at a time
	$(RUN) -m pytest -m 'slow and not gpu' -n 0 --timeout=1200

fuzz: $(VENV)/.installed  ## damaged and hostile checkpoints at random, 20,000 of each kind (about an hour)
	TADROP_FUZZ=$(or $(FUZZ),20000) $(RUN) -m pytest -n 0 --timeout=0 tests/storage/torch_files/test_fuzz.py

launchers: $(VENV)/.launchers  ## joblib, Ray, Slurm, Optuna and the trackers, tested with the extras installed
	$(RUN) -m pytest -m 'not gpu' -n 0 -rs tests/app/test_launchers.py tests/app/test_tune.py tests/app/test_trackers.py

lint: $(VENV)/.installed  ## ruff, as CI runs it
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

types: $(VENV)/.installed  ## the type checker, as CI runs it
	$(RUN) -m pyright

audit: $(VENV)/.audit  ## whether an advisory names a locked version; needs the network
	@$(RUN) -m experiments.supply.audit

bill: $(VENV)/.audit  ## the bill of materials of requirements.lock, CycloneDX: build/bom.json
	@mkdir -p build
	$(RUN) -m cyclonedx_py requirements --output-reproducible --short-PURLs --pyproject pyproject.toml -o build/bom.json requirements.lock

docs: $(VENV)/.docs  ## the pages of docs/ as a site in build/site; every warning is an error
	$(RUN) -m docs.generate.readme --check
	NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --quiet --strict
	$(RUN) -m pytest -n 0 -m site tests/docs
	@echo "the pages are in build/site; to read them with their search: $(RUN) -m http.server -d build/site"

lock:  ## write the locks anew from pyproject.toml (needs uv)
	printf 'setuptools>=77\n' | $(LOCK) --extra test -o requirements.lock pyproject.toml -
	$(PYTHON) -c 'import tomllib; extras = tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]; \
	  print(*(line for name in "joblib slurm ray optuna mlflow tensorboard trackio".split() for line in extras[name]), sep="\n")' | \
	  $(LOCK) --constraint requirements.lock -o requirements-launchers.lock -
	$(PYTHON) -c 'import tomllib; extras = tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]; \
	  print(*extras["docs"], sep="\n")' | $(LOCK) --constraint requirements.lock -o requirements-docs.lock -
	$(PYTHON) -c 'import tomllib; extras = tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]; \
	  print(*extras["audit"], sep="\n")' | $(LOCK) --constraint requirements.lock -o requirements-audit.lock -
	@mkdir -p build
	{ grep -Eo '^torch(vision)?==[^ ]+' requirements.lock; echo 'datasets<4.1'; } > build/oldest.txt  # fsspec's newest would need newer ones
	$(LOCK_OLDEST) --constraint build/oldest.txt pyproject.toml | $(PYTHON) -m experiments.supply.oldest > requirements-oldest.lock
