"""The guided denoiser: rows, schedules, tiles."""

from dataclasses import replace

import pytest
import torch

from supir_core.restoration.denoiser import ConditioningCache, LinearSchedule
from supir_core.restoration.tiling import TilePlan, tile_denoiser, tile_grid
from supir_core.sdxl.conditioning import Conditioning
from supir_core.sdxl.schedule import nearest_index, training_sigmas
from supir_core.supir.denoiser import GuidedDenoiser

SIGMA = torch.tensor([2.0, 2.0])


def conditioning(model, rows=1):
    config = model.unet.config
    return Conditioning(torch.randn(rows, 77, config.context_width), torch.randn(rows, config.vector_width))


@pytest.fixture
def denoiser(demo_model):
    return GuidedDenoiser(
        demo_model.unet,
        demo_model.adaptor,
        torch.randn(2, 4, 16, 24),
        [conditioning(demo_model)],
        conditioning(demo_model),
        LinearSchedule(7.0, 4.0),
        LinearSchedule(1.0, 1.0),
    )


@pytest.fixture
def calls(demo_model, monkeypatch):
    """Rows of every call of the UNet and of the adaptor."""
    seen = {"unet": [], "adaptor": []}
    for name, network in (("unet", demo_model.unet), ("adaptor", demo_model.adaptor)):
        forward = network.forward

        def counted(*args, forward=forward, name=name):
            seen[name].append(len(args[0]))
            return forward(*args)

        monkeypatch.setattr(network, "forward", counted)
    return seen


@torch.no_grad()
def test_sigma_is_snapped_to_the_training_sigmas():
    table = training_sigmas()
    assert len(table) == 1000
    assert table[-1].item() == pytest.approx(14.6146, abs=1e-4)
    between = table[:-1] + 0.4 * table.diff()
    assert torch.equal(nearest_index(between), torch.arange(999))


@torch.no_grad()
def test_both_rows_go_through_the_networks_together(denoiser, calls):
    denoiser(torch.randn(2, 4, 16, 24), SIGMA, 2.0)
    assert calls == {"unet": [4], "adaptor": [4]}


@torch.no_grad()
def test_the_unconditional_row_is_skipped_while_cfg_is_one(denoiser, calls):
    x = torch.randn(2, 4, 16, 24)
    alone = replace(denoiser, cfg=LinearSchedule(1.0, 1.0))(x, SIGMA, 2.0)
    assert calls == {"unet": [2], "adaptor": [2]}
    nearly = replace(denoiser, cfg=LinearSchedule(1 + 1e-6, 1 + 1e-6))(x, SIGMA, 2.0)
    assert torch.allclose(alone, nearly, atol=1e-4)


@torch.no_grad()
def test_strength_zero_leaves_the_adaptor_out(denoiser, calls):
    replace(denoiser, control=LinearSchedule(0.0, 0.0))(torch.randn(2, 4, 16, 24), SIGMA, 2.0)
    assert calls["adaptor"] == []


@torch.no_grad()
def test_cfg_follows_the_churned_sigma_and_control_the_other(denoiser):
    x = torch.randn(2, 4, 16, 24)
    cfg, control = LinearSchedule(7.0, 1.0), LinearSchedule(0.2, 1.0)
    scheduled = replace(denoiser, cfg=cfg, control=control)(x, SIGMA, 1.5)
    flat = replace(denoiser, cfg=LinearSchedule(*[cfg.at(2.0)] * 2), control=LinearSchedule(*[control.at(1.5)] * 2))
    assert torch.equal(scheduled, flat(x, SIGMA, 0.0))


@torch.no_grad()
def test_a_batch_equals_its_rows_one_by_one(denoiser):
    x = torch.randn(2, 4, 16, 24)
    both = denoiser(x, SIGMA, 2.0)
    for row in range(2):
        alone = replace(denoiser, z_lq=denoiser.z_lq[row : row + 1])(x[row : row + 1], SIGMA[:1], 2.0)
        assert torch.allclose(both[row], alone[0], atol=1e-4)


@torch.no_grad()
def test_one_window_over_the_latent_equals_no_tiles(denoiser):
    x = torch.randn(2, 4, 16, 24)
    for window in (24, 64):
        tiled = tile_denoiser(denoiser, TilePlan.square(window, 8))(x, SIGMA, 2.0)
        assert torch.allclose(tiled, denoiser(x, SIGMA, 2.0), atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("shifting", [False, True])
def test_tiles_in_one_call_or_in_many_are_the_same(denoiser, shifting):
    x = torch.randn(2, 4, 16, 24)
    one, three = (
        tile_denoiser(denoiser, TilePlan.square(12, 4), shifting=shifting, tiles_per_call=count)(x, SIGMA, 2.0)
        for count in (1, 3)
    )
    assert torch.allclose(one, three, atol=1e-4)


@torch.no_grad()
def test_each_tile_gets_its_own_prompt(denoiser, demo_model):
    tiles = tile_grid(16, 24, TilePlan.square(12, 0))
    prompts = [conditioning(demo_model) for _ in tiles]
    x = torch.randn(2, 4, 16, 24)
    together = tile_denoiser(replace(denoiser, positives=prompts), TilePlan.square(12, 0), tiles_per_call=4)(
        x, SIGMA, 2.0
    )
    tile = tiles[1]
    where = (..., slice(tile.top, tile.top + 4), slice(tile.left, tile.left + 12))  # not shared with another
    alone = replace(denoiser, positives=prompts[1:2]).crop([tile])(x[..., :12, 12:], SIGMA, 2.0)
    assert torch.allclose(together[where], alone[..., :4, :], atol=1e-4)


def test_prompts_for_tiles_without_tiles_are_refused(denoiser, demo_model):
    many = replace(denoiser, positives=[conditioning(demo_model)] * 3)
    with pytest.raises(ValueError, match="3 positive prompts"):
        many(torch.randn(2, 4, 16, 24), SIGMA, 2.0)


def test_a_latent_of_another_size_is_refused(denoiser):
    with pytest.raises(ValueError, match=r"x is \(2, 4, 8, 8\) but z_lq is \(2, 4, 16, 24\)"):
        denoiser(torch.randn(2, 4, 8, 8), SIGMA, 2.0)


@torch.no_grad()
def test_the_text_is_read_once_over_all_steps_and_tiles(denoiser, demo_model, monkeypatch):
    layer = demo_model.unet.middle_block[1].transformer_blocks[0].attn2
    read, forward = [], layer.to_k.forward
    monkeypatch.setattr(layer.to_k, "forward", lambda x: read.append(1) or forward(x))
    x = torch.randn(2, 4, 16, 24)
    tiled = tile_denoiser(denoiser, TilePlan.square(12, 4))
    first, again = tiled(x, SIGMA, 2.0), tiled(x, SIGMA, 2.0)
    assert len(read) == 1
    assert torch.equal(first, again)
    other = replace(denoiser, positives=[conditioning(demo_model)])  # shares what was kept, and must not use it
    fresh = replace(other, texts=ConditioningCache())
    assert torch.equal(other(x, SIGMA, 2.0), fresh(x, SIGMA, 2.0))


def test_the_nearest_training_level_is_by_linear_distance():
    """As released: between two levels there are some that are nearer to one by distance, to the other by ratio."""
    low, high = training_sigmas()[[998, 999]].tolist()
    between = ((low * high) ** 0.5 + (low + high) / 2) / 2
    assert nearest_index(torch.tensor([between])).item() == 998


@pytest.mark.parametrize("shape", [(2, 16, 16, 24), (2, 4, 1, 16, 24)])
def test_a_latent_of_another_family_is_named(denoiser, shape):
    with pytest.raises(ValueError, match=r"expected z_lq of SDXL, of shape \(B, 4, h, w\), got"):
        replace(denoiser, z_lq=torch.zeros(shape))
