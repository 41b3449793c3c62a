"""A GPU gives what the CPU gives: InstantIR, on small weights."""

from functools import cache

import pytest
import torch

from supir_core import InstantSettings, load_instantir, restore_instantir
from supir_core.command.demo import SDXL_FILE, TOKENIZER_FOLDER, WEIGHTS
from supir_core.sdxl import streaming

from ..rounding import bound, difference
from ..small_instantir import small_networks, write_files

SMALL, WIDE = (16, 16), (16, 32)
"""Sides of pictures that, four times as large, are one tile and three."""

CASES = {
    "residual": {"adaptive": "residual"},
    "noise": {"start": "noise", "cfg": 1.0, "preview_start": 0.5},
    "tiles together": {"tiles_per_call": 2, "adaptive": "reference", "shifting": True, "color_fix": "wavelet"},
}


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    """Loads the small weights; one model for each way to have a GPU."""
    files = write_files(tmp_path_factory.mktemp("instantir"), small_networks())

    @cache
    def load(gpu, device, dtype, *memory):
        return load_instantir(WEIGHTS / SDXL_FILE, *files, WEIGHTS / TOKENIZER_FOLDER, device, dtype, *memory)

    return load


def restored(model, picture, changes):
    settings = InstantSettings(**{"steps": 2, "tile": 64, "overlap": 16, **changes})
    return restore_instantir(model, picture, settings, scale=4.0)


@pytest.mark.parametrize("changes", CASES.values(), ids=CASES)
def test_restore_instantir_gives_what_it_gives_on_the_cpu(gpu, load, changes):
    picture = torch.rand(1, 3, *(WIDE if "tiles_per_call" in changes else SMALL))
    expected = restored(load(None, "cpu", torch.float32), picture, changes)
    with gpu():
        result = restored(load(gpu, "cuda", torch.float32), picture, changes)
    assert result.image.device == result.stage1.device == picture.device
    assert difference(result, expected) <= bound(gpu, torch.float32)


@pytest.mark.parametrize("memory", ["stage", "stream"])
def test_networks_that_come_and_go_give_the_same(gpu, load, monkeypatch, memory):
    monkeypatch.setattr(streaming, "BLOCK_BYTES", 2**18)
    picture, changes = torch.rand(1, 3, *SMALL), CASES["residual"]
    expected = restored(load(None, "cpu", torch.float32), picture, changes)
    with gpu():
        result = restored(load(gpu, "cuda", torch.float32, memory), picture, changes)
    assert difference(result, expected) <= bound(gpu, torch.float32)


def test_half_precision_gives_what_it_gives_on_the_cpu(gpu, load):
    picture, changes = torch.rand(1, 3, *SMALL), {"steps": 1}
    expected = restored(load(None, "cpu", torch.float16), picture, changes)
    with gpu():
        result = restored(load(gpu, "cuda", torch.float16), picture, changes)
    assert difference(result, expected) <= bound(gpu, torch.float16)
