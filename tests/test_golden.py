"""Parity with the published implementation's numbers (see tests/data/golden/README.md)."""

import re
from functools import cache

import pytest
import torch

from supir_core.instantir.aggregator import ResidualFusion
from supir_core.instantir.denoiser import attentions
from supir_core.instantir.image_attention import TextAndImage
from supir_core.instantir.previewer import one_step_preview
from supir_core.instantir.sampling import instantir_sigmas, sample_ddpm
from supir_core.restoration.colorfix import fix_color
from supir_core.restoration.noise import start_latent
from supir_core.restoration.strength import start_from
from supir_core.restoration.tiling import TilePlan, exact_weights, tile_denoiser, tile_grid
from supir_core.sdxl.blocks import TextContext
from supir_core.sdxl.conditioning import Conditioning
from supir_core.sdxl.schedule import training_sigmas
from supir_core.supir.connectors import ZeroCrossAttn, ZeroSFT
from supir_core.supir.sampling import (
    ddpm_sigmas,
    karras_sigmas,
    sample_restore_dpmpp_2m_sde,
    sample_restore_edm,
)

from .conftest import ERRORS
from .golden import Golden, draws, relative_error
from .golden_instantir import InstantGolden

MODULE, SAMPLER = 1e-4, 2e-5  # float32, reordered sums; measured here: 9e-6 and 4e-6 at most


def pytest_generate_tests(metafunc):
    if "golden_file" not in metafunc.fixturenames:
        return
    top = metafunc.config.getoption("--golden-dir")
    files = sorted(file for file in top.rglob("*.safetensors") if (file.parent / "manifest.json").is_file())
    assert files, f"no golden files under {top}: expected a folder with a manifest.json"
    metafunc.parametrize("golden_file", files, ids=[f"{file.parent.name}/{file.stem}" for file in files])


def test_golden_file(golden_file, request):
    golden = _golden(golden_file.parent)
    tensors = golden.load(golden_file.stem)
    known = [(c, limit) for pattern, c, limit in CHECKS if re.fullmatch(pattern, golden_file.stem)]
    assert known, f"nothing here checks a golden file of this name: {golden_file}"
    check, limit = known[0]
    with torch.no_grad():
        errors = {
            name: relative_error(value, tensors[name]) for name, value in check(golden, tensors, golden_file.stem)
        }
    expected = {name for name in tensors if not INPUTS.fullmatch(name)}
    for name, error in errors.items():
        request.config.stash[ERRORS].append(f"{golden_file.stem:28} {name:16} {error:.1e}  (limit {limit:.0e})")
    assert expected <= set(errors), f"not checked: {sorted(expected - set(errors))}"
    assert max(errors.values()) < limit


@cache
def _golden(folder):
    golden = Golden(folder)
    return InstantGolden(folder) if "resampler" in golden.manifest else golden


INPUTS = re.compile(
    r"lq|xt|x|t|y|context|sigma|noise|z_stage1|eps\.\d+|image|content|style|c|c\d+|h|h_ori|z_lq|pooled|dino|size_ids"
)


def adaptor(golden, g, _):
    features = golden.adaptor.control_model(g["lq"], g["xt"], g["t"], g["context"], g["y"])
    return [(f"out.{i}", feature) for i, feature in enumerate(features)]


def denoiser_unet(golden, g, _):
    for name in g:
        if name.startswith("eps.scale_"):
            strength = float(name.removeprefix("eps.scale_"))
            fusion = golden.adaptor(g["lq"], g["x"], g["t"], g["context"], g["y"], strength)
            yield name, golden.unet(g["x"], g["t"], g["context"], g["y"], fusion)


def connectors(golden, g, _):
    wide = next(tensor for name, tensor in g.items() if re.fullmatch(r"c\d+", name))
    control, skip, decoder = (g[name].shape[1] for name in ("c", "h_ori", "h"))
    joined = golden.fill(ZeroSFT(control, skip, decoder), "zerosft.")
    plain = golden.fill(ZeroSFT(control, decoder, 0), "zerosft_plain.")
    cross = golden.fill(ZeroCrossAttn(decoder, wide.shape[1]), "zerocross.")
    kinds = {
        "concat": lambda k: joined(g["c"], g["h_ori"], g["h"], k),
        "plain": lambda k: plain(g["c"], g["h"], None, k),
        "cross": lambda k: cross(g["h"], wide, k),
    }
    for name in g:
        kind, _, strength = name.partition(".")
        if kind in kinds:
            yield name, kinds[kind](float(strength))


def vae(golden, g, _):
    moments = {
        "moments": golden.vae.encoder(g["image"]),
        "dr_moments": golden.dr_encoder(g["image"]),
    }
    z_dr = golden.vae.encode(g["image"], golden.dr_encoder)
    x_stage1 = golden.vae.decode(z_dr)
    return [
        *((name, golden.vae.quant_conv(value)) for name, value in moments.items()),
        ("z_dr", z_dr),
        ("x_stage1", x_stage1),
        ("z_stage1_mode", golden.vae.encode(x_stage1)),
    ]


def schedules(golden, g, _):
    return [(name, ddpm_sigmas(int(name.removeprefix("sigmas.")))) for name in g]


def denoiser(golden, g, _):
    inputs = golden.load("adaptor")
    run = {"control_start": None, "control_end": 1.0, "cfg_start": 1.0, "cfg_end": 1.0}
    ours = golden.denoiser(inputs["lq"], run, [Conditioning(inputs["context"], inputs["y"])])
    return [("denoised", ours(g["x"], g["sigma"], 1.0))]


def tile_weights(golden, g, _):
    return [(name, exact_weights(*tensor.shape[-2:])[None]) for name, tensor in g.items()]


def colorfix(golden, g, _):
    return [(mode, fix_color(g["content"], g["style"], mode)) for mode in ("wavelet", "adain")]


def sampler(golden, g, name):
    run = golden.manifest["samplers"][name.removeprefix("sampler_")]
    positives = None
    if run["local_prompts"]:
        tiles = tile_grid(run["height"], run["width"], TilePlan.square(run["tile"][0], run["tile"][0] - run["tile"][1]))
        positives = [golden.conditioning(f"c{i}") for i in range(len(tiles))]
    ours = golden.denoiser(g["lq"], run, positives)
    if run["tile"]:
        window, stride = run["tile"]
        ours = tile_denoiser(ours, TilePlan.square(window, window - stride), blend="exact")
    sigmas = ddpm_sigmas(run["steps"])
    x = start_latent(g["noise"], sigmas)
    if "eta" in run:
        out = sample_restore_dpmpp_2m_sde(
            ours, x, karras_sigmas(sigmas), draws(g), eta=run["eta"], s_noise=run["s_noise"]
        )
    else:
        out = sample_restore_edm(
            ours,
            x,
            sigmas,
            draws(g),
            z_center=g["z_stage1"],
            restoration_scale=run["restore_cfg"],
            s_churn=run["s_churn"],
            s_noise=run["s_noise"],
        )
    return [("out", out)]


def step(golden, g, _):
    """One step of InstantIR, part by part, then through the denoiser."""
    unet, adapter, previewer, aggregator = (getattr(golden.networks, name) for name in NETWORKS)
    t, x, z_lq = g["t"].expand(2), g["x"], g["z_lq"].expand(2, -1, -1, -1)
    _, prompts = golden.inputs(g)
    y = Conditioning.concatenate(prompts).vector
    temb = unet.embed(t, y)
    yield "temb", temb
    sigmas = torch.cat([training_sigmas()[t[:1]], torch.zeros(1)])
    denoiser = golden.denoiser(g, sigmas, {"guidance_scale": 7.0})
    text = TextContext(g["context"])
    contexts = [
        TextAndImage(text, dict(zip(attentions(unet), denoiser.image.at(0, branched, 1), strict=True)))
        for branched in (False, True)
    ]
    yield "tokens", adapter.image_proj(g["dino"])
    yield "eps_no_aggregator", unet(x, t, contexts[0], y)
    with previewer.applied_to(unet, adapter):
        yield "tokens_previewer", adapter.image_proj(g["dino"])
        eps = unet(x, t, contexts[1], y)
    yield "eps_previewer", eps
    preview = one_step_preview(eps, x, sigmas[:1].expand(2), t)
    yield "preview", preview
    residuals = aggregator(z_lq, preview, t, y)
    for name in g:
        if part := re.fullmatch(r"residual\.(\d|mid)", name):
            yield name, residuals.middle if part[1] == "mid" else residuals.skips[int(part[1])]
    yield "eps", unet(x, t, contexts[0], y, ResidualFusion(residuals))


def loop(golden, g, name):
    run = golden.manifest["loops"][name.removeprefix("loop_")]
    sigmas = instantir_sigmas(run["steps"])
    starts = start_from(g["z_lq"], g["noise"], sigmas), start_latent(g["noise"], sigmas)
    x = starts[0] if run.get("init_latents_with_lq", True) else starts[1]
    return [("out", sample_ddpm(golden.denoiser(g, sigmas, run), x, sigmas, draws(g)))]


NETWORKS = ("unet", "adapter", "previewer", "aggregator")
CHECKS = [
    (check.__name__, check, MODULE)
    for check in (adaptor, denoiser_unet, connectors, vae, schedules, denoiser, tile_weights, colorfix, step)
] + [(r"sampler_.*", sampler, SAMPLER), (r"loop_.*", loop, SAMPLER)]


@pytest.mark.parametrize("steps", [0, 1001])
def test_a_schedule_of_impossible_length_is_refused(steps):
    with pytest.raises(ValueError, match="1 to 1000"):
        ddpm_sigmas(steps)
