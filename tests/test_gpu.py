"""A GPU gives what the CPU gives: restore, the demonstration and the command, with the demo weights."""

from functools import cache
from typing import Any, NamedTuple

import pytest
import torch

from supir_core import load_model, preset, read_picture, restore, save_picture
from supir_core.command import cli, demo
from supir_core.command.demo import SDXL_FILE, SUPIR_FILE, TOKENIZER_FOLDER, WEIGHTS
from supir_core.restoration.denoiser import LinearSchedule
from supir_core.sdxl import streaming

from .rounding import bound, difference
from .simulated_gpu import simulated_gpu

BASE = {
    "steps": 2,
    "cfg": LinearSchedule(3.0, 6.0),
    "control": LinearSchedule(1.0, 0.9),
    "restoration_scale": 4.0,
    "s_churn": 5.0,
    "s_noise": 1.02,
    "tile": 64,
    "overlap": 16,
}
SMALL, WIDE = (16, 16), (16, 32)
"""Sides of pictures that, four times as large, are one tile and three."""


class Case(NamedTuple):
    """What to restore, with which changes of the settings, and what else ``restore`` is told."""

    shape: tuple[int, ...]
    changes: dict[str, Any]
    more: dict[str, Any]


CASES = {
    "two pictures": Case((2, 3, *SMALL), {}, {}),
    "alpha, colours as they are": Case((1, 4, *SMALL), {"color_fix": "none"}, {}),
    "an exact size, no guidance": Case(
        (1, 3, *SMALL), {"cfg": LinearSchedule(1.0, 1.0), "restoration_scale": 0.0}, {"size": (50, 61)}
    ),
    "no adaptor": Case((1, 3, *SMALL), {"control": LinearSchedule(0.0, 0.0)}, {}),
    "tiles together": Case((1, 3, *WIDE), {"tiles_per_call": 3, "shifting": True, "blend": "exact", "overlap": 32}, {}),
    "dpmpp, a caption for each tile": Case(
        (1, 3, *WIDE), {"sampler": "dpmpp_2m_sde"}, {"caption": ["a boat", "a dog", "a tree"]}
    ),
    "little memory for the VAE, adain": Case((1, 3, *WIDE), {"vae_memory": 64, "color_fix": "adain", "steps": 1}, {}),
}


@cache
def load(gpu, device, dtype):
    """The demo weights; one model for each way to have a GPU."""
    return load_model(WEIGHTS / SDXL_FILE, WEIGHTS / SUPIR_FILE, WEIGHTS / TOKENIZER_FOLDER, device, dtype)


@cache
def load_for_command(gpu):
    """As the command loads the demo weights where there is a GPU."""
    with gpu():
        return demo.load_demo_model()


def restored(model, picture, case):
    return restore(model, picture, preset("demo", **{**BASE, **case.changes}), **{"scale": 4.0, **case.more})


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_restore_gives_what_it_gives_on_the_cpu(gpu, case):
    dtype, picture = torch.float32, torch.rand(case.shape)
    expected = restored(load(None, "cpu", dtype), picture, case)
    with gpu():
        result = restored(load(gpu, "cuda", dtype), picture, case)
    assert result.image.device == result.stage1.device == picture.device
    blocks = 1e-5 if "vae_memory" in case.changes else 0.0  # attention in other blocks; measured 2.3e-6
    assert difference(result, expected) <= max(bound(gpu, dtype), blocks)


@pytest.mark.parametrize(("dtype", "sampler"), [(torch.float16, "edm"), (torch.bfloat16, "dpmpp_2m_sde")])
def test_half_precision_gives_what_it_gives_on_the_cpu(gpu, dtype, sampler):
    picture, case = torch.rand(1, 3, *SMALL), Case((), {"sampler": sampler}, {})
    expected = restored(load(None, "cpu", dtype), picture, case)
    with gpu():
        result = restored(load(gpu, "cuda", dtype), picture, case)
    assert difference(result, expected) <= bound(gpu, dtype)


@pytest.mark.parametrize(("memory", "block"), [("stage", 0), ("stream", 2**18), ("stream", streaming.BLOCK_BYTES)])
def test_networks_that_come_and_go_give_the_same(gpu, monkeypatch, memory, block):
    monkeypatch.setattr(streaming, "BLOCK_BYTES", block)
    picture = torch.rand(1, 3, *WIDE)
    expected = restored(load(None, "cpu", torch.float32), picture, CASES["tiles together"])
    with gpu():
        model = demo.load_demo_model("cuda", torch.float32, memory)
        result = restored(model, picture, CASES["tiles together"])
    assert difference(result, expected) <= bound(gpu, torch.float32)


@pytest.mark.parametrize(("bf16", "kind"), [(True, torch.bfloat16), (False, torch.float32)])
def test_the_vae_is_bfloat16_where_the_gpu_has_it(bf16, kind):
    with simulated_gpu(bf16=bf16):
        model = demo.load_demo_model()
        assert (model.unet.dtype, model.vae.dtype, model.dr_encoder.conv_in.weight.dtype) == (torch.float16, kind, kind)
        image = restored(model, torch.rand(1, 3, *SMALL), Case((), {"steps": 1}, {})).image
    assert image.isfinite().all()


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_result_is_where_the_picture_was(gpu, device):
    with gpu():
        picture = torch.rand(1, 4, *SMALL, device="cuda")
        result = restored(load(gpu, device, torch.float32), picture, Case((), {"steps": 1}, {}))
        assert result.image.is_cuda
        assert result.stage1.is_cuda


def test_the_demo_weights_work_on_the_gpu(gpu):
    assert load_for_command(gpu).device.type == "cuda"


@pytest.fixture
def on_both(gpu, monkeypatch):
    """Calls a function of a folder where the demo weights are on the GPU, and where they are, in the same type, on the CPU;
    gives both results and how far they may be from each other.
    """

    def call(function, folder):
        model = load_for_command(gpu)
        dtype = next(model.unet.parameters()).dtype
        monkeypatch.setattr(demo, "load_demo_model", lambda *_: model)
        with gpu():
            ours = function(folder / "gpu")
        monkeypatch.setattr(demo, "load_demo_model", lambda *_: load(None, "cpu", dtype))
        return ours, function(folder / "cpu"), bound(gpu, dtype)

    return call


def test_the_demonstration_writes_what_it_writes_on_the_cpu(on_both, monkeypatch, tmp_path):
    photograph = demo.demo_photograph()[..., 64:128, 192:256]
    monkeypatch.setattr(demo, "demo_photograph", lambda: photograph)
    ours, theirs, near = on_both(demo.run_demo, tmp_path)
    ours, theirs = ([read_picture(file) for file in shown.files[:-1]] for shown in (ours, theirs))  # the last has words
    assert difference(ours, theirs) <= near


def test_the_command_writes_what_it_writes_on_the_cpu(on_both, tmp_path):
    source = tmp_path / "small.png"
    save_picture(source, torch.rand(1, 3, *SMALL))

    def command(folder):
        options = ["--demo", "--preset", "demo", "--steps", "1", "--scale", "4", "--caption", "a boat", "--stage1"]
        assert cli.main(["restore", str(source), "-o", str(folder), *options]) == 0
        return [read_picture(folder / name) for name in ("small.png", "small_stage1.png")]

    ours, theirs, near = on_both(command, tmp_path)
    assert difference(ours, theirs) <= near
