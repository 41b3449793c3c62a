import itertools

import pytest
import torch

from supir_core.restoration.tiling import (
    TilePlan,
    count_calls,
    crop_tiles,
    exact_weights,
    grid_shift,
    smooth_window,
    starts,
    tile_denoiser,
    tile_grid,
    tile_weights,
)
from supir_core.supir.sampling import ddpm_sigmas


class Identity:
    """Denoises to the input itself, and counts its calls."""

    def __init__(self):
        self.calls = 0

    def crop(self, tiles):
        def denoise(x, sigma, schedule_sigma):
            self.calls += 1
            assert len(x) == len(sigma) == len(tiles)
            return x

        return denoise


def test_the_published_grid():
    assert starts(512, 128, 64) == list(range(0, 385, 64))
    assert starts(28, 16, 8) == [0, 8, 12]
    assert starts(16, 16, 8) == [0]
    assert starts(5, 16, 8) == [0]


@pytest.mark.parametrize("size", [(1, 1), (16, 16), (17, 40), (100, 33)])
@pytest.mark.parametrize("overlap", [0, 3, 8, 15])
def test_every_pixel_is_covered_wherever_the_grid_stands(size, overlap):
    stride = 16 - overlap
    for shift in itertools.product((0, stride // 2, stride - 1), repeat=2):
        covered = torch.zeros(size)
        for tile in tile_grid(*size, TilePlan.square(16, overlap), shift):
            assert tile.top + tile.height <= size[0]
            assert tile.left + tile.width <= size[1]
            covered[tile.top : tile.top + tile.height, tile.left : tile.left + tile.width] = 1
        assert covered.all()


def test_a_shifted_tile_keeps_the_place_of_its_nearest_neighbour():
    plain = {tile.number for tile in tile_grid(40, 56, TilePlan.square(16, 4))}
    assert plain == set(range(len(plain)))
    assert {tile.number for tile in tile_grid(40, 56, TilePlan.square(16, 4), (5, 7))} <= plain


@pytest.mark.parametrize("overlap", [-1, 16, 20])
def test_an_overlap_without_a_stride_is_refused(overlap):
    with pytest.raises(ValueError, match="overlap must be"):
        tile_grid(64, 64, TilePlan.square(16, overlap))


def test_smooth_windows_add_up_to_one():
    window = smooth_window(16, 6)
    assert torch.allclose(window[-6:] + window[:6], torch.ones(6, dtype=torch.float64))
    assert torch.equal(window, window.flip(0))
    assert (smooth_window(16, 0) == 1).all()


def test_the_published_window_is_symmetric_across_only():
    weights = exact_weights(16, 16)
    assert torch.allclose(weights, weights.flip(1))
    assert not torch.allclose(weights, weights.flip(0))


def test_an_unknown_blend_is_refused():
    with pytest.raises(ValueError, match='"smooth" or "exact"'):
        tile_weights(TilePlan.square(8, 2), "hard")


@pytest.mark.parametrize("blend", ["smooth", "exact"])
@pytest.mark.parametrize("shifting", [False, True])
@pytest.mark.parametrize("size", [(5, 9), (30, 41)])
def test_blending_what_is_not_changed_changes_nothing(blend, shifting, size):
    x = torch.randn(1, 4, *size)
    tiled = tile_denoiser(Identity(), TilePlan.square(16, 4), blend=blend, shifting=shifting, tiles_per_call=2)
    assert torch.allclose(tiled(x, torch.ones(1), 3.0), x, atol=1e-5)


def test_tiles_are_cut_tile_major():
    x = torch.arange(2 * 4 * 8 * 8.0).view(2, 4, 8, 8)
    tiles = tile_grid(8, 8, TilePlan.square(4, 0))
    cut = crop_tiles(x, tiles)
    assert torch.equal(cut[:2], x[..., :4, :4])
    assert torch.equal(cut[2:4], x[..., :4, 4:])


def test_the_grid_moves_at_every_step_and_fills_the_stride():
    shifts = [grid_shift(sigma, (96, 96)) for sigma in ddpm_sigmas(50)[:-1].tolist()]
    assert shifts == [grid_shift(sigma, (96, 96)) for sigma in ddpm_sigmas(50)[:-1].tolist()]
    for axis in range(2):
        places = sorted(shift[axis] for shift in shifts)
        assert places[0] >= 0
        assert places[-1] < 96
        gaps = [b - a for a, b in itertools.pairwise([*places, places[0] + 96])]
        assert max(gaps) <= 12  # even spacing would be 2


@pytest.mark.parametrize("shifting", [False, True])
def test_calls_are_counted_right(shifting):
    sigmas = ddpm_sigmas(7)[:-1].tolist()
    identity = Identity()
    tiled = tile_denoiser(identity, TilePlan.square(16, 4), shifting=shifting, tiles_per_call=2)
    for sigma in sigmas:
        tiled(torch.randn(1, 4, 30, 41), torch.ones(1), sigma)
    counted = count_calls((30, 41), TilePlan.square(16, 4), sigmas, shifting=shifting, tiles_per_call=2)
    assert counted == identity.calls


def test_the_tile_hook_can_stop_the_work_before_a_call():
    identity = Identity()

    def stop():
        if identity.calls == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tile_denoiser(identity, TilePlan.square(16, 4), on_tile=stop)(torch.randn(1, 4, 30, 41), torch.ones(1), 3.0)
    assert identity.calls == 2
