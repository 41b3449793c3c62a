"""InstantIR's published numbers through ComfyUI's own sampling, and InstantIR beside what else people wire."""

import gc

import pytest
import torch

from ..golden import draws, relative_error
from .patches import attention_patch, compiled, easy_cache, lora, place_control, skips
from .small import module
from .small_instantir import SmallInstant

SAMPLER = 2e-5
"""Relative error; measured here: 4e-6 at most."""

FLOAT32 = 1e-5
"""Largest difference against the largest value, where two ways must agree: float32, sums in another order."""

RUNS = ("default", "preview_start", "creative", "no_cfg", "scale", "noise_init")


@pytest.fixture(scope="module")
def small(pack):
    return SmallInstant(pack)


@pytest.fixture(scope="module")
def numbers(small):
    return small.golden.load("loop_default")


@pytest.fixture(scope="module")
def features(small, numbers):
    return small.golden.inputs(numbers)[0]


@pytest.fixture(scope="module")
def prompts(small, numbers):
    return small.prompts(numbers)


@pytest.fixture(scope="module")
def z_lq():
    return torch.randn(1, 4, 16, 24, generator=torch.Generator().manual_seed(2))


@pytest.fixture
def instantir(small, features, z_lq):
    """Apply InstantIR to a model."""

    def apply(model, z=z_lq, **more):
        return small.apply(z, features, model, **more)

    return apply


@pytest.fixture
def restored(small, prompts, z_lq):
    """A short run: the result alone."""

    def restore(model, latent=z_lq, prompts=prompts, **more):
        return small.restored(model, prompts, latent, **more)[0]

    return restore


def same(one, other):
    return ((one - other).abs().max() / other.abs().max()).item() < FLOAT32


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
        first = module(small.pack, "supir_core.instantir.sampling").instantir_sigmas(run["steps"])[0]
        latent, noise = torch.zeros_like(latent), noise * (1 + first**-2).sqrt()
    out = small.sample(
        model,
        small.prompts(numbers),
        noise,
        latent,
        steps=run["steps"],
        cfg=run["guidance_scale"],
        draws=draws(numbers),
    )
    assert relative_error(out, numbers["out"]) < SAMPLER


@pytest.mark.parametrize("patch", [skips, lora, attention_patch, easy_cache, compiled])
def test_the_order_of_patches_does_not_matter(small, instantir, restored, patch):
    assert same(restored(instantir(patch(small.model))), restored(patch(instantir(small.model))))


@pytest.mark.parametrize("patch", [skips, lora, attention_patch])
def test_other_patches_still_act(small, instantir, restored, patch):
    assert not same(restored(instantir(patch(small.model))), restored(instantir(small.model)))


@pytest.mark.parametrize("patch", [compiled, easy_cache])
def test_accelerators_keep_the_result(small, instantir, restored, patch):
    assert same(restored(patch(instantir(small.model))), restored(instantir(small.model)))


def test_a_controlnet_acts_beside_the_aggregator(small, instantir, restored, prompts):
    control, _ = place_control(torch.rand(1, 3, 128, 192))
    held = {"control": control, "control_apply_to_uncond": True}
    controlled = [[[text, {**more, **held}] for text, more in prompt] for prompt in prompts]
    model = instantir(small.model)
    both = restored(model, prompts=controlled)
    assert not same(both, restored(model))
    assert not same(both, restored(small.model, prompts=controlled))


def test_the_model_given_is_as_it_was_bit_for_bit(small, instantir, restored):
    before = restored(small.model)
    restored(instantir(small.model))
    assert torch.equal(restored(small.model), before)
    layers = small.model.model.diffusion_model.modules()
    assert not [layer for layer in layers if "forward" in vars(layer)]


def test_an_interrupt_leaves_no_branch_behind(small, instantir, restored):
    import comfy.model_management as management

    model = instantir(small.model)
    model.set_model_attn1_patch(lambda q, k, v, extra: management.interrupt_current_processing() or (q, k, v))
    with pytest.raises(management.InterruptProcessingException):
        restored(model)
    management.interrupt_current_processing(False)
    layers = small.model.model.diffusion_model.modules()
    assert not [layer for layer in layers if "forward" in vars(layer)]


def test_the_last_application_counts(small, instantir, restored, z_lq):
    assert same(restored(instantir(instantir(small.model, z=-z_lq))), restored(instantir(small.model)))


def test_one_tile_equals_no_tiles_and_many_tiles_run(small, instantir, restored, run):
    def tiles(side, **more):
        options = {"overlap": 64, "blend": "smooth", "shifting": False, "tiles_per_call": 1, **more}
        return run("SupirTiles", model=instantir(small.model), tile=side, **options)[0]

    untiled = restored(instantir(small.model))
    assert same(restored(tiles(256)), untiled)
    many = restored(tiles(128))
    assert many.isfinite().all()
    assert not same(many, untiled)
    assert same(restored(tiles(128, tiles_per_call=2)), many)


def test_a_batch_equals_its_pictures_one_by_one(small, features, restored):
    pictures = torch.randn(2, 4, 16, 24, generator=torch.Generator().manual_seed(3))
    none, one = features
    both = torch.cat([one, -one])

    def alone(row):
        model = small.apply(pictures[[row]], (none, both[[row]]))
        return restored(model, pictures[[row]], seed=7 + row)

    together = restored(small.apply(pictures, (none, both)), pictures, seed=7)
    assert same(together[:1], alone(0))
    assert same(together[1:], alone(1))


def test_the_ddpm_sampler_of_comfyui_takes_our_steps(small, instantir, prompts, z_lq):
    import comfy.k_diffusion.sampling as core
    import comfy.samplers

    levels = module(small.pack, "nodes.instantir.sampling").instantir_sigmas(3)
    noise = torch.randn(z_lq.shape, generator=torch.Generator().manual_seed(4))
    given = [torch.randn(z_lq.shape, generator=torch.Generator().manual_seed(i)) for i in range(3)]

    def theirs(model, x, sigmas, extra_args=None, callback=None, disable=None):
        rest = iter(given)
        return core.sample_ddpm(model, x, sigmas, extra_args, disable=True, noise_sampler=lambda *_: next(rest))

    guider = comfy.samplers.CFGGuider(instantir(small.model))
    guider.set_conds(prompts[1], prompts[0])
    guider.set_cfg(4.0)
    latent = small.model.model.process_latent_out(z_lq)
    core_out = guider.sample(noise, latent, comfy.samplers.KSAMPLER(theirs), levels, disable_pbar=True, seed=0)
    rest = iter(given)
    ours = small.sample(instantir(small.model), prompts, noise, z_lq, steps=3, cfg=4.0, draws=lambda x: next(rest))
    assert relative_error(small.model.model.process_latent_in(core_out), ours) < SAMPLER


def test_there_is_a_preview_of_every_step_tiled_or_not(small, instantir, prompts, z_lq, run):
    _, previews = small.restored(instantir(small.model), prompts, z_lq)
    assert previews.shape == (3, 4, 16, 24)
    tiled = run(
        "SupirTiles",
        model=instantir(small.model),
        tile=256,
        overlap=64,
        blend="smooth",
        shifting=False,
        tiles_per_call=1,
    )[0]
    assert same(small.restored(tiled, prompts, z_lq)[1], previews)


@pytest.mark.parametrize("mode", ["residual", "reference"])
def test_adaptive_restoration_acts_from_the_second_step_on(small, instantir, restored, mode):
    plain, adaptive = instantir(small.model), instantir(small.model, adaptive=mode)
    assert not same(restored(adaptive), restored(plain))


def test_the_networks_are_loaded_and_unloaded_by_comfyui(small, instantir, restored):
    import comfy.model_management as management

    restored(instantir(small.model))
    networks = small.weights.networks.model
    assert any(loaded.model and loaded.model.model is networks for loaded in management.current_loaded_models)
    management.unload_all_models()
    assert not management.current_loaded_models


def test_nothing_lives_on_after_sampling(small, instantir, restored):
    kept = module(small.pack, "nodes.instantir.apply").Run
    restored(instantir(small.model))
    gc.collect()
    assert not [thing for thing in gc.get_objects() if type(thing) is kept]


def test_comfyui_is_told_the_memory_of_the_aggregator(small, instantir, restored, monkeypatch):
    import comfy.sampler_helpers

    told = []
    reckon = comfy.sampler_helpers.estimate_memory
    monkeypatch.setattr(
        comfy.sampler_helpers,
        "estimate_memory",
        lambda model, shape, conds: told.append(list(shape)) or reckon(model, shape, conds),
    )
    restored(instantir(small.model))
    assert told == [[2.0, 4, 16, 24]]


def test_a_latent_of_another_size_is_explained(small, instantir, restored):
    with pytest.raises(ValueError, match="Sample a latent of z_lq's size"):
        restored(instantir(small.model), torch.randn(1, 4, 16, 16))


def test_a_model_of_another_family_is_explained(small, instantir):
    other = small.model.clone()
    other.model = torch.nn.Linear(1, 1)
    with pytest.raises(ValueError, match="needs an SDXL model, got Linear"):
        instantir(other)


def test_an_encoder_that_is_not_dinov2_is_explained(small):
    class Clip:
        model_type, config = "clip_vision_model", {"hidden_size": 1280}

    read = module(small.pack, "nodes.instantir.node").picture_features
    with pytest.raises(ValueError, match=r"got clip_vision_model of width 1280; load .* facebook/dinov2-large"):
        read(Clip(), torch.rand(1, 3, 64, 64), 1024)


def test_instantir_sampler_honours_a_noise_mask(run, small, instantir, prompts, z_lq):
    def sampled(**mask):
        latent = {"samples": small.model.model.process_latent_out(z_lq), **mask}
        model, (negative, positive) = instantir(small.model), prompts
        given = {"positive": positive, "negative": negative, "z_lq": latent, "seed": 0, "steps": 3, "cfg": 4.0}
        return run("InstantIRSampler", model=model, **given)[0]["samples"]

    mask = torch.zeros(1, 1, 128, 192)
    mask[..., 96:] = 1
    out, kept = sampled(noise_mask=mask), small.model.model.process_latent_out(z_lq)
    assert torch.allclose(out[..., :12], kept[..., :12], atol=1e-5)
    assert (out[..., 12:] - kept[..., 12:]).abs().max() > 1
    assert torch.equal(sampled(noise_mask=torch.ones(1, 1, 128, 192)), sampled())
