"""InstantIR's workflow in a running ComfyUI, with small weights in the forms of the published files."""

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

from supir_core.command.demo import DAMAGED_FILE, SDXL_FILE, TOKENIZER_FOLDER, WEIGHTS
from supir_core.files.pictures import read_picture
from supir_core.instantir.model import load_instantir
from supir_core.instantir.pipeline import restore_instantir
from supir_core.instantir.settings import InstantSettings

from ..small_instantir import FEATURES, small_networks, write_files
from .demo_prompt import with_demo_weights
from .server import ROOT, ComfyServer, make_base

TINY_DINO = f"""
import comfy.clip_vision
import comfy.utils


class TinyDino:
    INPUT_TYPES = classmethod(lambda cls: {{"required": {{"clip_name": ("STRING", {{}})}}}})
    RETURN_TYPES, FUNCTION, CATEGORY = ("CLIP_VISION",), "load", "test"

    def load(self, clip_name):
        sizes = {{"model_type": "dinov2", "hidden_size": {FEATURES}, "num_hidden_layers": 2, "num_attention_heads": 3}}
        model = comfy.clip_vision.ClipVisionModel(
            {{**sizes, "layer_norm_eps": 1e-6, "use_swiglu_ffn": False, "image_size": 518}}
        )
        model.load_sd(comfy.utils.load_torch_file(clip_name))
        return (model,)


NODE_CLASS_MAPPINGS = {{"TinyDino": TinyDino}}
"""
"""ComfyUI recognises DINOv2 by its full size only."""

SCALE = 1.3
"""Of the picture of 128 pixels: 166, padded to 192."""
LEVELS = 1
"""How far the picture may be from the library's, in 8-bit levels: float32 sums in another order. Measured: 1 level, in 0.0005
of the values."""

STEPS, SEED = 2, 3


@pytest.fixture(scope="module")
def server(comfyui, tmp_path_factory):
    base = tmp_path_factory.mktemp("instantir_server") / "base"
    make_base(base, comfyui)
    (base / "models" / "model_patches").mkdir(parents=True)
    write_files(base / "models" / "model_patches", small_networks())
    (base / "custom_nodes" / "tiny_dino.py").write_text(TINY_DINO)
    with ComfyServer(comfyui, base) as server:
        yield server


@pytest.fixture(scope="module")
def prompt(server):
    dino = server.base / "models" / "model_patches" / "dino" / "model.safetensors"
    workflow = json.loads((ROOT / "workflows" / "api" / "instantir_restore.json").read_text(encoding="utf-8"))
    changes = {
        "InstantIRApply": {"min_side": 64, "scale": SCALE},
        "InstantIRSampler": {"steps": STEPS, "seed": SEED},
        "CLIPVisionLoader": {"clip_name": str(dino)},
    }
    nodes = with_demo_weights(workflow, changes)
    for node in nodes.values():
        if node["class_type"] == "CLIPVisionLoader":
            node["class_type"] = "TinyDino"
    return nodes


def is_link(value):
    return isinstance(value, list)


def picture(file):
    with Image.open(io.BytesIO(file.read_bytes())) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def test_the_workflow_runs_and_shows_a_preview_for_every_step(server, prompt):
    run = server.run(prompt)
    assert run.end == "execution_success", run.messages[-1]
    shown = [data["output"]["images"] for data in run.of_type("executed") if "images" in (data["output"] or {})]
    assert sorted(len(images) for images in shown) == [1, STEPS]


@pytest.mark.parametrize("tile", [1024, 128])
def test_the_picture_is_the_librarys(server, prompt, tile):
    """Whole and in tiles: the picture that DINOv2 sees, the size condition, the prompts, the noise."""
    nodes = {number: {**node, "inputs": dict(node["inputs"])} for number, node in prompt.items()}
    sampler = next(node["inputs"] for node in nodes.values() if node["class_type"] == "InstantIRSampler")
    tiles = {"tile": tile, "overlap": tile // 4, "blend": "smooth", "shifting": False, "tiles_per_call": 1}
    nodes["tiles"] = {"class_type": "SupirTiles", "inputs": {"model": sampler["model"], **tiles}}
    sampler["model"] = ["tiles", 0]
    run = server.run(nodes)
    assert run.end == "execution_success", run.messages[-1]
    folder = server.base / "models" / "model_patches"
    files = [folder / name for name in ("adapter.pt", "aggregator.pt", "previewer_lora_weights.bin", "dino")]
    model = load_instantir(WEIGHTS / SDXL_FILE, *files, tokenizer=WEIGHTS / TOKENIZER_FOLDER, device="cpu")
    settings = InstantSettings(steps=STEPS, seed=SEED, min_side=64, tile=tile)
    restored = restore_instantir(model, read_picture(WEIGHTS / DAMAGED_FILE), settings, scale=SCALE)
    ours = (restored.image[0].permute(1, 2, 0) * 255).round().to(torch.int).numpy()
    assert abs(picture(run.pictures[0]) - ours).max() <= LEVELS


def test_a_region_is_restored_as_the_library_does(server, prompt):
    """A mask of all of the picture: what SUPIR Restore Region gives is the library's picture at its own size."""
    inputs = {node["class_type"]: node["inputs"] for node in prompt.values()}
    given = {name: inputs["InstantIRApply"][name] for name in ("model", "vae", "image", "clip_vision")}
    given |= {"supir_model": inputs["InstantIRApply"]["instantir_model"], "clip": inputs["SupirConditioning"]["clip"]}
    given["mask"] = ["mask", 0]
    numbers = {"caption": "", "preset": "auto", "seed": SEED, "context": 1.5, "feather": 0, "strength": 1.0}
    nodes = {
        **{number: node for number, node in prompt.items() if not any(map(is_link, node["inputs"].values()))},
        "mask": {"class_type": "SolidMask", "inputs": {"value": 1.0, "width": 64, "height": 64}},
        "region": {"class_type": "SupirRestoreRegion", "inputs": {**given, **numbers, "color_fix": "none"}},
        "save": {"class_type": "SaveImage", "inputs": {"images": ["region", 0], "filename_prefix": "region"}},
    }
    run = server.run(nodes)
    assert run.end == "execution_success", run.messages[-1]
    folder = server.base / "models" / "model_patches"
    files = [folder / name for name in ("adapter.pt", "aggregator.pt", "previewer_lora_weights.bin", "dino")]
    model = load_instantir(WEIGHTS / SDXL_FILE, *files, tokenizer=WEIGHTS / TOKENIZER_FOLDER, device="cpu")
    restored = restore_instantir(model, read_picture(WEIGHTS / DAMAGED_FILE), InstantSettings(seed=SEED), scale=1)
    ours = (restored.image[0].permute(1, 2, 0) * 255).round().to(torch.int).numpy()
    assert abs(picture(run.pictures[0]) - ours).max() <= LEVELS
