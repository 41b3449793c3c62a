"""The samplers against k-diffusion's formulas, written out here, and their guidance."""

import math
from itertools import pairwise

import pytest
import torch

from supir_core.restoration.noise import seeded_noise, start_latent
from supir_core.sdxl.config import SIGMA_MAX
from supir_core.sdxl.schedule import training_sigmas
from supir_core.supir.sampling import (
    ddpm_sigmas,
    karras_sigmas,
    restore_towards,
    sample_restore_dpmpp_2m_sde,
    sample_restore_edm,
)

SIGMAS = ddpm_sigmas(12)


def toy_denoiser(x, sigma, schedule_sigma):
    """Not linear, and different at every pixel and noise level."""
    return torch.tanh(x * (1 + 0.1 * torch.arange(x.shape[-1]))) / (1 + 0.05 * sigma[:, None, None, None])


def start(seeds=(0,), size=(5, 7)):
    return start_latent(seeded_noise(seeds)(torch.empty(len(seeds), 4, *size)), SIGMAS)


def euler(x, sigmas, noise, s_churn, s_noise):
    """k-diffusion's Euler sampler (Karras et al. 2022, Algorithm 2 without its correction)."""
    for sigma, following in pairwise(sigmas.tolist()):
        gamma = min(s_churn / (len(sigmas) - 1), 2**0.5 - 1)
        sigma_hat = sigma * (gamma + 1)
        if gamma > 0:
            x = x + noise(x) * s_noise * (sigma_hat**2 - sigma**2) ** 0.5
        d = (x - toy_denoiser(x, x.new_full((len(x),), sigma_hat), sigma)) / sigma_hat
        x = x + d * (following - sigma_hat)
    return x


def dpmpp_2m_sde(x, sigmas, noise, eta, s_noise):
    """k-diffusion's DPM++ 2M SDE with its midpoint solver; the release's first step adds no noise."""
    old, h_last = None, None
    for i, (sigma, following) in enumerate(pairwise(sigmas.tolist())):
        denoised = toy_denoiser(x, x.new_full((len(x),), sigma), sigma)
        if following == 0:
            return denoised
        t, s = -math.log(sigma), -math.log(following)
        h = s - t
        eta_h = eta * h
        x = following / sigma * math.exp(-eta_h) * x - math.expm1(-h - eta_h) * denoised
        if old is not None:
            r = h_last / h
            x = x - 0.5 * math.expm1(-h - eta_h) * (1 / r) * (denoised - old)
        if eta and i:
            x = x + noise(x) * following * math.sqrt(-math.expm1(-2 * eta_h)) * s_noise
        old, h_last = denoised, h
    return x


@pytest.mark.parametrize("s_churn", [0, 3])
def test_edm_without_guidance_is_k_diffusions_euler(s_churn):
    ours = sample_restore_edm(toy_denoiser, start(), SIGMAS, seeded_noise([1]), s_churn=s_churn, s_noise=1.003)
    theirs = euler(start(), SIGMAS, seeded_noise([1]), s_churn, 1.003)
    assert torch.allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("end", [None, -1, 6])
@pytest.mark.parametrize("eta", [0.0, 0.7, 1.0])
def test_dpmpp_without_guidance_is_k_diffusions(eta, end):
    """Down to 0, and to a level above, where another sampler takes over."""
    sigmas = karras_sigmas(SIGMAS)[:end]
    ours = sample_restore_dpmpp_2m_sde(toy_denoiser, start(), sigmas, seeded_noise([1]), eta=eta, s_noise=1.003)
    theirs = dpmpp_2m_sde(start(), sigmas, seeded_noise([1]), eta, 1.003)
    assert torch.allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("sample", [sample_restore_edm, sample_restore_dpmpp_2m_sde])
def test_a_larger_restoration_exponent_pulls_less(sample):
    center = torch.randn(1, 4, 5, 7)

    def distance(scale):
        out = sample(toy_denoiser, start(), SIGMAS, seeded_noise([1]), z_center=center, restoration_scale=scale)
        return (out - center).norm().item()

    distances = [distance(scale) for scale in (0.25, 0.5, 1, 2, 4)]
    assert distances == sorted(distances)
    assert distances[0] < 0.9 * distance(0)


@pytest.mark.parametrize("scale", [0.1, 1.0, 20.0])
def test_the_pull_never_goes_beyond_the_centre(scale):
    def pull(sigma):
        return restore_towards(torch.zeros(1), torch.ones(1), scale, sigma, 1.0).item()

    assert [pull(sigma) for sigma in (SIGMA_MAX, 14.62, 20.0, 4518.0, math.inf)] == [1.0] * 5
    assert 1 <= pull(training_sigmas()[-1].item()) < 1 + 4e-6 * max(scale, 1)  # as released
    below = [pull(sigma) for sigma in (0.1, 1.0, 10.0)]
    assert below == sorted(below)
    assert 0 < below[-1] < 1


@pytest.mark.parametrize("sample", [sample_restore_edm, sample_restore_dpmpp_2m_sde])
def test_a_batch_equals_its_rows_one_by_one(sample):
    options = {"s_churn": 4} if sample is sample_restore_edm else {}
    batch = sample(toy_denoiser, start((3, 4)), SIGMAS, seeded_noise([8, 9]), s_noise=1.01, **options)
    for row, (seed, noise_seed) in enumerate([(3, 8), (4, 9)]):
        alone = sample(toy_denoiser, start((seed,)), SIGMAS, seeded_noise([noise_seed]), s_noise=1.01, **options)
        assert torch.equal(batch[row], alone[0])


def test_churn_keeps_to_its_range_of_sigmas():
    drawn = []

    def noise(x):
        drawn.append(1)
        return torch.zeros_like(x)

    sample_restore_edm(toy_denoiser, start(), SIGMAS, noise, s_churn=4, s_min=1.0, s_max=10.0)
    assert len(drawn) == int(((SIGMAS >= 1) & (SIGMAS <= 10)).sum())


def test_the_callback_sees_each_step_and_can_stop_it():
    seen = []

    def callback(step, denoised):
        seen.append((step, denoised.shape))
        if step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sample_restore_edm(toy_denoiser, start(), SIGMAS, seeded_noise([1]), callback=callback)
    assert seen == [(i, (1, 4, 5, 7)) for i in range(3)]


def test_karras_sigmas_keep_the_ends():
    sigmas = karras_sigmas(SIGMAS)
    assert len(sigmas) == len(SIGMAS)
    assert torch.allclose(sigmas[[0, -2, -1]], SIGMAS[[0, -2, -1]], rtol=1e-5)
    assert (sigmas.diff() < 0).all()
