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

from .server import ROOT
from .small_server import with_small_weights

SCALE = 1.3
"""Of the picture of 128 pixels: 166, padded to 192."""
LEVELS = 1
"""How far the picture may be from the library's, in 8-bit levels: float32 sums in another order. Measured: 1 level, in 0.0005
of the values."""

STEPS, SEED = 2, 3


@pytest.fixture(scope="module")
def prompt(small_server):
    workflow = json.loads((ROOT / "workflows" / "api" / "instantir_restore.json").read_text(encoding="utf-8"))
    changes = {"InstantIRApply": {"min_side": 64, "scale": SCALE}, "InstantIRSampler": {"steps": STEPS, "seed": SEED}}
    return with_small_weights(workflow, small_server.base, changes)


def is_link(value):
    return isinstance(value, list)


def picture(file):
    with Image.open(io.BytesIO(file.read_bytes())) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def test_the_workflow_runs_and_shows_a_preview_for_every_step(small_server, prompt):
    run = small_server.run(prompt)
    assert run.end == "execution_success", run.messages[-1]
    shown = [data["output"]["images"] for data in run.of_type("executed") if "images" in (data["output"] or {})]
    assert sorted(len(images) for images in shown) == [1, STEPS]


@pytest.mark.parametrize("tile", [1024, 128])
def test_the_picture_is_the_librarys(small_server, prompt, tile):
    """Whole and in tiles: the picture that DINOv2 sees, the size condition, the prompts, the noise."""
    nodes = {number: {**node, "inputs": dict(node["inputs"])} for number, node in prompt.items()}
    sampler = next(node["inputs"] for node in nodes.values() if node["class_type"] == "InstantIRSampler")
    tiles = {"tile": tile, "overlap": tile // 4, "blend": "smooth", "shifting": False, "tiles_per_call": 1}
    nodes["tiles"] = {"class_type": "SupirTiles", "inputs": {"model": sampler["model"], **tiles}}
    sampler["model"] = ["tiles", 0]
    run = small_server.run(nodes)
    assert run.end == "execution_success", run.messages[-1]
    folder = small_server.base / "models" / "model_patches"
    files = [folder / name for name in ("adapter.pt", "aggregator.pt", "previewer_lora_weights.bin", "dino")]
    model = load_instantir(WEIGHTS / SDXL_FILE, *files, tokenizer=WEIGHTS / TOKENIZER_FOLDER, device="cpu")
    settings = InstantSettings(steps=STEPS, seed=SEED, min_side=64, tile=tile)
    restored = restore_instantir(model, read_picture(WEIGHTS / DAMAGED_FILE), settings, scale=SCALE)
    ours = (restored.image[0].permute(1, 2, 0) * 255).round().to(torch.int).numpy()
    assert abs(picture(run.pictures[0]) - ours).max() <= LEVELS


def test_a_region_is_restored_as_the_library_does(small_server, prompt):
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
    run = small_server.run(nodes)
    assert run.end == "execution_success", run.messages[-1]
    folder = small_server.base / "models" / "model_patches"
    files = [folder / name for name in ("adapter.pt", "aggregator.pt", "previewer_lora_weights.bin", "dino")]
    model = load_instantir(WEIGHTS / SDXL_FILE, *files, tokenizer=WEIGHTS / TOKENIZER_FOLDER, device="cpu")
    restored = restore_instantir(model, read_picture(WEIGHTS / DAMAGED_FILE), InstantSettings(seed=SEED), scale=1)
    ours = (restored.image[0].permute(1, 2, 0) * 255).round().to(torch.int).numpy()
    assert abs(picture(run.pictures[0]) - ours).max() <= LEVELS
