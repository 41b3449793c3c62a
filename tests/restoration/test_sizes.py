"""Sizes of results as people say them, and the detail that a picture holds."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from supir_core.files.convert import to_tensor
from supir_core.restoration.canvas import Restored, resize
from supir_core.restoration.sharpness import detail_factor
from supir_core.restoration.sizes import TargetSize, restore_sized


def enlarging(picture, settings, *, size):
    """In place of ``restore``."""
    image = resize(picture, size)
    return Restored(image, image)


@pytest.mark.parametrize(
    ("target", "size"),
    [
        (TargetSize(), (600, 800)),
        (TargetSize(0.5), (150, 200)),
        (TargetSize(longest_side=1000), (750, 1000)),
        (TargetSize(megapixels=1.92), (1200, 1600)),
        (TargetSize(size=(500, 500)), (500, 500)),
        (TargetSize(size=(500, 500), fit="pad"), (500, 500)),
        (TargetSize(longest_side=1000, shrink_first=4), (750, 1000)),
        (TargetSize(2.0, shrink_first=3), (200, 266)),
    ],
)
def test_a_result_has_the_size_asked_for(target, size):
    picture = torch.rand(1, 4, 300, 400)
    assert restore_sized(enlarging, picture, None, target).image.shape == (1, 4, *size)


def test_a_crop_is_the_middle_and_keeps_the_shape():
    layout = TargetSize(size=(200, 100), fit="crop").layout(torch.zeros(1, 3, 300, 400))
    assert layout.crop == (0, 125, 300, 150)
    assert (layout.inner, layout.outer) == ((200, 100), (200, 100))
    wide = TargetSize(size=(100, 400), fit="crop").layout(torch.zeros(1, 3, 300, 400))
    assert wide.crop == (100, 0, 100, 400)


def test_padding_is_white_and_transparent_and_the_picture_whole_between():
    picture = torch.full((1, 4, 30, 40), 0.5)
    result = restore_sized(enlarging, picture, None, TargetSize(size=(100, 80), fit="pad")).image
    assert (result[:, :, 20:80] - 0.5).abs().max() < 1e-6
    for beside in (result[:, :, :20], result[:, :, 80:]):
        assert (beside[:, :3] == 1).all() and (beside[:, 3] == 0).all()


def test_a_picture_is_shrunk_before_it_is_restored():
    seen = []

    def noted(picture, settings, *, size):
        seen.append((tuple(picture.shape[2:]), size))
        return enlarging(picture, settings, size=size)

    target = TargetSize(2.0, shrink_first=4)
    assert target.layout(torch.zeros(1, 3, 100, 200)).shrinks == "shrunk first from 200x100 to 50x25"
    restore_sized(noted, torch.zeros(1, 3, 100, 200), None, target)
    assert seen == [((25, 50), (50, 100))]
    assert not TargetSize(2.0).layout(torch.zeros(1, 3, 100, 200)).shrinks


def test_a_picture_comes_back_as_the_kind_it_was():
    result = restore_sized(enlarging, Image.new("RGB", (40, 30)), None, TargetSize(longest_side=80)).image
    assert isinstance(result, Image.Image) and result.size == (80, 60)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"scale": 2.0, "megapixels": 4.0}, "expected one size of the result, got scale and megapixels"),
        ({"scale": 17.0}, r"scale must be within 0\.1 to 16, got 17"),
        ({"longest_side": 63}, "longest_side must be within 64 to 65536, got 63"),
        ({"megapixels": float("nan")}, "megapixels must be within"),
        ({"size": (0, 5)}, r"size must be \(height, width\)"),
        ({"fit": "fill", "size": (5, 5)}, 'fit must be "crop" or "pad" or "stretch"'),
        ({"fit": "crop", "scale": 2.0}, 'fit "crop" is for an exact size'),
        ({"shrink_first": 0.5}, "shrink_first must be within 1 to 16, got 0.5"),
        ({"shrink_first": "much"}, 'shrink_first must be "auto" or within 1 to 16'),
    ],
)
def test_what_makes_no_sense_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        TargetSize(**given)


def test_a_label_names_what_differs_from_the_usual():
    assert TargetSize().described() == {"scale": 2.0}
    assert TargetSize(size=(3, 4)).described() == {"size": (3, 4)}
    more = TargetSize(megapixels=4.0, shrink_first="auto")
    assert more.described() == {"megapixels": 4.0, "shrink_first": "auto"}


# ---- detail

NAMES = ("astronaut", "chelsea", "coffee", "rocket")
FAR = 0.25
"""How far the factor found is from the one by which a photograph was enlarged, at most; measured: 0.25, rocket by 2."""

HIDING = "grain and jpeg"
"""JPEG takes the highest frequencies of grain away, by which grain is known; the picture may then pass for a sharp one."""

LIGHT_DAMAGE = {"none": (0, None), "jpeg": (0, 75), "grain": (6, None), "grain and jpeg": (4, 75)}
"""Standard deviation of grain in levels of 255, and quality of JPEG."""


def scanned(name, factor, damage, kind=Image.Resampling.BICUBIC):
    """A photograph enlarged, with grain and JPEG of its new size."""
    from skimage import data

    grain, quality = LIGHT_DAMAGE[damage]
    image = Image.fromarray(getattr(data, name)()[:400, :400]).convert("RGB")
    image = image.resize((image.width * factor, image.height * factor), kind)
    pixels = np.asarray(image) + np.random.default_rng(0).normal(0, grain, (image.height, image.width, 1))
    image = Image.fromarray(pixels.clip(0, 255).round().astype(np.uint8))
    if quality:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality)
        image = Image.open(file)
    return to_tensor(image)


@pytest.mark.parametrize("damage", LIGHT_DAMAGE)
@pytest.mark.parametrize("name", NAMES)
def test_a_sharp_photograph_is_not_shrunk(name, damage):
    assert detail_factor(scanned(name, 1, damage)) == 1


@pytest.mark.parametrize("kind", [Image.Resampling.BICUBIC, Image.Resampling.LANCZOS], ids=["bicubic", "lanczos"])
@pytest.mark.parametrize("damage", LIGHT_DAMAGE)
@pytest.mark.parametrize("name", NAMES)
def test_an_enlarged_photograph_is_shrunk_about_as_far_as_it_was_enlarged(name, damage, kind):
    for factor in (2, 3, 4):
        found = detail_factor(scanned(name, factor, damage, kind))
        unseen = damage == HIDING and found == 1
        assert unseen or abs(found / factor - 1) <= FAR, (factor, found)


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (5, 9), (64, 64)])
def test_every_picture_has_a_factor(shape):
    assert detail_factor(torch.rand(1, 3, *shape)) == 1
    assert detail_factor(torch.full((1, 4, *shape), 0.5)) == 1


def test_the_sharpest_of_a_batch_counts():
    pair = torch.cat([scanned("coffee", 2, "none")[..., :400, :400], scanned("coffee", 1, "none")])
    assert detail_factor(pair) == 1
