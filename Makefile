# make demo         restore a photograph with the demo weights
# make test         everything that must hold: style, types, tests; those on the real host where ComfyUI is found
# make demo-comfy   the same demonstration through ComfyUI, without its window
# make fix          let ruff mend what it can
# TORCH names other builds of PyTorch; where ComfyUI is, torchvision and torchaudio made for the very same torch, as the
# newest of each do not fit together
# COMFYUI_PATH names ComfyUI's folder, ~/ComfyUI or ~/comfy/ComfyUI by default

PYTHON ?= python3
VENV ?= .venv
COMFYUI_PATH ?= $(firstword $(wildcard $(HOME)/ComfyUI $(HOME)/comfy/ComfyUI))
TORCH ?= $(if $(COMFYUI_PATH),torch==2.11.0 torchvision==0.26.0 torchaudio==2.11.0,torch torchvision)
RUN = $(VENV)/bin/python -m
HOST = $(if $(COMFYUI_PATH),$(VENV)/.host)

export COMFYUI_PATH

.PHONY: demo test demo-comfy fix clean

demo: $(VENV)/.demo
	$(RUN) supir_core demo -o demo_output

test: $(VENV)/.dev $(HOST)
	$(RUN) ruff format --check .
	$(RUN) ruff check .
	$(RUN) pyright --pythonpath $(VENV)/bin/python
	$(RUN) pytest -n 2 --dist loadgroup

demo-comfy: $(VENV)/.host
	$(VENV)/bin/python -m tools.workflows.run_workflow workflows/api/demo.json -o demo_output

fix: $(VENV)/.dev
	$(RUN) ruff check --fix .
	$(RUN) ruff format .

clean:
	rm -rf $(VENV) demo_output

$(VENV)/.torch:
	$(PYTHON) -m venv $(VENV)
	$(RUN) pip install --quiet --upgrade pip
	$(RUN) pip install --quiet $(TORCH)
	touch $@

$(VENV)/.host: $(VENV)/.torch pyproject.toml
	test -n "$(COMFYUI_PATH)" || { echo "no ComfyUI: set COMFYUI_PATH to its folder"; exit 1; }
	$(RUN) pip install --quiet -r "$(COMFYUI_PATH)/requirements.txt"
	$(RUN) pip install --quiet --editable ".[host]"
	touch $@

$(VENV)/.%: $(VENV)/.torch pyproject.toml
	$(RUN) pip install --quiet --editable ".[$*]"
	touch $@
