"""SUPIR beside what else people wire: in any order, with any sampler, nothing left behind."""

import gc

import pytest
import torch

from .patches import attention_patch, compiled, easy_cache, free_u, lora
from .small import Small, module

FLOAT32 = 1e-5
"""Largest difference against the largest value, where two ways must agree: float32, sums in another order."""


@pytest.fixture(scope="module")
def small(pack):
    return Small(pack)


@pytest.fixture(scope="module")
def z_lq(small):
    return torch.randn(1, 4, 16, 24, generator=torch.Generator().manual_seed(2))


@pytest.fixture
def supir(run, small, z_lq):
    """Apply SUPIR to a model."""

    def apply(model, z=z_lq, start=1.0, end=1.0):
        return run(
            "SupirDenoiser",
            model=model,
            supir_model=small.weights,
            z_lq=small.latent(z),
            strength_start=start,
            strength_end=end,
        )[0]

    return apply


def tiles(run, model, tile=128, overlap=64, **more):
    options = {"blend": "smooth", "shifting": False, "tiles_per_call": 1, **more}
    return run("SupirTiles", model=model, tile=tile, overlap=overlap, **options)[0]


def same(one, other):
    return ((one - other).abs().max() / other.abs().max()).item() < FLOAT32


@pytest.mark.parametrize("patch", [free_u, lora, attention_patch, easy_cache, compiled])
def test_the_order_of_patches_does_not_matter(small, supir, patch):
    before = small.restored(supir(patch(small.model)))
    after = small.restored(patch(supir(small.model)))
    assert same(before, after)


@pytest.mark.parametrize("patch", [free_u, lora, attention_patch])
def test_other_patches_still_act(small, supir, patch):
    assert not same(small.restored(supir(patch(small.model))), small.restored(supir(small.model)))


@pytest.mark.parametrize("patch", [compiled, easy_cache])
def test_accelerators_keep_the_result(small, supir, patch):
    assert same(small.restored(patch(supir(small.model))), small.restored(supir(small.model)))


@pytest.mark.parametrize("patch", [free_u, lora, attention_patch, easy_cache])
def test_one_tile_equals_no_tiles_with_other_patches(small, supir, run, patch):
    model = supir(patch(small.model))
    assert same(small.restored(tiles(run, model, tile=256)), small.restored(model))


def test_many_tiles_go_with_caches(small, supir, run):
    model = tiles(run, supir(small.model))
    assert same(small.restored(easy_cache(model)), small.restored(model))


def test_strength_0_is_the_plain_model(small, supir):
    assert torch.equal(small.restored(supir(small.model, start=0.0, end=0.0)), small.restored(small.model))


def test_the_last_application_counts(small, supir, z_lq):
    twice = supir(supir(small.model, z=-z_lq, start=0.5))
    assert same(small.restored(twice), small.restored(supir(small.model)))


def test_two_applications_in_one_graph_do_not_disturb_each_other(small, supir, z_lq):
    one, other = supir(small.model), supir(small.model, z=-z_lq)
    first = small.restored(one)
    assert not same(small.restored(other), first)
    assert torch.equal(small.restored(one), first)


def test_a_batch_equals_its_pictures_one_by_one(small, supir, run):
    pictures = torch.randn(2, 4, 16, 24, generator=torch.Generator().manual_seed(3))
    noise = torch.randn(2, 4, 16, 24, generator=torch.Generator().manual_seed(4))
    sampling = module(small.pack, "nodes.sampling")
    levels = sampling.schedule(3, "edm")

    def restored(rows, seed):
        model = tiles(run, supir(small.model, z=pictures[rows]), tiles_per_call=2)
        sampler = sampling.sampler_object("edm", 5.0, 1.01)
        return small.sample(model, sampler, levels, noise[rows], seed=seed)

    both = restored(slice(0, 2), 7)
    assert same(both[:1], restored(slice(0, 1), 7))
    assert same(both[1:], restored(slice(1, 2), 8))


def test_core_samplers_give_what_ours_give(small, supir):
    import comfy.samplers

    model = supir(small.model)
    noise = torch.randn(1, 4, 16, 24, generator=torch.Generator().manual_seed(1))
    levels = comfy.samplers.simple_scheduler(small.model.get_model_object("model_sampling"), 4)
    core = small.sample(model, comfy.samplers.sampler_object("euler"), levels, noise)
    assert same(core, small.restored(model, steps=4))


def test_restoration_guidance_acts_in_core_samplers_as_in_ours(small, supir, run, z_lq):
    import comfy.samplers

    (model,) = run(
        "SupirGuidance",
        model=supir(small.model),
        cfg_start=2.0,
        cfg_end=5.0,
        restoration_scale=1.0,
        z_center=small.latent(z_lq),
    )
    noise = torch.randn(1, 4, 16, 24, generator=torch.Generator().manual_seed(1))
    levels = module(small.pack, "nodes.sampling").schedule(4, "edm")
    core = small.sample(model, comfy.samplers.sampler_object("euler"), levels, noise)
    assert same(core, small.restored(model, steps=4))
    assert not same(core, small.restored(supir(small.model), steps=4))


def test_a_noise_mask_keeps_what_it_protects(small, supir):
    import comfy.samplers

    kept = torch.randn(1, 4, 16, 24, generator=torch.Generator().manual_seed(5))
    mask = torch.zeros(1, 1, 16, 24)
    mask[..., 12:] = 1
    guider = comfy.samplers.CFGGuider(supir(small.model))
    guider.set_conds(small.conditioning("c0"), small.conditioning("uc"))
    sampling = module(small.pack, "nodes.sampling")
    out = guider.sample(
        torch.randn(1, 4, 16, 24),
        kept,
        sampling.sampler_object("edm", 0.0, 1.0),
        sampling.schedule(3, "edm"),
        denoise_mask=mask,
        disable_pbar=True,
        seed=0,
    )
    assert torch.allclose(out[..., :12], kept[..., :12], atol=1e-5)
    assert not torch.allclose(out[..., 12:], kept[..., 12:], atol=1e-1)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float8_e4m3fn])
def test_base_models_of_other_types_serve(small, supir, dtype):
    model = module(small.pack, "nodes.demo").demo_model(
        small.golden.unet.state_dict(), small.golden.unet.config, dtype, torch.bfloat16
    )
    model.model.encode_adm = lambda **given: given["y"]
    exact, rough = small.restored(supir(small.model)), small.restored(supir(model))
    error = (rough - exact).square().mean().sqrt() / exact.square().mean().sqrt()
    assert rough.isfinite().all()
    assert error < {torch.bfloat16: 0.05, torch.float8_e4m3fn: 0.5}[dtype]


def test_the_adaptor_is_loaded_and_unloaded_by_comfyui(small, supir):
    import comfy.model_management as management

    small.restored(supir(small.model))
    adaptor = small.weights.adaptor.model
    assert any(loaded.model and loaded.model.model is adaptor for loaded in management.current_loaded_models)
    management.unload_all_models()
    assert not management.current_loaded_models


def test_nothing_lives_on_after_sampling(small, supir, run):
    fusion = module(small.pack, "supir_core.supir.connectors").ConnectorFusion
    small.restored(tiles(run, supir(small.model)))
    gc.collect()
    assert not [thing for thing in gc.get_objects() if type(thing) is fusion]


def test_comfyui_is_told_the_memory_of_tiles_and_adaptor(small, supir, run, monkeypatch):
    import comfy.sampler_helpers

    told = []
    reckon = comfy.sampler_helpers.estimate_memory
    monkeypatch.setattr(
        comfy.sampler_helpers,
        "estimate_memory",
        lambda model, shape, conds: told.append(list(shape)) or reckon(model, shape, conds),
    )
    small.restored(small.model)
    small.restored(supir(small.model))
    small.restored(tiles(run, supir(small.model), tiles_per_call=2))
    assert told == [[1, 4, 16, 24], [1.2, 4, 16, 24], [2.4, 4, 16, 16]]


def test_an_interrupt_stops_within_one_call_of_the_network(small, supir):
    import comfy.model_management as management

    finished = []
    model = supir(small.model)
    model.set_model_attn1_patch(lambda q, k, v, extra: management.interrupt_current_processing() or (q, k, v))
    model.set_model_output_block_patch(lambda h, skip, options: finished.append(1) or (h, skip))
    with pytest.raises(management.InterruptProcessingException):
        small.restored(model)
    assert not finished
    management.interrupt_current_processing(False)


def masked(run, small, z_lq, mask, preset="lightning"):
    numbers = {"tile": 1024, "overlap": 256, "seed": 0, "preset": preset}
    (latent,) = run(
        "SupirSampler",
        model=small.model,
        supir_model=small.weights,
        positive=small.conditioning("c0"),
        negative=small.conditioning("uc"),
        z_lq={**small.latent(z_lq), **({} if mask is None else {"noise_mask": mask})},
        **numbers,
    )
    return latent


def test_supir_sampler_honours_a_noise_mask(run, small, z_lq):
    """A mask is of any size; where it is 1 nothing changes but through the networks, where it is 0 z_lq stays."""
    mask = torch.zeros(1, 128, 192)
    mask[..., 96:] = 1
    latent = masked(run, small, z_lq, mask)
    given, whole = small.latent(z_lq)["samples"], masked(run, small, z_lq, None)["samples"]
    assert torch.allclose(latent["samples"][..., :12], given[..., :12], atol=1e-5)
    assert (latent["samples"][..., 12:] - given[..., 12:]).abs().max() > 1
    assert torch.equal(latent["noise_mask"], mask)
    assert torch.equal(masked(run, small, z_lq, torch.ones(1, 128, 192))["samples"], whole)
    half = masked(run, small, z_lq, torch.full((1, 16, 24), 0.5))["samples"]
    assert half.isfinite().all()
    assert not same(half, whole)
