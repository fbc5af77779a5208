# make demo and make test are all a newcomer needs; each line below also works typed by hand (see README).
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python

.PHONY: help demo test slow lint lock
help:  ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/'

$(VENV)/.installed: pyproject.toml requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --require-hashes -r requirements.lock
	$(RUN) -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

demo: $(VENV)/.installed  ## the main job: five methods, each plain, with TADrop and with its control, on eight tasks
	$(RUN) run.py +experiment=demo paths.records=demo/records paths.results=demo

test: $(VENV)/.installed  ## the test suite
	$(RUN) -m pytest

slow: $(VENV)/.installed  ## the tests that take minutes, one at a time
	$(RUN) -m pytest -m 'slow and not gpu' -n 0

lint: $(VENV)/.installed  ## ruff, as CI runs it
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

lock:  ## write requirements.lock anew from pyproject.toml (needs uv)
	printf 'setuptools>=77\n' | uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
	  --no-emit-index-url --extra test --custom-compile-command "make lock" -o requirements.lock pyproject.toml -
