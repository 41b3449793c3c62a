"""Other guiders than CFGGuider: each has its own number of prompts, in its own order."""

import logging

import pytest
import torch

from .small import Small, module
from .small_instantir import SmallInstant

FLOAT32 = 1e-5
"""Largest difference against the largest value: float32, sums in another order."""

CFG, STEPS = 4.0, 2


@pytest.fixture(scope="module")
def small(pack):
    return Small(pack)


@pytest.fixture(scope="module")
def instant(pack):
    return SmallInstant(pack)


@pytest.fixture(scope="module")
def prompts(instant):
    """Negative and positive."""
    return instant.prompts(instant.golden.load("loop_default"))


@pytest.fixture(scope="module")
def instantir(instant):
    """The model with InstantIR on it, which keeps its previews."""
    features, _ = instant.golden.inputs(instant.golden.load("loop_default"))
    return instant.apply(latent(2), features)


def latent(seed):
    return torch.randn(1, 4, 16, 24, generator=torch.Generator().manual_seed(seed))


def cfg_guider(model, negative, positive):
    import comfy.samplers

    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(positive, negative)
    guider.set_cfg(CFG)
    return guider


def perp_neg(model, negative, positive):
    """With a scale of 0 the empty prompt is what is guided away from."""
    from comfy_extras.nodes_perpneg import Guider_PerpNeg

    guider = Guider_PerpNeg(model)
    guider.set_conds(positive, [[torch.ones_like(negative[0][0]), negative[0][1]]], negative)
    guider.set_cfg(CFG, 0.0)
    return guider


def perp_neg_of_itself(model, negative, positive):
    """A negative prompt that is the empty one has nothing perpendicular to the positive one; all three are computed."""
    from comfy_extras.nodes_perpneg import Guider_PerpNeg

    guider = Guider_PerpNeg(model)
    guider.set_conds(positive, negative, negative)
    guider.set_cfg(CFG, 1.0)
    return guider


def dual_cfg(nested):
    """Twice the positive prompt, so that only the second scale acts."""

    def make(model, negative, positive):
        from comfy_extras.nodes_custom_sampler import Guider_DualCFG

        guider = Guider_DualCFG(model)
        guider.set_conds(positive, positive, negative)
        guider.set_cfg(9.0, CFG, nested=nested)
        return guider

    return make


GUIDERS = {
    "PerpNeg": perp_neg,
    "PerpNeg of three": perp_neg_of_itself,
    "DualCFG": dual_cfg(False),
    "DualCFG nested": dual_cfg(True),
}


def sampled(pack, guider):
    sampling = module(pack, "nodes.sampling")
    sampler = sampling.sampler_object("edm", 0.0, 1.0)
    return guider.sample(latent(1), latent(2), sampler, sampling.schedule(STEPS, "edm"), disable_pbar=True, seed=0)


def same(one, other):
    return ((one - other).abs().max() / other.abs().max()).item() < FLOAT32


@pytest.fixture(scope="module")
def expected(pack, instantir, prompts):
    with torch.inference_mode():
        return sampled(pack, cfg_guider(instantir, *prompts))


@pytest.mark.parametrize("make", GUIDERS.values(), ids=GUIDERS)
def test_instantir_shows_the_picture_to_the_right_prompts(pack, instantir, prompts, make, expected):
    assert same(sampled(pack, make(instantir, *prompts)), expected)


def test_the_right_prompts_in_tiles_too(pack, run, instantir, prompts):
    options = {"tile": 128, "overlap": 32, "blend": "smooth", "shifting": False, "tiles_per_call": 2}
    (model,) = run("SupirTiles", model=instantir, **options)
    one, other = (sampled(pack, make(model, *prompts)) for make in (cfg_guider, dual_cfg(nested=True)))
    assert same(one, other)


def test_a_prompt_that_is_computed_alone_is_known(pack, instantir, prompts):
    """Nodes such as self-attention guidance compute the negative prompt once more, as the only one."""
    import comfy.samplers

    def again(given):
        (alone,) = comfy.samplers.calc_cond_batch(
            given["model"], [given["uncond"]], given["input"], given["sigma"], given["model_options"]
        )
        differences.append((alone - given["uncond_denoised"]).abs().max() / alone.abs().max())
        return given["denoised"]

    differences = []
    model = instantir.clone()
    model.set_model_sampler_post_cfg_function(again)
    sampled(pack, cfg_guider(model, *prompts))
    assert len(differences) == STEPS
    assert max(differences) < FLOAT32


def guided(run, small, cfg_start=3.0, cfg_end=6.0):
    return run("SupirGuidance", model=small.model, cfg_start=cfg_start, cfg_end=cfg_end, restoration_scale=0.0)[0]


@pytest.mark.parametrize("make", [perp_neg, perp_neg_of_itself])
def test_linear_cfg_acts_in_perp_neg(pack, run, small, make):
    conds = small.conditioning("uc"), small.conditioning("c0")
    expected = sampled(pack, cfg_guider(guided(run, small), *conds))
    assert same(sampled(pack, make(guided(run, small), *conds)), expected)
    assert not same(expected, sampled(pack, cfg_guider(small.model, *conds)))


@pytest.mark.parametrize("nested", [False, True])
def test_where_linear_cfg_cannot_act_the_log_says_so_once(pack, run, small, caplog, nested):
    conds = small.conditioning("uc"), small.conditioning("c0")
    with caplog.at_level(logging.WARNING):
        result = sampled(pack, dual_cfg(nested)(guided(run, small), *conds))
    assert [record.message for record in caplog.records if "does not act: Guider_DualCFG" in record.message] != []
    assert sum("does not act" in record.message for record in caplog.records) == 1
    caplog.clear()
    assert same(result, sampled(pack, dual_cfg(nested)(guided(run, small, 1.0, 1.0), *conds)))
    assert not caplog.records
