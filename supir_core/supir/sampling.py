"""Noise schedules and the two samplers, as plain functions over a denoiser (see ``denoiser.Denoiser``)."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from ..restoration.denoiser import Denoiser
from ..restoration.noise import Callback, Noise
from ..sdxl.config import SIGMA_MAX
from ..sdxl.schedule import training_sigmas

MOST_STEPS = 1000

EARLY_SIGMA = 0.05
"""As released, restoration guidance rests once the next sigma is at or below this."""

LARGEST_SIGMA = training_sigmas()[-1].item()


def ddpm_sigmas(steps: int) -> Tensor:
    """The release's schedule: ``steps`` training sigmas, evenly spaced in time, then 0: ``(steps + 1,)``, float32.

    Raises:
        ValueError: ``steps`` is not within 1 to 1000.
    """
    if not 1 <= steps <= MOST_STEPS:
        raise ValueError(f"steps must be within 1 to {MOST_STEPS}, got {steps}")
    indices = np.linspace(999, 0, steps, endpoint=False).astype(int)
    return torch.cat([training_sigmas()[torch.from_numpy(indices.copy())], torch.zeros(1)])


def schedule(steps: int, sampler: str) -> Tensor:
    """The noise levels that a sampler was published with: ``"edm"`` or, respaced, ``"dpmpp_2m_sde"``."""
    sigmas = ddpm_sigmas(steps)
    return karras_sigmas(sigmas) if sampler == "dpmpp_2m_sde" else sigmas


def karras_sigmas(sigmas: Tensor, rho: float = 7.0) -> Tensor:
    """Respace a schedule evenly in sigma^(1/rho) between its ends, the final 0 aside (Karras et al. 2022, eq. 5)."""
    steps = len(sigmas) - 1
    first, last = sigmas[0] ** (1 / rho), sigmas[steps - 1] ** (1 / rho)
    ramp = torch.linspace(0, 1, steps, dtype=sigmas.dtype)
    return torch.cat([(first + ramp * (last - first)) ** rho, sigmas.new_zeros(1)])


def published_sampler(name: str, s_churn: float, s_noise: float) -> Callable[..., Tensor]:
    """The sampler of that name with its noise: ``sampler(denoiser, x, sigmas, noise, ...)``."""
    if name == "edm":
        return partial(sample_restore_edm, s_churn=s_churn, s_noise=s_noise)
    return partial(sample_restore_dpmpp_2m_sde, s_noise=s_noise)


def restore_towards(denoised: Tensor, z_center: Tensor | None, scale: float, sigma: float, next_sigma: float) -> Tensor:
    """Restoration guidance: pull the prediction towards the input (Yu et al. 2024, Algorithm 1).

    ::

        denoised <- denoised - (sigma / SIGMA_MAX) ** scale * (denoised - z_center)

    Beyond the training levels, where other models sample, the pull is 1, which gives ``z_center`` itself.

    Args:
        denoised: prediction, ``(B, 4, h, w)``.
        z_center: latent of the stage-1 picture, of the same shape; ``None`` turns the pull off.
        scale: exponent tau_r; larger pulls *less*, 0 or below turns the pull off; the paper uses 4.
        sigma: this step's noise level, before churn.
        next_sigma: the next one; no pull once it is at or below 0.05.
    """
    if z_center is None or scale <= 0 or next_sigma <= EARLY_SIGMA:
        return denoised
    # as released, by the rounded number, so that the pull at the largest of the levels is 3e-6 over 1
    pull = (sigma / SIGMA_MAX) ** scale if sigma <= LARGEST_SIGMA else 1.0
    return denoised - (denoised - z_center) * pull


@torch.no_grad()
def sample_restore_edm(
    denoiser: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    noise: Noise,
    *,
    z_center: Tensor | None = None,
    restoration_scale: float = 0.0,
    s_churn: float = 0.0,
    s_noise: float = 1.0,
    s_min: float = 0.0,
    s_max: float = math.inf,
    callback: Callback | None = None,
) -> Tensor:
    """Restoration-guided Euler sampling, Algorithm 1 of Yu et al. (2024); without guidance that of Karras et al. (2022).

    Args:
        denoiser: what predicts the clean latent.
        x: noise at ``sigmas[0]`` (see ``start_latent``), ``(B, 4, h, w)``, scaled latent units.
        sigmas: decreasing noise levels, ``(steps + 1,)``; they end in 0, or above where others sample on.
        noise: source of the churn's noise, drawn once a step while the churn is above 0.
        z_center: what restoration guidance pulls towards, shaped as ``x``.
        restoration_scale: see ``restore_towards``; larger pulls *less*, 0 or below is off.
        s_churn: total churn; a step adds min(s_churn / steps, sqrt 2 - 1) of its sigma as fresh noise.
        s_noise: standard deviation of that noise; a little over 1 keeps detail, too much leaves grain.
        s_min: lowest sigma that is churned.
        s_max: highest sigma that is churned.
        callback: told of every step.

    Returns:
        The latent at the last of the levels, clean at 0, shaped as ``x``.
    """
    levels = sigmas.tolist()
    steps = len(levels) - 1
    for i, (sigma, next_sigma) in enumerate(pairwise(levels)):
        gamma = min(s_churn / steps, 2**0.5 - 1) if s_min <= sigma <= s_max else 0.0
        sigma_hat = sigma * (1 + gamma)
        if gamma > 0:
            x = x + noise(x) * (s_noise * (sigma_hat**2 - sigma**2) ** 0.5)
        denoised = denoiser(x, x.new_full((len(x),), sigma_hat), sigma)
        denoised = restore_towards(denoised, z_center, restoration_scale, sigma, next_sigma)
        x = x + (x - denoised) / sigma_hat * (next_sigma - sigma_hat)
        if callback:
            callback(i, denoised)
    return x


@torch.no_grad()
def sample_restore_dpmpp_2m_sde(
    denoiser: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    noise: Noise,
    *,
    z_center: Tensor | None = None,
    restoration_scale: float = 0.0,
    eta: float = 1.0,
    s_noise: float = 1.0,
    callback: Callback | None = None,
) -> Tensor:
    """DPM-Solver++(2M) SDE (Lu et al. 2022), with restoration guidance.

    As released, neither the first step nor that to 0 adds noise. The release drops restoration guidance here; with
    ``restoration_scale`` 0 this is the release's sampler.

    Arguments are those of ``sample_restore_edm``; ``sigmas`` were published with ``karras_sigmas``, ``noise`` is drawn once
    on every step but the first and that to 0, and ``eta`` is the share of noise put back at every step, 0 to 1.
    """
    previous, h_last = x, 0.0
    for i, (sigma, next_sigma) in enumerate(pairwise(sigmas.tolist())):
        denoised = denoiser(x, x.new_full((len(x),), sigma), sigma)
        denoised = restore_towards(denoised, z_center, restoration_scale, sigma, next_sigma)
        if next_sigma == 0:
            x = denoised
        else:
            h = math.log(sigma / next_sigma)
            target = denoised
            if i > 0:
                half = h / (2 * h_last)
                target = (1 + half) * denoised - half * previous
            x = next_sigma / sigma * math.exp(-eta * h) * x - math.expm1(-h - eta * h) * target
            if i > 0 and eta > 0:
                x = x + noise(x) * (s_noise * next_sigma * math.sqrt(-math.expm1(-2 * eta * h)))
            previous, h_last = denoised, h
        if callback:
            callback(i, denoised)
    return x
