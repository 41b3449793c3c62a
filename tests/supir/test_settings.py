"""Every setting of SUPIR reaches the result, and none takes a value that makes no sense."""

import math
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from supir_core import PRESETS, Settings, preset, restore
from supir_core.restoration.denoiser import LinearSchedule
from supir_core.restoration.knobs import knobs

BASE = preset("quality", steps=3, tile=64, overlap=16, s_churn=5.0)

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
    "steps": 4,
    "sampler": "dpmpp_2m_sde",
    "cfg": LinearSchedule(1.0, 2.0),
    "control": LinearSchedule(0.5, 0.9),
    "restoration_scale": 1.0,
    "s_churn": 0.0,
    "s_noise": 1.0,
    "positive": "a drawing",
    "negative": "a photograph",
}
"""A setting that is to change the result; the two that must not stand below."""

PLANNED = {"tile": 0, "tile_least": 64}
WITH = {"tile_least": PLANNED | {"tile_most": 128}, "tile_most": PLANNED, "tile_area": PLANNED}
"""What a setting needs beside it to have an effect."""

SAME = {"tiles_per_call": 3, "vae_memory": 64, "same_noise": True}


@pytest.fixture(scope="module")
def picture():
    return torch.rand(1, 3, 16, 48)


@pytest.fixture(scope="module")
def image(demo_model, picture):
    return lambda settings: restore(demo_model, picture, settings, scale=4, caption="a boat").image


@pytest.fixture(scope="module")
def plain(image):
    return image(BASE)


def test_the_table_knows_all_settings():
    assert {field.name for field in fields(Settings)} == {*CHANGES, *SAME} == set(knobs(Settings))


@pytest.mark.parametrize("name", CHANGES)
def test_every_setting_changes_the_result(image, plain, name):
    base = replace(BASE, **WITH.get(name, {}))
    before = image(base) if name in WITH else plain
    assert (image(replace(base, **{name: CHANGES[name]})) - before).abs().mean() > 1e-4


@pytest.mark.parametrize("name", SAME)
def test_memory_speed_and_other_pictures_leave_the_result_alone(image, plain, name):
    assert (image(replace(BASE, **{name: SAME[name]})) - plain).abs().max() < 1e-4


@pytest.mark.parametrize(
    "wrong",
    [
        {"s_noise": math.nan},
        {"s_noise": -1.0},
        {"color_strength": 7.0},
        {"steps": 2000},
        {"steps": 2.5},
        {"seed": -1},
        {"seed": True},
        {"tiles_per_call": 0},
        {"cfg": LinearSchedule(math.nan, 4.0)},
        {"cfg": LinearSchedule(1.0, math.inf)},
        {"control": LinearSchedule(-0.1, 1.0)},
        {"restoration_scale": -1.0},
        {"min_side": 0},
        {"shifting": 1},
        {"same_noise": "yes"},
        {"positive": None},
        {"cfg": (1.0, 2.0, 3.0)},
        {"cfg": "3"},
        {"control": True},
        {"restoration_scale": LinearSchedule(1.0, 2.0)},
        {"s_churn": "5"},
        {"seed": np.int64(1)},
    ],
)
def test_a_value_out_of_range_is_refused_with_the_range(wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=rf"^{name} must be (within|a multiple|True|text|one number)"):
        Settings(**wrong)


def test_a_schedule_may_be_two_numbers_or_one():
    assert Settings(cfg=(1, 2.5), control=0.9) == Settings(cfg=LinearSchedule(1, 2.5), control=LinearSchedule(0.9, 0.9))
    assert preset("fidelity", cfg=[1.0, 4.0]) == preset("fidelity")


def test_another_kind_of_number_is_named():
    with pytest.raises(ValueError, match=r"seed must be .*, a whole number \(int\), got np\.int64\(1\)"):
        Settings(seed=np.int64(1))


def test_the_presets_are_the_published_numbers():
    numbers = {
        name: (s.steps, s.sampler, s.cfg.start, s.cfg.end, s.s_churn, s.s_noise, s.restoration_scale)
        for name, s in PRESETS.items()
    }
    assert numbers == {
        "quality": (50, "edm", 3.0, 6.0, 5.0, 1.02, 0.0),
        "fidelity": (50, "edm", 1.0, 4.0, 5.0, 1.01, 0.0),
        "paper": (100, "edm", 7.5, 7.5, 5.0, 1.02, 4.0),
        "lightning": (8, "dpmpp_2m_sde", 2.0, 2.0, 5.0, 1.0, 0.0),
        "demo": (2, "edm", 1.0, 1.0, 0.0, 1.0, 0.5),
    }


@pytest.mark.parametrize(("name", "changes"), [("quality", {}), ("demo", {"seed": 7})])
def test_a_preset_by_its_name_is_the_preset(demo_model, picture, name, changes):
    settings = preset(name, steps=2, **changes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, name, preset(name, steps=2))
        by_name = restore(demo_model, picture, name, **changes).image
    assert torch.equal(by_name, restore(demo_model, picture, settings).image)


def test_a_generator_draws_the_seed(demo_model, picture):
    one, same, other = (
        restore(demo_model, picture, BASE, seed=torch.Generator().manual_seed(seed)).image for seed in (1, 1, 2)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
