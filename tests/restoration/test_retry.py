"""A full memory while a picture is sampled: smaller tiles, the same seed."""

import logging

import pytest
import torch

from supir_core.restoration.retry import MemoryFullError, smaller_tiles, with_smaller_tiles
from supir_core.supir.settings import preset


def sampling_that_fits(most):
    tried = []

    def run(settings):
        tried.append((settings.tile, settings.tiles_per_call, settings.seed))
        if settings.tile * settings.tiles_per_call > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return torch.zeros(1)

    return run, tried


def test_tiles_shrink_until_they_fit(caplog):
    run, tried = sampling_that_fits(600)
    with caplog.at_level(logging.WARNING):
        with_smaller_tiles(preset("quality", tiles_per_call=4, seed=5), (4096, 4096), run)
    assert tried == [(1024, 4, 5), (1024, 1, 5), (768, 1, 5), (576, 1, 5)]
    assert "begins again with tiles of 576 pixels" in caplog.text


def test_tiles_of_less_than_512_pixels_are_not_tried():
    run, tried = sampling_that_fits(100)
    with pytest.raises(MemoryFullError, match="tiles of 512 pixels"):
        with_smaller_tiles(preset("quality"), (4096, 4096), run)
    assert [tile for tile, _, _ in tried] == [1024, 768, 576, 512]


def test_a_small_picture_is_cut_by_its_own_size():
    assert smaller_tiles(preset("quality"), (832, 640)).tile == 576
    assert smaller_tiles(preset("quality", tile=512), (4096, 4096)) is None


def test_the_overlap_shrinks_with_the_tile():
    smaller = smaller_tiles(preset("quality", overlap=256), (4096, 4096))
    assert (smaller.tile, smaller.overlap) == (768, 192)


def test_tiles_with_captions_of_their_own_stay():
    run, tried = sampling_that_fits(100)
    with pytest.raises(MemoryFullError):
        with_smaller_tiles(preset("quality"), (4096, 4096), run, fixed=True)
    assert len(tried) == 1


def test_other_errors_are_not_taken_for_a_full_memory():
    def run(settings):
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes do not fit"):
        with_smaller_tiles(preset("quality"), (64, 64), run)
