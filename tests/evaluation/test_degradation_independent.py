"""The damage of Table 1 against other people's code: skimage's blur, Pillow's shrinking and JPEG, numpy's noise."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.filters import gaussian

from supir_core.evaluation.degradation import SECOND_ORDER, SETTINGS, clean_part, counterpart, damage

ROUNDING = 1 / 255
"""Of a result in 8 bits; what is not rounded on the way agrees within float32's precision."""


@pytest.fixture(scope="module")
def photograph():
    from supir_core.command.demo import demo_photograph

    return demo_photograph()[..., :128, 128:256]


def independent(picture, setting, noise):
    """``(H, W, 3)`` in [0, 1], damaged by numpy, skimage and Pillow; ``noise`` is shaped as the result."""
    if setting.blur:
        picture = gaussian(picture, setting.blur, mode="nearest", truncate=3, channel_axis=2)
    size = (picture.shape[1] // setting.factor, picture.shape[0] // setting.factor)
    planes = [Image.fromarray(plane.astype(np.float32)) for plane in np.moveaxis(picture, 2, 0)]
    small = np.stack([plane.resize(size, Image.Resampling.BICUBIC) for plane in planes], axis=2).clip(0, 1)
    small = (small + noise * setting.noise / 255).clip(0, 1)
    if not setting.jpeg:
        return small
    file = io.BytesIO()
    Image.fromarray((small * 255).round().astype(np.uint8)).save(file, "JPEG", quality=setting.jpeg)
    return np.asarray(Image.open(file)) / 255


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("seed", [0, 5])
def test_each_setting_is_what_others_make_of_it(name, seed, photograph):
    setting = SETTINGS[name]
    ours = damage(photograph, name, seed)[0].permute(1, 2, 0).numpy()
    drawn = torch.randn((1, 3, *ours.shape[:2]), generator=torch.Generator().manual_seed(seed))
    noise = drawn[0].permute(1, 2, 0).double().numpy()
    theirs = independent(photograph[0].permute(1, 2, 0).double().numpy(), setting, noise)
    if not setting.jpeg:
        assert np.abs(ours - theirs).max() < 1e-5
        return
    # a value on the edge of rounding before the JPEG moves its block by a level or so
    assert (np.abs(ours - theirs) > ROUNDING).mean() < 0.002


def test_damage_of_second_order_differs_from_picture_to_picture(photograph):
    first, again, other, seeded = (
        damage(photograph, SECOND_ORDER, seed, of) for seed, of in [(0, "a"), (0, "a"), (0, "b"), (1, "a")]
    )
    assert torch.equal(first, again)
    assert not torch.allclose(first, other, atol=0.02)
    assert not torch.allclose(first, seeded, atol=0.02)


def test_the_clean_part_is_a_multiple_of_eight_and_of_the_middle_where_asked():
    picture = torch.arange(37.0)[:, None].expand(1, 3, 37, 50)
    assert clean_part(picture).shape == (1, 3, 32, 48)
    middle = clean_part(picture, 20)
    assert middle.shape == (1, 3, 16, 16)
    assert middle[0, 0, 0, 0] == 8
    assert clean_part(picture, 1024).shape == (1, 3, 32, 32)
    with pytest.raises(ValueError, match="50x7 pixels are too few"):
        clean_part(picture[:, :, :7])


def test_the_counterpart_of_a_damaged_picture_lacks_what_was_cut_off():
    clean = torch.zeros(1, 3, 131, 132)
    assert counterpart(clean, (32, 32)).shape == (1, 3, 128, 128)
    assert counterpart(clean, (131, 132)).shape == clean.shape
    assert counterpart(clean, (50, 60)).shape == clean.shape
