"""Properties of InstantIR's parts and of its step."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from supir_core.blocks import Text, doubled_conv
from supir_core.conditioning import Conditioning
from supir_core.config import UNetConfig, without_prefix
from supir_core.demo import UNET_CONFIG
from supir_core.denoiser import training_sigmas
from supir_core.instantir.adaptive import Adaptive
from supir_core.instantir.aggregator import Aggregator, ResidualFusion
from supir_core.instantir.denoiser import attentions, build_denoiser
from supir_core.instantir.image_attention import (
    ImageAdapter,
    KeyValue,
    TextAndImage,
    adapter_place,
    modulate,
    places,
)
from supir_core.instantir.keys import diffusers_path, lora_name
from supir_core.instantir.previewer import LowRank, PreviewerLora
from supir_core.instantir.resampler import ResamplerConfig
from supir_core.instantir.sampling import Control, instantir_sigmas, noised, sample_ddpm, step_at
from supir_core.sampling import seeded_noise
from supir_core.tiling import Tile, tile_denoiser
from supir_core.unet import UNet

from .small_instantir import FEATURES, small_networks

DATA = Path(__file__).parent / "data"
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
    return sample_ddpm(denoiser, noised(z_lq, noise(z_lq), sigmas), sigmas, noise, callback=callback)


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
    with networks.previewer.beside(unet, adapter):
        branched = unet(x, t, text, y), adapter.image_proj(features)
    with pytest.raises(RuntimeError, match="stopped"), networks.previewer.beside(unet, adapter):
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
        with networks.previewer.beside(networks.unet):
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
    tiled = tile_denoiser(denoiser, 24, 4)(x, sigma, sigma.item())
    # the blend divides by the weights that it multiplied with
    torch.testing.assert_close(tiled, denoiser(x, sigma, sigma.item()), rtol=1e-5, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("per_call", [1, 2])
@pytest.mark.parametrize("size", [(32, 20), (16, 33), (40, 40)])
def test_tiles_of_any_picture_run_and_do_not_depend_on_how_many_go_together(networks, size, per_call):
    given = inputs(*size, rows=2)
    denoiser = build_denoiser(networks, **given)
    x, sigma = torch.randn(2, 4, *size) * 5, given["sigmas"][:1].repeat(2)
    tiled = tile_denoiser(denoiser, 16, 4, tiles_per_call=per_call)(x, sigma, sigma[0].item())
    alone = tile_denoiser(denoiser, 16, 4)(x, sigma, sigma[0].item())
    assert tiled.shape == x.shape
    assert (tiled - alone).abs().max() < 1e-4 * alone.abs().max()


@torch.no_grad()
def test_a_batch_equals_its_pictures_one_by_one(networks):
    given = inputs(rows=2)
    adaptive = {"adaptive": Adaptive("residual")}
    both = build_denoiser(networks, **given, **adaptive)
    together = run(both, (0, 1), lambda _, x0: both.correction.adaptive.end_step(x0))
    for row in (0, 1):
        none, features = given["features"]
        one = given | {"z_lq": given["z_lq"][[row]], "features": (none, features[[row]])}
        denoiser = build_denoiser(networks, **one, adaptive=Adaptive("residual"))
        alone = run(denoiser, (row,), lambda _, x0, d=denoiser: d.correction.adaptive.end_step(x0))
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


# --- adaptive restoration


def adapted(mode, previews, predictions):
    adaptive = Adaptive(mode)
    for preview, prediction in zip(previews, predictions, strict=True):
        if preview is not None:
            adaptive.note(torch.full((1, 4, 2, 2), preview), [])
        adaptive.end_step(torch.full((1, 4, 2, 2), prediction))
    return adaptive.delta(torch.zeros(1, 4, 2, 2)).item()


def test_delta_compares_the_prediction_with_how_the_previews_move():
    assert adapted("residual", [2.0], [1.0]) == 0.25  # 1 / 4: before the first preview there is zero
    assert adapted("residual", [2.0, 3.0], [1.0, 2.5]) == 0.25
    assert adapted("residual", [2.0, 3.0], [1.0, 1.0]) == 4.0


def test_a_step_without_a_new_preview_changes_nothing():
    assert adapted("residual", [2.0, None], [1.0, 0.0]) == 0.25
    assert adapted("residual", [2.0, 2.0], [1.0, 0.0]) == 0.25
    assert adapted("residual", [0.0], [1.0]) == 1.0


def test_the_release_scales_the_residuals_and_the_paper_moves_the_reference():
    rows = torch.zeros(1, 4, 2, 2)
    adaptive = {mode: Adaptive(mode) for mode in ("none", "residual", "reference")}
    for each in adaptive.values():
        each.note(rows + 2, [])
        each.end_step(rows + 1)
    assert {mode: a.strength(0.8, rows).item() for mode, a in adaptive.items()} == pytest.approx(
        {"none": 0.8, "residual": 0.25, "reference": 0.8}
    )
    references = {mode: a.reference(rows + 4, rows)[0, 0, 0, 0].item() for mode, a in adaptive.items()}
    assert references == {"none": 4, "residual": 4, "reference": 3}  # a quarter of the way to the picture


def test_the_papers_first_reference_is_the_damaged_picture():
    preview, z_lq = torch.randn(1, 4, 2, 2), torch.randn(1, 4, 2, 2)
    torch.testing.assert_close(Adaptive("reference").reference(preview, z_lq), z_lq)


def test_previews_of_tiles_count_as_one_picture():
    whole, tiled = Adaptive("residual"), Adaptive("residual")
    preview, prediction = torch.randn(1, 4, 4, 6), torch.randn(1, 4, 4, 6)
    tiles = [Tile(0, 0, 4, 4, 0), Tile(0, 2, 4, 4, 1)]
    whole.note(preview, [])
    tiled.note(torch.cat([preview[..., :4], preview[..., 2:]]), tiles)
    for each in (whole, tiled):
        each.end_step(prediction)
    torch.testing.assert_close(tiled.delta(preview), whole.delta(preview))


def test_an_unknown_mode_is_refused():
    with pytest.raises(ValueError, match="none, residual, reference"):
        Adaptive("paper")


# --- full size, without weights


RELEASED = ResamplerConfig(1280, 4, 64, 1024, 2048, 1280, 5120)


@pytest.fixture(scope="module")
def full():
    shapes = json.loads((DATA / "full_keys.json").read_text())
    config = UNetConfig.from_shapes(without_prefix(shapes, "model.diffusion_model."))
    with torch.device("meta"):
        modules = UNet(config), ImageAdapter(config, RELEASED), Aggregator(config)
        previewer = PreviewerLora(config, RELEASED)
    for module in (*modules, previewer):
        module.requires_grad_(False)
    return *modules, previewer


def shapes_of(module, name=lambda key: key):
    return {name(key): list(tensor.shape) for key, tensor in module.state_dict().items()}


@pytest.fixture(scope="module")
def published():
    return json.loads((DATA / "instantir_keys.json").read_text())


def test_the_adapters_keys_are_those_of_the_release(full, published):
    adapter = full[1]
    assert shapes_of(adapter) == published["adapter"]
    shapes = {key: tuple(shape) for key, shape in published["adapter"].items()}
    assert ResamplerConfig.from_shapes(without_prefix(shapes, "image_proj.")) == RELEASED


def test_the_adapter_counts_the_layers_as_the_release_does(full, published):
    config = full[0].config
    assert len(places(config)) == len(published["places"])
    for index, (path, (kind, number, depth), width) in published["places"].items():
        place = adapter_place(int(index), config)
        assert (place.path, *place) == (path, kind, number, depth)
        assert full[1].ip_adapter[index].to_k_ip.out_features == width


def test_the_aggregators_keys_are_those_of_the_release(full, published):
    expected = {key: shape for key, (_, shape) in published["aggregator"].items()}
    assert shapes_of(full[2], diffusers_path) == expected
    for theirs, (ours, _) in published["aggregator"].items():
        if not theirs.startswith(("ref_conv_in", "controlnet_")):
            assert diffusers_path(ours) == theirs


def test_the_previewers_keys_are_those_of_the_release(full, published):
    ends = (".lora.down", ".lora_A", ".lora.up", ".lora_B")
    expected = {}
    for down, down_shape, up, up_shape in published["previewer"].values():
        for key, shape, half in ((down, down_shape, "down"), (up, up_shape, "up")):
            stem = key.removesuffix(".weight")
            end = next(end for end in ends if stem.endswith(end))
            expected[f"{stem.removesuffix(end)}.{half}.weight"] = shape
    assert shapes_of(full[3], lambda key: lora_name(key, full[0].config)) == expected
    targets = {f"unet.{t[5:]}" for t in published["previewer"] if t.startswith("unet:")}
    assert {f"unet.{path}" for path in full[3].unet.by_path} == targets


def test_a_step_takes_at_most_2_9_times_the_operations_of_plain_sdxl(full, monkeypatch):
    """At 1024x1024 with guidance, of SDXL as published: its enlargements convolve the doubled pixels."""
    unet, adapter, aggregator, previewer = full
    config = unet.config
    with torch.device("meta"):
        x, t, y = torch.empty(2, 4, 128, 128), torch.empty(2).long(), torch.empty(2, config.vector_width)
        tokens, features = torch.empty(2, 77, config.context_width), torch.empty(2, 257, 1024)
    image = modulate(adapter.read(features), adapter.modulations(unet.embed(t, y)))
    both = TextAndImage(Text(tokens), dict(zip(attentions(unet), image, strict=True)))
    unet(x, t, both, y)  # reads the text, once for all steps

    def step():
        with previewer.beside(unet):
            preview = unet(x, t, both, y)
        unet(x, t, both, y, ResidualFusion(aggregator(x, preview, t, y)))

    def doubled_pixels(x, weight, bias):
        return F.conv2d(F.interpolate(x, scale_factor=2), weight, bias, padding=1)

    operations = count(step)
    monkeypatch.setattr("supir_core.blocks.doubled_conv", doubled_pixels)
    assert operations <= 2.9 * count(lambda: unet(x, t, tokens, y))  # counted: 2.894


def count(function):
    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()
