"""Less of a restoration: 0 is the picture itself, 1 what it was without, and in between there is one way."""

from dataclasses import replace

import pytest
import torch

from supir_core.command.demo import DAMAGE, DEMO_SETTINGS, demo_photograph
from supir_core.evaluation.degradation import SETTINGS, degrade
from supir_core.evaluation.metrics import psnr
from supir_core.instantir.settings import InstantSettings
from supir_core.restoration.canvas import resize
from supir_core.restoration.strength import truncated
from supir_core.supir.pipeline import restore
from supir_core.supir.sampling import schedule
from supir_core.supir.settings import PRESETS

SIZE = (128, 128)


@pytest.fixture(scope="module")
def picture():
    return degrade(demo_photograph()[..., 32:160, 128:256], SETTINGS[DAMAGE])


@pytest.fixture(scope="module")
def by_strength(demo_model, picture):
    def at(strength):
        return restore(demo_model, picture, replace(DEMO_SETTINGS, steps=4, strength=strength), scale=4).image

    return {strength: at(strength) for strength in (0.0, 0.25, 0.5, 0.75, 1.0)}


def test_no_strength_is_the_picture_itself_enlarged(by_strength, picture):
    assert torch.equal(by_strength[0.0], resize(picture, SIZE))


def test_full_strength_is_the_restoration_as_it_is_without(by_strength, demo_model, picture):
    assert torch.equal(by_strength[1.0], restore(demo_model, picture, replace(DEMO_SETTINGS, steps=4), scale=4).image)


def test_with_the_strength_the_picture_gets_further_from_the_input_and_richer_in_detail(by_strength, picture):
    """Measured: 47.5, 41.2, 36.9 and 33.1 dB to the input."""
    enlarged = resize(picture, SIZE)
    strengths = (0.25, 0.5, 0.75, 1.0)
    distances = [psnr(by_strength[strength], enlarged) for strength in strengths]
    assert distances == sorted(distances, reverse=True)
    assert distances[0] > distances[-1] + 10


def test_alpha_stays(demo_model, picture):
    picture = torch.cat([picture, torch.rand(1, 1, *picture.shape[2:])], dim=1)
    result = restore(demo_model, picture, replace(DEMO_SETTINGS, strength=0.0), scale=4).image
    assert torch.equal(result[:, 3], resize(picture[:, 3:], SIZE)[:, 0])


@pytest.mark.parametrize("settings", [*PRESETS.values(), InstantSettings()])
def test_every_strength_has_as_many_steps_from_a_lower_level(settings):
    whole = settings.sigmas()
    before = float("inf")
    for strength in (1.0, 0.9, 0.5, 0.1, 0.01, 0.0):
        sigmas = replace(settings, strength=strength).sigmas()
        assert len(sigmas) == settings.steps + 1
        assert sigmas[-1] == 0 and bool((sigmas.diff() < 0).all())
        assert sigmas[0] <= before
        before = float(sigmas[0])
    assert replace(settings, strength=0.5).sigmas()[0] < whole[0]
    assert torch.equal(replace(settings, strength=1.0).sigmas(), whole)


def test_half_of_a_schedule_is_the_end_of_one_twice_as_long():
    def edm(steps):
        return schedule(steps, "edm")

    assert torch.equal(truncated(edm, 10, 0.5, 1000), edm(20)[10:])
    assert torch.equal(truncated(edm, 1000, 0.5, 1000), edm(1000))
