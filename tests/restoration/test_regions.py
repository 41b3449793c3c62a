"""Parts of a picture: cut out, restored, pasted back, and nothing else touched."""

import numpy as np
import pytest
import torch
from PIL import Image

from supir_core import preset
from supir_core.restoration.canvas import Restored
from supir_core.restoration.regions import box_mask, find_regions, fit_mask, restore_masked, restore_regions


def discs(size, places, radius):
    rows, columns = torch.meshgrid(*(torch.arange(side) for side in size), indexing="ij")
    mask = torch.zeros(size)
    for top, left in places:
        mask[(rows - top) ** 2 + (columns - left) ** 2 < radius**2] = 1
    return mask


def noise(size, channels=3):
    return torch.rand(1, channels, *size, generator=torch.Generator().manual_seed(0))


def whiten(crop, number):
    return torch.ones_like(crop)


@pytest.mark.parametrize("count", [0, 1, 5, 40])
def test_outside_the_mask_every_bit_stays(count):
    size = (320, 400)
    mask = discs(size, [(20 + 40 * (n // 8), 25 + 48 * (n % 8)) for n in range(count)], 8)
    picture = noise(size, 4)
    regions = find_regions(mask, feather=4)
    result = restore_regions(picture, regions, whiten)
    assert len(regions) == count
    assert torch.equal(result[:, :, mask == 0], picture[:, :, mask == 0])
    assert torch.equal(result[:, 3], picture[:, 3])
    assert count == 0 or not torch.equal(result, picture)


def test_a_mask_of_everything_is_one_region_of_the_whole_picture():
    picture = noise((96, 128))
    (region,) = find_regions(torch.ones(96, 128))
    assert region.box == (0, 0, 96, 128)
    assert bool((region.weights == 1).all())
    assert torch.equal(restore_regions(picture, [region], whiten), torch.ones_like(picture))


def test_a_region_is_cut_out_with_its_context_and_fades_in_inside_its_mask():
    mask = torch.zeros(400, 400)
    mask[100:200, 150:250] = 1
    (region,) = find_regions(mask, context=2.0, feather=10)
    assert region.box == (50, 100, 250, 300)
    row = region.weights[100]
    assert bool((row[:50] == 0).all()) and bool((row[150:] == 0).all())
    assert bool((row[60:140] == 1).all())
    assert bool((row[50:60].diff() > 0).all()) and 0 < row[50] < 0.05


@pytest.mark.parametrize("feather", [0, 10])
def test_without_context_the_edges_fade_all_the_same(feather):
    mask = torch.zeros(300, 300)
    mask[100:200, 100:200] = 1
    (region,) = find_regions(mask, context=1.0, feather=feather)
    assert region.box == (100, 100, 200, 200)
    assert bool((region.weights[0] == 1).all()) is (feather == 0)


def test_at_the_border_of_the_picture_nothing_fades():
    mask = torch.zeros(200, 200)
    mask[:80, :80] = 1
    (region,) = find_regions(mask, feather=10)
    assert region.weights[0, 0] == region.weights[0, 60] == 1
    assert 0 < region.weights[0, 79] < 0.05


def test_parts_that_nearly_touch_are_one():
    assert len(find_regions(discs((200, 200), [(100, 60), (100, 100)], 18), feather=8)) == 1
    assert len(find_regions(discs((200, 200), [(100, 60), (100, 100)], 18), feather=2)) == 2
    assert len(find_regions(discs((200, 200), [(100, 40), (100, 150)], 18), apart=False)) == 1


def test_a_small_region_is_shown_with_at_least_64_pixels():
    mask = torch.zeros(300, 300)
    mask[150, 150] = 1
    (region,) = find_regions(mask)
    assert [region.box[2] - region.box[0], region.box[3] - region.box[1]] == [65, 65]


def test_a_soft_mask_blends():
    mask = torch.full((64, 64), 0.5)
    result = restore_regions(torch.zeros(1, 3, 64, 64), find_regions(mask), whiten)
    assert torch.equal(result, torch.full((1, 3, 64, 64), 0.5))


def test_colours_are_matched_to_what_surrounds_the_region():
    mask = torch.zeros(128, 128)
    mask[40:80, 40:80] = 1
    picture = noise((128, 128)) * 0.5
    tinted = restore_regions(
        picture, find_regions(mask, feather=0), lambda crop, _: crop + torch.tensor([0.2, 0.1, -0.1])[:, None, None]
    )
    assert torch.allclose(tinted, picture, atol=1e-6)


def test_a_later_region_sees_what_an_earlier_one_made():
    first, second = (torch.zeros(100, 200) for _ in range(2))
    first[20:80, 20:110], second[20:80, 90:180] = 1, 1
    regions = [region for mask in (first, second) for region in find_regions(mask, context=1.2, feather=0)]
    seen = []

    def restore(crop, number):
        seen.append(crop.max().item())
        height, width = crop.shape[2:]
        return torch.nn.functional.pad(torch.ones(1, 3, height - 40, width - 40), (20, 20, 20, 20))

    restore_regions(torch.zeros(1, 3, 100, 200), regions, restore)
    assert seen[0] == 0 and seen[1] > 0


def test_boxes_become_masks_within_the_picture():
    masks = box_mask((50, 60), [(10, 20, 5, 6), (-5, -5, 10, 10), (58, 48, 10, 10), (70, 0, 5, 5)])
    assert [int(mask.sum()) for mask in masks] == [30, 25, 4, 0]
    assert masks[0][20:26, 10:15].all()


@pytest.mark.parametrize("mask", [torch.ones(1, 8, 8), torch.full((8, 8), 2.0), torch.full((8, 8), torch.nan)])
def test_what_is_no_mask_is_refused(mask):
    with pytest.raises(ValueError, match="a mask is"):
        find_regions(mask)


@pytest.mark.parametrize("given", [{"context": 0.5}, {"context": float("nan")}, {"feather": -1}, {"feather": 1.5}])
def test_a_region_without_sense_is_refused(given):
    (name,) = given
    with pytest.raises(ValueError, match=f"{name} must be within"):
        find_regions(torch.ones(8, 8), **given)


def test_masks_of_any_kind_are_taken():
    bits = np.zeros((40, 40), np.uint8)
    bits[10:20, 10:20] = 255
    kinds = [bits, bits > 0, bits / 255, torch.from_numpy(bits), Image.fromarray(bits)]
    masks = [fit_mask(kind, (40, 40)) for kind in kinds]
    assert all(torch.equal(mask, torch.from_numpy(bits / 255).float()) for mask in masks)
    assert fit_mask(bits // 2, (40, 40)).max() == pytest.approx(127 / 255)
    for shape in ((1, 40, 40), (0, 40)):
        with pytest.raises(ValueError, match=r"a mask is \(H, W\), got the shape"):
            fit_mask(torch.ones(shape), (40, 40))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("mask.png", "got 'mask.png'; read it first"),
        (None, "got None; read it first"),
        (torch.ones(8, 8, dtype=torch.uint8), "torch.uint8 goes from 0 to 255, got at most 1; scale it first"),
        (255 * torch.ones(8, 8), "torch.float32 goes from 0 to 1, got at most 255; scale it first"),
        (np.full((8, 8), 65535, np.uint16), "torch.uint16 goes from 0 to 1, got at most 65535; scale it first"),
    ],
)
def test_a_mask_of_another_form_or_scale_is_refused(wrong, said):
    with pytest.raises(ValueError, match=f"^a mask .*{said}$"):
        fit_mask(wrong, (40, 40))


def blackened(picture, settings, *, scale, caption, seeds):
    seeds.append(settings.seed)
    return Restored(torch.zeros_like(picture), picture)


@pytest.mark.parametrize(
    "picture",
    [
        Image.new("RGB", (80, 64), (10, 20, 30)),
        np.full((64, 80, 3), 200, np.uint8),
        torch.rand(1, 4, 64, 80).half(),
        torch.rand(2, 3, 64, 80).double(),
    ],
)
def test_pictures_of_any_kind_keep_every_bit_outside_the_mask(picture):
    seeds = []
    mask = discs((64, 80), [(20, 20), (40, 60)], 6)
    restored = restore_masked(blackened, picture, mask, preset("quality"), seed=2**64 - 1, feather=0, seeds=seeds)
    assert seeds == [2**64 - 1, 0]
    assert type(restored.image) is type(picture)
    before, after = (
        kind if isinstance(kind, torch.Tensor) else torch.from_numpy(np.array(kind)).movedim(-1, 0)[None]
        for kind in (picture, restored.image)
    )
    assert after.dtype == before.dtype
    assert torch.equal(after[..., mask == 0], before[..., mask == 0])


def test_settings_by_name_are_refused():
    with pytest.raises(ValueError, match=r"settings must be .*Settings.*, got str"):
        restore_masked(blackened, noise((64, 64)), torch.ones(64, 64), "quality", seeds=[])
