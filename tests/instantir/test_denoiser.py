"""Properties of InstantIR's parts and of its step."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from supir_core.command.demo import UNET_CONFIG
from supir_core.instantir.adaptive import Adaptive
from supir_core.instantir.denoiser import build_denoiser
from supir_core.instantir.image_attention import KeyValue
from supir_core.instantir.previewer import LowRank
from supir_core.instantir.sampling import Control, instantir_sigmas, sample_ddpm, step_at
from supir_core.restoration.noise import seeded_noise
from supir_core.restoration.strength import start_from
from supir_core.restoration.tiling import TilePlan, tile_denoiser
from supir_core.sdxl.blocks import doubled_conv
from supir_core.sdxl.conditioning import Conditioning
from supir_core.sdxl.schedule import training_sigmas

from ..small_instantir import FEATURES, small_networks

DATA = Path(__file__).parents[1] / "data"
STEPS = 3


@pytest.fixture(scope="module")
def networks():
    return small_networks()


def conditions(rows=1):
    def random():
        text = torch.randn(1, 7, UNET_CONFIG.context_width)
        return Conditioning(text, torch.randn(1, UNET_CONFIG.vector_width))

    return random(), random()


def inputs(height=16, width=16, rows=1):
    return {
        "z_lq": torch.randn(rows, 4, height, width),
        "features": (torch.randn(1, 9, FEATURES), torch.randn(rows, 9, FEATURES)),
        "prompts": conditions(),
        "sigmas": instantir_sigmas(STEPS),
    }


def run(denoiser, noise_seeds=(0,), callback=None):
    sigmas = denoiser.image.sigmas if hasattr(denoiser, "image") else instantir_sigmas(STEPS)
    noise = seeded_noise(noise_seeds)
    z_lq = denoiser.z_lq
    return sample_ddpm(denoiser, start_from(z_lq, noise(z_lq), sigmas), sigmas, noise, callback=callback)


# --- the UNet without and with what is added to it


@torch.no_grad()
def test_without_previewer_aggregator_and_image_tokens_it_is_plain_sdxl(networks):
    given = inputs()
    denoiser = build_denoiser(networks, **given, control=Control(strength=0))
    zeros = [KeyValue(*(torch.zeros_like(part) for part in kv)) for kv in denoiser.image.at(0, False, 1)]
    no_image = SimpleNamespace(sigmas=given["sigmas"], at=lambda *_: zeros)
    denoiser = replace(denoiser, image=no_image)
    x, sigma = torch.randn(1, 4, 16, 16) * 5, given["sigmas"][:1]
    both = Conditioning.concatenate(given["prompts"])
    z = (x / (1 + sigma**2).sqrt()).repeat(2, 1, 1, 1)
    timesteps = torch.full((2,), (training_sigmas() == sigma).nonzero().item())
    eps = networks.unet(z, timesteps, both.context, both.vector)
    plain = x - sigma * (eps[:1] + 7 * (eps[1:] - eps[:1]))
    assert torch.equal(denoiser(x, sigma, sigma.item()), plain)


@torch.no_grad()
def test_each_of_the_parts_changes_the_result(networks):
    given = inputs()
    whole = run(build_denoiser(networks, **given))
    for control in (Control(strength=0), Control(strength=0.5), Control(preview_start=1.0), Control(end=0.4)):
        other = run(build_denoiser(networks, **given, control=control))
        assert (whole - other).abs().mean() > 1e-3 * whole.abs().mean()
    other = run(build_denoiser(networks, **(given | {"features": inputs()["features"]})))
    assert (whole - other).abs().mean() > 1e-3 * whole.abs().mean()


@torch.no_grad()
def test_switching_the_previewer_off_restores_unet_and_adapter_bit_for_bit(networks):
    unet, adapter = networks.unet, networks.adapter
    x, t, y = torch.randn(2, 4, 16, 16), torch.tensor([5, 5]), torch.randn(2, UNET_CONFIG.vector_width)
    text, features = torch.randn(2, 7, UNET_CONFIG.context_width), torch.randn(2, 9, FEATURES)
    before = unet(x, t, text, y), adapter.image_proj(features)
    weights = [w.clone() for net in (unet, adapter) for w in net.parameters()]
    with networks.previewer.applied_to(unet, adapter):
        branched = unet(x, t, text, y), adapter.image_proj(features)
    with pytest.raises(RuntimeError, match="stopped"), networks.previewer.applied_to(unet, adapter):
        raise RuntimeError("stopped")
    after = unet(x, t, text, y), adapter.image_proj(features)
    for old, other, new in zip(before, branched, after, strict=True):
        assert torch.equal(old, new)
        assert (old - other).abs().mean() > 1e-3 * old.abs().mean()
    kept = [w for net in (unet, adapter) for w in net.parameters()]
    assert all(torch.equal(old, new) for old, new in zip(weights, kept, strict=True))
    assert not any("forward" in vars(module) for net in (unet, adapter) for module in net.modules())


@torch.no_grad()
@pytest.mark.parametrize("stride", [1, 2])
def test_a_branch_is_its_product_added_to_the_weight(stride):
    conv, linear = torch.nn.Conv2d(8, 12, 3, stride, 1), torch.nn.Linear(8, 12)
    for layer, x in ((conv, torch.randn(1, 8, 9, 7)), (linear, torch.randn(1, 5, 8))):
        branch = LowRank(layer, 4)
        branched = layer(x) + branch(x)
        layer.weight.data = branch.added_to(layer.weight)
        torch.testing.assert_close(layer(x), branched)  # float32 sums in another order


@torch.no_grad()
def test_both_orders_of_a_branch_give_the_same_previews(networks, monkeypatch):
    x, t, y = torch.randn(2, 4, 16, 16), torch.tensor([5, 5]), torch.randn(2, UNET_CONFIG.vector_width)
    text = torch.randn(2, 7, UNET_CONFIG.context_width)
    results = []
    for always in (True, False):
        monkeypatch.setattr(LowRank, "cheaper_added", lambda *_, always=always: always)
        with networks.previewer.applied_to(networks.unet):
            results.append(networks.unet(x, t, text, y))
    assert (results[0] - results[1]).abs().max() < 1e-5 * results[0].abs().max()  # measured: 1e-6


@torch.no_grad()
@pytest.mark.parametrize("size", [(5, 7), (1, 1), (8, 2)])
def test_a_convolution_of_doubled_pixels_is_four_of_the_pixels(size):
    conv = torch.nn.Conv2d(6, 4, 3, padding=1)
    x = torch.randn(2, 6, *size)
    expected = conv(F.interpolate(x, scale_factor=2, mode="nearest"))
    torch.testing.assert_close(doubled_conv(x, conv.weight, conv.bias), expected)


# --- sizes and tiles


@torch.no_grad()
def test_one_tile_over_the_latent_equals_no_tiles(networks):
    given = inputs(16, 24)
    denoiser = build_denoiser(networks, **given)
    x, sigma = torch.randn(1, 4, 16, 24) * 5, given["sigmas"][:1]
    tiled = tile_denoiser(denoiser, TilePlan.square(24, 4))(x, sigma, sigma.item())
    # the blend divides by the weights that it multiplied with
    torch.testing.assert_close(tiled, denoiser(x, sigma, sigma.item()), rtol=1e-5, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("per_call", [1, 2])
@pytest.mark.parametrize("size", [(32, 20), (16, 33), (40, 40)])
def test_tiles_of_any_picture_run_and_do_not_depend_on_how_many_go_together(networks, size, per_call):
    given = inputs(*size, rows=2)
    denoiser = build_denoiser(networks, **given)
    x, sigma = torch.randn(2, 4, *size) * 5, given["sigmas"][:1].repeat(2)
    tiled = tile_denoiser(denoiser, TilePlan.square(16, 4), tiles_per_call=per_call)(x, sigma, sigma[0].item())
    alone = tile_denoiser(denoiser, TilePlan.square(16, 4))(x, sigma, sigma[0].item())
    assert tiled.shape == x.shape
    assert (tiled - alone).abs().max() < 1e-4 * alone.abs().max()


@torch.no_grad()
def test_a_batch_equals_its_pictures_one_by_one(networks):
    given = inputs(rows=2)
    adaptive = {"adaptive": Adaptive("residual")}
    both = build_denoiser(networks, **given, **adaptive)
    together = run(both, (0, 1), lambda _, x0: both.correction.end_step(x0))
    for row in (0, 1):
        none, features = given["features"]
        one = given | {"z_lq": given["z_lq"][[row]], "features": (none, features[[row]])}
        denoiser = build_denoiser(networks, **one, adaptive=Adaptive("residual"))
        alone = run(denoiser, (row,), lambda _, x0, d=denoiser: d.correction.end_step(x0))
        assert (together[[row]] - alone).abs().max() < 1e-3 * alone.abs().max()


def test_a_height_that_cannot_be_stacked_is_refused_with_the_next_that_can(networks):
    with pytest.raises(ValueError, match=r"multiple of 32 pixels, got 144.*160 pixels"):
        build_denoiser(networks, **inputs(18, 16))


# --- when what works


def test_the_schedule_is_the_published_one():
    sigmas = instantir_sigmas(30)
    timesteps = [(training_sigmas() == sigma).nonzero().item() for sigma in sigmas[:-1]]
    assert timesteps == list(range(958, 0, -33))
    assert sigmas[-1] == 0
    with pytest.raises(ValueError, match="1 to 999"):
        instantir_sigmas(1000)


@pytest.mark.parametrize(
    ("control", "strengths", "previews"),
    [
        (Control(), [1, 1, 1, 1], [1, 1, 1, 1]),
        (Control(0.6, end=0.5), [0.6, 0.6, 0, 0], [1, 1, 1, 1]),
        (Control(start=0.5, preview_start=0.25), [0, 0, 1, 1], [0, 1, 1, 1]),
        (Control(2.0, preview_end=0.75), [1, 1, 1, 1], [1, 1, 1, 0]),
    ],
)
def test_shares_of_the_steps_decide_what_works(control, strengths, previews):
    assert [control.strength_at(i, 4) for i in range(4)] == strengths
    assert [control.previews_at(i, 4) for i in range(4)] == previews


@pytest.mark.parametrize("wrong", [{"strength": -1}, {"end": 1.5}, {"preview_start": -0.1}])
def test_control_outside_of_the_sampling_is_refused(wrong):
    with pytest.raises(ValueError, match="control"):
        Control(**wrong)


def test_a_level_between_two_steps_belongs_to_the_earlier_one():
    sigmas = torch.tensor([4.0, 2.0, 1.0, 0.0])
    assert [step_at(sigma, sigmas) for sigma in (5.0, 4.0, 3.0, 2.0, 1.5, 1.0, 0.5)] == [0, 0, 0, 1, 1, 2, 2]


@torch.no_grad()
def test_creative_restoration_leaves_the_tail_to_unet_and_prompt(networks):
    calls = []
    counting = replace(networks, aggregator=lambda *rows: calls.append(1) or networks.aggregator(*rows))
    run(build_denoiser(counting, **inputs(), control=Control(end=0.7)))
    assert len(calls) == 2
