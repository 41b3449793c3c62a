# make demo   restore a photograph with the demo weights
# make test   everything that must hold: style, types, tests
# make fix    let ruff mend what it can
# TORCH names another build of PyTorch: make test TORCH=torch==2.11.0

PYTHON ?= python3
VENV ?= .venv
TORCH ?= torch
RUN = $(VENV)/bin/python -m

.PHONY: demo test fix clean

demo: $(VENV)/.demo
	$(RUN) supir_core demo -o demo_output

test: $(VENV)/.dev
	$(RUN) ruff format --check .
	$(RUN) ruff check .
	$(RUN) pyright --pythonpath $(VENV)/bin/python
	$(RUN) pytest

fix: $(VENV)/.dev
	$(RUN) ruff check --fix .
	$(RUN) ruff format .

clean:
	rm -rf $(VENV) demo_output

$(VENV)/.torch:
	$(PYTHON) -m venv $(VENV)
	$(RUN) pip install --quiet --upgrade pip
	$(RUN) pip install --quiet "$(TORCH)"
	touch $@

$(VENV)/.%: $(VENV)/.torch pyproject.toml
	$(RUN) pip install --quiet --editable ".[$*]"
	touch $@
