"""MODELs that do not sample as SUPIR and InstantIR were trained to are refused by name, before and behind our nodes."""

import pytest
import torch

from .small import Small, module
from .small_instantir import SmallInstant

REFUSED = {
    ("v_prediction", False): "v-prediction",
    ("v_prediction", True): r"v-prediction at noise levels up to 4\d\d\d \(zero terminal SNR\)",
    ("eps", True): r"noise at noise levels up to 4\d\d\d \(zero terminal SNR\)",
    ("x0", False): "a prediction of the picture itself",
}


def discrete(model, sampling, zsnr):
    from comfy_extras.nodes_model_advanced import ModelSamplingDiscrete

    return ModelSamplingDiscrete().patch(model, sampling, zsnr)[0]


def continuous(model, sampling):
    from comfy_extras.nodes_model_advanced import ModelSamplingContinuousEDM

    return ModelSamplingContinuousEDM().patch(model, sampling, 120.0, 0.002)[0]


@pytest.fixture(scope="module")
def small(pack):
    return Small(pack)


@pytest.fixture(scope="module")
def instant(pack):
    return SmallInstant(pack)


@pytest.fixture(params=["SUPIR", "SUPIR Guidance", "InstantIR"])
def method(request, small, instant, run):
    """Its name, an application to a model, and a short run of what comes out of that."""
    z = torch.randn(1, 4, 16, 24, generator=torch.Generator().manual_seed(2))
    numbers = instant.golden.load("loop_default")
    features, prompts = instant.golden.inputs(numbers)[0], instant.prompts(numbers)

    def supir(model):
        given = {"supir_model": small.weights, "z_lq": small.latent(z), "strength_start": 1.0, "strength_end": 1.0}
        return run("SupirDenoiser", model=model, **given)[0]

    def guidance(model):
        latent = small.latent(z)
        return run("SupirGuidance", model=model, cfg_start=4, cfg_end=2, restoration_scale=4.0, z_center=latent)[0]

    def instantir(model):
        return instant.apply(z, features, model)

    if request.param == "InstantIR":
        return request.param, instant.model, instantir, lambda model: instant.restored(model, prompts, z)[0]
    apply = supir if request.param == "SUPIR" else guidance
    return request.param, small.model, apply, small.restored


@pytest.mark.parametrize("sampling", REFUSED)
def test_another_prediction_is_refused_by_name(method, sampling):
    name, model, apply, restored = method
    message = f"^{name} works with SDXL models that predict noise, .* this one has {REFUSED[sampling]}\\. Load"
    with pytest.raises(ValueError, match=message):
        apply(discrete(model, *sampling))
    with pytest.raises(ValueError, match=message):
        restored(discrete(apply(model), *sampling))


@pytest.mark.parametrize(
    ("sampling", "what"),
    [
        ("v_prediction", "v-prediction at noise levels up to 120"),
        ("edm_playground_v2.5", "EDM at noise levels up to 120"),
        ("eps", "noise at noise levels up to 120"),
    ],
)
def test_edm_is_refused_by_name(method, sampling, what):
    name, model, apply, _ = method
    with pytest.raises(ValueError, match=f"^{name} .* this one has {what}"):
        apply(continuous(model, sampling))


def test_lcm_works_and_is_near_the_plain_prediction(method):
    """LCM's boundary condition changes the prediction at the smallest levels only; it has 50 levels."""
    _, model, apply, restored = method
    plain, lcm = restored(apply(model)), restored(discrete(apply(model), "lcm", False))
    assert lcm.isfinite().all()
    assert not torch.equal(plain, lcm)
    assert lcm.std() < 2 * plain.std()


def test_a_prediction_that_comfyui_does_not_know_is_named(pack):
    foreign = module(pack, "nodes.prediction").foreign_sampling

    class Flow:
        pass

    class Sampling(Flow):
        sigma_max = 1.0

    assert foreign(Sampling()) == "another kind of prediction (Flow)"
