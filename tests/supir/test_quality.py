"""What the demo weights can do, on two photographs that they never saw; fails where a part stops working.

Thresholds lie between what was measured with everything working and with the part in question out of order.
"""

from dataclasses import replace

import pytest
import torch
from PIL import Image

from supir_core.command.demo import DAMAGE, DEMO_SETTINGS
from supir_core.evaluation.degradation import SETTINGS, degrade
from supir_core.evaluation.metrics import gmsd, psnr
from supir_core.files.convert import to_tensor
from supir_core.restoration.canvas import resize
from supir_core.sdxl.vae import from_unit, to_unit
from supir_core.supir.pipeline import restore

CROPS = {"astronaut": (0, 96), "chelsea": (16, 96)}
SIDE = 256


def photograph(name):
    from skimage import data

    top, left = CROPS[name]
    picture = to_tensor(Image.fromarray(getattr(data, name)()))
    return picture[..., top : top + SIDE, left : left + SIDE]


@pytest.fixture(scope="module")
def cases():
    """Original, damaged, and damaged enlarged, of each photograph."""
    originals = [photograph(name) for name in CROPS]
    damaged = [degrade(original, SETTINGS[DAMAGE]) for original in originals]
    return [(o, d, resize(d, (SIDE, SIDE))) for o, d in zip(originals, damaged, strict=True)]


def mean(distance, pairs):
    distances = [distance(*pair) for pair in pairs]
    return sum(distances) / len(distances)


def restored(model, cases, settings):
    return [restore(model, damaged, settings, scale=4).image for _, damaged, _ in cases]


def fidelity(pictures, cases):
    return mean(psnr, ((p, original) for p, (original, _, _) in zip(pictures, cases, strict=True)))


@pytest.fixture(scope="module")
def enlarged(cases):
    return [enlarged for _, _, enlarged in cases]


def test_a_restored_picture_keeps_the_quality_that_was_measured(demo_model, cases):
    pictures = restored(demo_model, cases, DEMO_SETTINGS)
    originals = [original for original, _, _ in cases]
    assert fidelity(pictures, cases) > 23.45  # measured 23.59; enlarged alone 22.91, without the adaptor 20.34
    assert mean(gmsd, zip(pictures, originals, strict=True)) < 0.185  # measured 0.1825; without adaptor 0.249


@torch.no_grad()
def test_the_degradation_robust_encoder_sees_through_damage(demo_model, cases, enlarged):
    vae = demo_model.vae

    def decoded(encoder):
        return [to_unit(vae.decode(vae.encode(from_unit(picture), encoder))) for picture in enlarged]

    robust, plain = (fidelity(decoded(encoder), cases) for encoder in (demo_model.dr_encoder, None))
    assert robust > plain + 0.5  # measured 0.63


def test_light_damage_is_mended_too(demo_model):
    """Of a picture that is only blurred and small, which an encoder that knows heavy damage alone makes worse."""
    light = [degrade(photograph(name), SETTINGS["blur_sr4"]) for name in CROPS]
    cases = [(photograph(name), d, resize(d, (SIDE, SIDE))) for name, d in zip(CROPS, light, strict=True)]
    pictures = restored(demo_model, cases, DEMO_SETTINGS)
    gain = fidelity(pictures, cases) - fidelity([shown for *_, shown in cases], cases)
    assert gain > -0.25  # measured -0.14; with an encoder that saw the mixture nearly alone -0.35
    originals = (original for original, *_ in cases)
    assert mean(gmsd, zip(pictures, originals, strict=True)) < 0.145  # measured 0.137; with such an encoder 0.154


def test_adaptor_and_connectors_alone_hold_the_picture(demo_model, cases):
    """Without restoration guidance, which would hide that they do nothing."""
    free = restored(demo_model, cases, replace(DEMO_SETTINGS, restoration_scale=0))
    assert fidelity(free, cases) > 21.5  # measured 22.39; without the connectors 18.36


def test_tiles_give_nearly_the_untiled_picture(demo_model, cases):
    tiled = replace(DEMO_SETTINGS, tile=128, overlap=32)
    pairs = zip(restored(demo_model, cases, tiled), restored(demo_model, cases, DEMO_SETTINGS), strict=True)
    assert mean(psnr, pairs) > 41.5  # measured 42.8; without overlap 40.2
