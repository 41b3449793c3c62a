"""InstantIR's published numbers through ComfyUI's own sampling, and beside what else people wire."""

import pytest
import torch

from ..golden import draws, relative_error
from .small_instantir import SmallInstant

SAMPLER = 1e-3
"""As for the library; measured here: see the assertion's neighbours."""

RUNS = ("default", "preview_start", "creative", "no_cfg", "scale", "noise_init")


@pytest.fixture(scope="module")
def small(pack):
    return SmallInstant(pack)


@pytest.mark.parametrize("name", RUNS)
def test_a_published_run_comes_out(small, name):
    numbers, run = small.golden.load(f"loop_{name}"), small.golden.manifest["loops"][name]
    features, _ = small.golden.inputs(numbers)
    model = small.apply(
        numbers["z_lq"],
        features,
        strength=run.get("controlnet_conditioning_scale", 1.0),
        end=run.get("control_guidance_end", 1.0),
        preview_start=run.get("preview_start", 0.0),
    )
    latent, noise = numbers["z_lq"], numbers["noise"]
    if not run.get("init_latents_with_lq", True):
        sigma = 11.4768  # placeholder
        latent = torch.zeros_like(latent)
    out = small.sample(
        model, small.prompts(numbers), noise, latent, steps=run["steps"], cfg=run["guidance_scale"], draws=draws(numbers)
    )
    print(name, relative_error(out, numbers["out"]))
    assert relative_error(out, numbers["out"]) < SAMPLER
