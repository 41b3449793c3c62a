"""SUPIR Restore Region: by masks and boxes, and nothing outside them."""

import pytest
import torch

from supir_core.command.demo import CAPTION, DAMAGE, WEIGHTS, demo_photograph, load_demo_model
from supir_core.evaluation.degradation import SETTINGS, degrade
from supir_core.evaluation.metrics import gmsd, psnr
from supir_core.files.pictures import read_picture
from supir_core.restoration.canvas import resize
from supir_core.restoration.regions import find_regions, restore_regions
from supir_core.supir.pipeline import restore
from supir_core.supir.settings import PRESETS

CLOSE = 2e-4
"""Of the range of values, in float32, as for SUPIR Restore."""


@pytest.fixture(scope="module")
def picture():
    return read_picture(WEIGHTS / "damaged.png")[..., :96, :128]


@pytest.fixture
def restore_region(run, demo, picture):
    defaults = {"caption": "", "preset": "demo", "seed": 0, "context": 1.5, "feather": 4, "color_fix": "wavelet"}

    def execute(**given):
        given = {**demo, "image": picture.movedim(1, -1).clone(), **defaults, **given}
        return run("SupirRestoreRegion", **given)

    return execute


def square(top, left, side, size=(96, 128)):
    mask = torch.zeros(1, *size)
    mask[:, top : top + side, left : left + side] = 1
    return mask


def test_a_region_is_what_the_library_makes_of_its_cut_out(restore_region, picture):
    mask = torch.maximum(square(10, 10, 24), square(60, 80, 24))
    image, changed = restore_region(mask=mask, seed=5, caption="a face\nan arm")
    model, captions = load_demo_model(), ["a face", "an arm"]

    def by_library(crop, number):
        return restore(model, crop, PRESETS["demo"], scale=1, caption=captions[number], seed=5 + number).image

    expected = restore_regions(picture, find_regions(mask[0], 1.5, 4), by_library)
    assert (image.movedim(-1, 1) - expected).abs().max() < CLOSE
    assert torch.equal(image[0][mask[0] == 0], picture[0].movedim(0, -1)[mask[0] == 0])
    assert torch.equal(changed > 0, mask > 0)


def test_boxes_in_every_form_are_masks(restore_region):
    box = {"x": 10.0, "y": 20.0, "width": 24.0, "height": 24.0}
    by_mask, _ = restore_region(mask=square(20, 10, 24))
    for boxes in (box, [box], [[box]], [[{**box, "label": "face", "score": 0.9}]]):
        assert torch.equal(restore_region(boxes=boxes)[0], by_mask)


def test_masks_in_every_form_are_the_same(restore_region):
    mask = square(20, 10, 24)
    expected, _ = restore_region(mask=mask)
    for form in (mask[0], mask[None], mask.bool()):
        assert torch.equal(restore_region(mask=form)[0], expected)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"boxes": {"x": 1, "y": 2}}, "expected boxes of x, y, width and height in pixels"),
        ({"boxes": {"x": float("nan"), "y": 2, "width": 3, "height": 4}}, "expected boxes of x, y"),
        ({"boxes": [(1, 2, 3, 4)]}, "expected boxes of x, y"),
        ({"mask": square(0, 0, 8) * float("nan")}, "the mask has values that are no numbers"),
        ({"mask": square(0, 0, 8), "context": 0.0}, "context must be within 1 to 4"),
        ({"mask": square(0, 0, 8), "feather": -1}, "feather must be within 0 to 512"),
        ({"mask": square(0, 0, 8), "preset": "best"}, 'no preset "best"'),
    ],
)
def test_what_is_no_region_is_named(restore_region, given, message):
    with pytest.raises(ValueError, match=message):
        restore_region(**given)


@pytest.mark.parametrize("empty", [{"mask": torch.zeros(1, 64, 64)}, {"boxes": [[]]}, {"boxes": []}])
def test_nothing_marked_is_the_picture_itself(restore_region, picture, empty):
    image, changed = restore_region(**empty)
    assert torch.equal(image.movedim(-1, 1), picture)
    assert not changed.any()


def test_a_mask_of_another_size_is_resized(restore_region, picture):
    image, changed = restore_region(mask=square(5, 5, 12, (48, 64)))
    assert torch.equal(changed[0, 12:32, 12:32] > 0, torch.ones(20, 20, dtype=torch.bool))
    assert torch.equal(image[0, 40:], picture[0].movedim(0, -1)[40:])


def test_pictures_of_a_batch_have_regions_of_their_own(restore_region, picture):
    both = picture.movedim(1, -1).repeat(2, 1, 1, 1)
    masks = torch.cat([square(10, 10, 24), square(60, 80, 24)])
    image, changed = restore_region(image=both, mask=masks)
    assert torch.equal(changed > 0, masks > 0)
    for one, mask in zip(image, masks, strict=True):
        assert (one - restore_region(mask=mask[None])[0][0]).abs().max() < CLOSE


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "connect a mask or boxes"),
        ({"image": torch.zeros(2, 64, 64, 3), "mask": torch.zeros(3, 64, 64)}, "got 3 masks for 2 pictures"),
        ({"mask": square(10, 10, 24), "caption": "one\ntwo"}, "got 2 captions for 1 regions"),
    ],
)
def test_what_does_not_fit_is_refused(restore_region, given, said):
    with pytest.raises(ValueError, match=said):
        restore_region(**given)


@pytest.mark.parametrize("denoise", [0.2, 0.5])
def test_a_face_comes_closer_to_the_original_than_by_plain_sampling(restore_region, demo, denoise):
    """As detailers do it: the cut-out encoded, sampled by SDXL alone, decoded. Measured: 1.7 dB at 0.2, 4.5 at 0.5."""
    import nodes

    original = demo_photograph()[..., :256, 96:352]
    damaged = resize(degrade(original, SETTINGS[DAMAGE]), (256, 256))
    face = square(50, 70, 128, (256, 256))

    def sampled(crop, number):
        height, width = crop.shape[2:]
        sides = [side // 8 * 8 for side in (height, width)]
        latent = {"samples": demo["vae"].encode(resize(crop, sides).movedim(1, -1).contiguous())}
        prompts = [demo["clip"].encode_from_tokens_scheduled(demo["clip"].tokenize(text)) for text in (CAPTION, "blur")]
        out = nodes.common_ksampler(demo["model"], 0, 20, 4.0, "euler", "normal", *prompts, latent, denoise=denoise)
        return resize(demo["vae"].decode(out[0]["samples"]).movedim(-1, 1).float(), (height, width))

    ours, _ = restore_region(image=damaged.movedim(1, -1).clone(), mask=face, caption=CAPTION, feather=16)
    theirs = restore_regions(damaged, find_regions(face[0]), sampled)
    ours, theirs, original = (picture[..., 50:178, 70:198] for picture in (ours.movedim(-1, 1), theirs, original))
    assert psnr(ours, original) > psnr(theirs, original) + 1
    assert gmsd(ours, original) < gmsd(theirs, original)
