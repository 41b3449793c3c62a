"""The published implementation's numbers, through ComfyUI's own sampling."""

import pytest
import torch

from supir_core.restoration.tiling import TilePlan, tile_grid

from ..golden import draws, relative_error
from .small import Small, module

SAMPLER = 1e-3
"""As for the library; measured here: 3e-6 at most."""


@pytest.fixture(scope="module")
def small(pack):
    return Small(pack)


RUNS = ("edm", "edm_churn", "edm_free", "dpmpp2m", "tiled_edm", "tiled_edm_local", "tiled_dpmpp2m")


@pytest.mark.parametrize("name", RUNS)
def test_a_published_sampling_run_comes_out(small, run, pack, monkeypatch, name):
    numbers, setting = small.golden.load(f"sampler_{name}"), small.golden.manifest["samplers"][name]
    end, start = setting["control_end"], setting["control_start"]
    (model,) = run(
        "SupirDenoiser",
        model=small.model,
        supir_model=small.weights,
        z_lq=small.latent(numbers["lq"]),
        strength_start=end if start is None else start,
        strength_end=end,
    )
    (model,) = run(
        "SupirGuidance",
        model=model,
        cfg_start=setting["cfg_start"],
        cfg_end=setting["cfg_end"],
        restoration_scale=max(setting.get("restore_cfg", 0), 0),
        z_center=small.latent(numbers["z_stage1"]) if "z_stage1" in numbers else None,
    )
    positive = None
    if setting["tile"]:
        window, stride = setting["tile"]
        (model,) = run(
            "SupirTiles",
            model=model,
            tile=window * 8,
            overlap=(window - stride) * 8,
            blend="exact",
            shifting=False,
            tiles_per_call=1 if setting["local_prompts"] else 3,
        )
        if setting["local_prompts"]:
            count = len(tile_grid(setting["height"], setting["width"], TilePlan.square(window, window - stride)))
            positive = [entry for i in range(count) for entry in small.conditioning(f"c{i}", supir_tile=i)]
    kind = "dpmpp_2m_sde" if "eta" in setting else "edm"
    (sampler,) = run("SupirSamplerSelect", sampler=kind, s_churn=setting.get("s_churn", 0), s_noise=setting["s_noise"])
    (sigmas,) = run("SupirScheduler", steps=setting["steps"], sampler=kind)
    monkeypatch.setattr(module(pack, "nodes.sampling"), "churn_noise", lambda seed, x, same: draws(numbers))
    out = small.sample(model, sampler, sigmas, numbers["noise"], positive=positive)
    assert relative_error(out, numbers["out"]) < SAMPLER


def test_the_denoiser_comes_out_for_any_noise_level(small, run):
    numbers, inputs = small.golden.load("denoiser"), small.golden.load("adaptor")
    (model,) = run(
        "SupirDenoiser",
        model=small.model,
        supir_model=small.weights,
        z_lq=small.latent(inputs["lq"]),
        strength_start=1.0,
        strength_end=1.0,
    )
    entry = [[inputs["context"], {"y": inputs["y"], "pooled_output": inputs["y"]}]]
    seen = []

    def once(model, x, sigmas, extra_args=None, callback=None, disable=None):
        seen.append(model(numbers["x"], numbers["sigma"], **extra_args))
        return x

    import comfy.samplers

    small.sample(
        model,
        comfy.samplers.KSAMPLER(once),
        torch.tensor([1.0, 0.0]),
        torch.zeros_like(numbers["x"]),
        positive=entry,
        cfg=1.0,
    )
    assert relative_error(seen[0], numbers["denoised"]) < 1e-4
