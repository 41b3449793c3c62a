"""Every setting of InstantIR reaches the result, and the networks get what the method says."""

from dataclasses import fields

import pytest
import torch

from supir_core import InstantSettings, load_instantir, restore_instantir
from supir_core.command.demo import SDXL_FILE, TOKENIZER_FOLDER, WEIGHTS
from supir_core.instantir import pipeline
from supir_core.restoration.knobs import knobs
from supir_core.restoration.prompts import full_prompt
from supir_core.sdxl.conditioning import Conditioning

from ..small_instantir import small_networks, write_files

BASE = {"steps": 4, "tile": 64, "overlap": 16}

CHANGES = {
    "strength": 0.5,
    "seed": 1,
    "tile": 128,
    "overlap": 32,
    "tile_least": 128,
    "tile_most": 64,
    "tile_area": 0.005,
    "blend": "exact",
    "shifting": True,
    "color_fix": "adain",
    "color_strength": 0.5,
    "min_side": 128,
    "steps": 5,
    "cfg": 2.0,
    "control": 0.5,
    "control_start": 0.5,
    "control_end": 0.5,
    "preview_start": 0.5,
    "preview_end": 0.5,
    "adaptive": "residual",
    "start": "noise",
    "positive": "a drawing",
    "negative": "a photograph",
}
SAME = {"tiles_per_call": 3, "vae_memory": 64, "same_noise": True}
PLANNED = {"tile": 0, "tile_least": 64}
WITH = {
    "tile_least": PLANNED | {"tile_most": 128},
    "tile_most": PLANNED,
    "tile_area": PLANNED,
    "color_strength": {"color_fix": "wavelet"},
}
"""What a setting needs beside it to have an effect."""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    files = write_files(tmp_path_factory.mktemp("instantir"), small_networks())
    return load_instantir(WEIGHTS / SDXL_FILE, *files, tokenizer=WEIGHTS / TOKENIZER_FOLDER, device="cpu")


@pytest.fixture(scope="module")
def picture():
    return torch.rand(1, 3, 16, 48)


def image(model, picture, settings):
    return restore_instantir(model, picture, InstantSettings(**settings), scale=4).image


def test_the_table_knows_all_settings():
    assert {field.name for field in fields(InstantSettings)} == {*CHANGES, *SAME} == set(knobs(InstantSettings))


@pytest.mark.parametrize("name", CHANGES)
def test_every_setting_changes_the_result(model, picture, name):
    base = BASE | WITH.get(name, {})
    changed = image(model, picture, base | {name: CHANGES[name]})
    assert (changed - image(model, picture, base)).abs().mean() > 1e-4


@pytest.mark.parametrize("name", SAME)
def test_memory_speed_and_other_pictures_leave_the_result_alone(model, picture, name):
    changed = image(model, picture, BASE | {name: SAME[name]})
    assert (changed - image(model, picture, BASE)).abs().max() < 1e-4


def test_the_size_condition_is_of_what_the_networks_see(model, picture, monkeypatch):
    """Height first, and no larger than a tile; the picture is worked on at 64x192."""
    seen = []
    build = pipeline.build_denoiser

    def watched(networks, z_lq, features, prompts, *rest, **more):
        seen.extend(prompts)
        return build(networks, z_lq, features, prompts, *rest, **more)

    monkeypatch.setattr(pipeline, "build_denoiser", watched)
    for tile, sizes in ((256, (64, 192, 0, 0, 64, 192)), (64, (64, 64, 0, 0, 64, 64))):
        seen.clear()
        settings = InstantSettings(steps=1, tile=tile, overlap=16)
        restore_instantir(model, picture, settings, scale=4)
        (plain,) = model.encode_texts([full_prompt("", settings.positive)])
        # the text is encoded beside another one, which rounds otherwise
        assert torch.allclose(seen[1].vector, plain.with_sizes(sizes).vector, atol=1e-6)
        assert isinstance(seen[0], Conditioning)
