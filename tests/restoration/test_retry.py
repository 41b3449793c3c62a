"""A full memory while a picture is sampled: smaller tiles, the same seed."""

import itertools
import logging
from dataclasses import replace

import pytest
import torch

from supir_core.restoration.retry import fitting_tiles, smaller_tiles, with_smaller_tiles
from supir_core.sdxl.memory import MemoryFullError
from supir_core.supir.settings import preset

LARGE = (512, 512)
FIXED = preset("quality", tile=1024)


def sampling_that_fits(most):
    tried = []

    def run(settings):
        sides = tuple(8 * side for side in settings.plan(*LARGE).window)
        tried.append((sides, settings.tiles_per_call, settings.seed))
        if max(sides) * settings.tiles_per_call > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return torch.zeros(1)

    return run, tried


def test_tiles_shrink_until_they_fit(caplog):
    run, tried = sampling_that_fits(600)
    with caplog.at_level(logging.WARNING):
        with_smaller_tiles(replace(FIXED, tiles_per_call=4, seed=5), LARGE, run)
    sides = [(1024, 4, 5), (1024, 1, 5), (768, 1, 5), (576, 1, 5)]
    assert tried == [((side, side), *rest) for side, *rest in sides]
    assert "begins again with 10x10 tiles of 576x576 pixels" in caplog.text


def test_planned_tiles_shrink_too():
    run, tried = sampling_that_fits(100)
    with pytest.raises(MemoryFullError, match="tiles of 512x512 pixels"):
        with_smaller_tiles(preset("quality"), LARGE, run)
    areas = [height * width for (height, width), _, _ in tried]
    assert areas[0] == 1152 * 1152
    assert all(after <= before * 9 / 16 for before, after in itertools.pairwise(areas[:-1]))
    assert areas[-1] == 512 * 512


def test_tiles_of_less_than_512_pixels_are_not_tried():
    run, tried = sampling_that_fits(100)
    with pytest.raises(MemoryFullError, match="tiles of 512x512 pixels"):
        with_smaller_tiles(FIXED, LARGE, run)
    assert [height for (height, _), _, _ in tried] == [1024, 768, 576, 512]


def test_a_small_picture_is_cut_by_its_own_size():
    assert smaller_tiles(FIXED, (104, 80)).tile == 576
    assert smaller_tiles(replace(FIXED, tile=512), LARGE) is None
    assert smaller_tiles(preset("quality"), (64, 64)) is None


def test_the_overlap_shrinks_with_the_tile():
    smaller = smaller_tiles(FIXED, LARGE)
    assert (smaller.tile, smaller.overlap) == (768, 192)
    published = smaller_tiles(preset("quality", blend="exact"), LARGE)
    assert (published.tile, published.overlap) == (768, 384)


@pytest.mark.parametrize("overlap", [None, 600])
def test_planned_tiles_are_no_larger_than_memory_takes(overlap):
    settings = preset("quality", overlap=overlap)
    assert fitting_tiles(settings, LARGE, 10**7) is settings
    assert fitting_tiles(FIXED, LARGE, 0) is FIXED
    for pixels in (10**6, 640 * 640, 0):
        height, width = fitting_tiles(settings, LARGE, pixels).plan(*LARGE).window
        assert 64 * height * width <= max(pixels, 512 * 512)


def test_tiles_with_captions_of_their_own_stay():
    run, tried = sampling_that_fits(100)
    with pytest.raises(MemoryFullError):
        with_smaller_tiles(preset("quality"), LARGE, run, fixed=True)
    assert len(tried) == 1


def test_other_errors_are_not_taken_for_a_full_memory():
    def run(settings):
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes do not fit"):
        with_smaller_tiles(preset("quality"), (64, 64), run)
