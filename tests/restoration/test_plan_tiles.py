"""Tiles planned to fit: they cover, blend to one, stay within bounds and cost no more than tiles of a fixed side."""

import json
import random
import statistics
import subprocess
import sys
from math import prod
from pathlib import Path

import pytest
import torch

from supir_core.instantir.settings import InstantSettings
from supir_core.restoration.plan_tiles import Bounds, Cost, plan_tiles
from supir_core.restoration.tiling import PUBLISHED, TilePlan, tile_denoiser, tile_grid
from supir_core.supir.settings import Settings

ROOT = Path(__file__).parents[2]
FIXED = TilePlan.square(128, 32)


def cost_of(plan, size):
    return prod(plan.counts(*size)) * Settings.cost.of(prod(plan.fit(*size).window))


def sizes(count, draw):
    """(height, width) in latent pixels, multiples of 64 pixels as pictures are padded to."""
    chance = random.Random(5)
    for _ in range(count):
        yield tuple(max(8, round(side / 64) * 8) for side in draw(chance))


def any_shape(chance):
    return [64 * 128 ** chance.random() for _ in "hw"]


def photograph(chance):
    """2 to 64 megapixels, at most 4:1."""
    pixels, aspect = 2e6 * 32 ** chance.random(), 4 ** chance.uniform(-1, 1)
    return (pixels * aspect) ** 0.5, (pixels / aspect) ** 0.5


class Identity:
    def crop(self, tiles):
        return lambda x, sigma, schedule_sigma: x


def joined_along(length, window, overlap):
    """A strip of random numbers as tiles along one side blend it: as it was, if they cover it and weigh one in all."""
    strip = torch.rand(1, 1, length, 8)
    tiled = tile_denoiser(Identity(), TilePlan((window, 8), (overlap, 0)))
    return tiled(strip, torch.ones(1), 1.0), strip


def test_every_plan_covers_blends_to_one_is_within_bounds_and_no_dearer_than_fixed_tiles():
    settings = Settings()
    for size in sizes(3000, any_shape):
        plan = settings.plan(*size)
        assert cost_of(plan, size) <= cost_of(FIXED, size)
        assert 64 * prod(plan.window) <= 1.4e6
        assert len(tile_grid(*size, plan)) == prod(plan.counts(*size))
        for length, window, overlap in zip(size, *plan, strict=True):
            assert window == length <= 168 or 104 <= window <= 168
            assert overlap >= 16 or window == length
            assert window % 8 == 0
            joined, strip = joined_along(length, window, overlap)
            assert torch.allclose(joined, strip, atol=1e-6)


@pytest.mark.parametrize("shifting", [False, True])
@pytest.mark.parametrize("size", [(192, 256), (176, 512), (40, 600)])
def test_rectangular_tiles_with_overlaps_that_differ_give_back_what_is_not_changed(size, shifting):
    plan = Settings().plan(*size)
    assert plan.window[0] != plan.window[1] or plan.overlap[0] != plan.overlap[1]
    x = torch.randn(1, 4, *size)
    for sigma in (3.0, 0.4):
        joined = tile_denoiser(Identity(), plan, shifting=shifting)(x, torch.ones(1), sigma)
        assert torch.allclose(joined, x, atol=1e-5)


@pytest.mark.parametrize(
    ("pixels", "words"),
    [
        ((1024, 1024), "1 tile of 1024x1024 pixels"),
        ((2048, 2048), "2x2 tiles of 1088x1088 pixels that share 128x128"),
        ((1536, 2048), "2x2 tiles of 1088x832 pixels that share 128x128"),
        ((3072, 2048), "2x3 tiles of 1088x1152 pixels that share 128x192"),
        ((4096, 4096), "4x4 tiles of 1152x1152 pixels that share 168x168"),
    ],
)
def test_the_plan_of_usual_sizes(pixels, words):
    size = tuple(side // 8 for side in pixels)
    assert Settings().plan(*size).describe(*size) == words


def test_a_picture_that_fits_is_one_tile_up_to_the_largest_area():
    assert Settings().plan(160, 136) == TilePlan((160, 136), (0, 0))
    assert prod(Settings().plan(160, 144).counts(160, 144)) == 2
    assert Settings(tile_most=2048, tile_area=4.2).plan(256, 256) == TilePlan((256, 256), (0, 0))


def test_among_equals_the_most_square_and_then_the_largest_overlap():
    alike = plan_tiles((64, 96), Cost(0.0, 0.0), Bounds(32, 48, 48 * 48, 8))
    assert alike == TilePlan((48, 48), (32, 24))


def test_the_published_blend_has_the_published_tiles():
    assert Settings(blend="exact").plan(512, 512) == PUBLISHED
    assert Settings(blend="exact", tile=512, overlap=256).plan(512, 512) == TilePlan.square(64, 32)


def test_instantir_plans_by_its_own_cost():
    assert InstantSettings.cost.square / InstantSettings.cost.linear > Settings.cost.square / Settings.cost.linear
    assert prod(InstantSettings().plan(256, 256).counts(256, 256)) == 4


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tile_least": 1408}, "tile_least must be at most tile_most"),
        ({"tile_area": 0.5}, "its square at most tile_area"),
        ({"overlap": 832}, "less than the least tile"),
        ({"tile_least": 100}, "multiple of 64"),
    ],
)
def test_bounds_that_no_tile_meets_are_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        Settings(**changes)
    with pytest.raises(ValueError, match="no tile has sides"):
        plan_tiles((256, 256), Settings.cost, Bounds(128, 128, 100, 16))


def test_a_plan_costs_little_more_than_the_bare_pixels():
    bare = Settings.cost.of(128 * 128) / 128**2
    over = [cost_of(Settings().plan(*size), size) / (prod(size) * bare) for size in sizes(1000, photograph)]
    assert max(over) <= 1.40
    assert statistics.median(over) <= 1.25


def test_the_benchmark_counts_what_a_plan_saves():
    most = {  # of fixed tiles of 1024 that share 256, of the published ones
        "2048x2048": (0.55, 0.55),
        "1536x2048": (0.65, 0.65),
        "3072x3072": (0.78, 0.50),
        "4096x4096": (0.85, 0.45),
        "8192x8192": (0.70, 0.40),
    }
    told = subprocess.run(
        [sys.executable, "benchmarks/tiles.py", "--count", *most], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    lines = [json.loads(line) for line in told.splitlines()]
    assert [line["size"] for line in lines] == list(most)
    assert [line["tiles"] for line in lines] == [4, 4, 9, 16, 63]
    for line in lines:
        default, published = most[line["size"]]
        assert line["planned_over_default"] <= default
        assert line["planned_over_published"] <= published
        assert 1 < line["planned_over_bound"] <= 1.40
