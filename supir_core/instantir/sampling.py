"""InstantIR's schedule and sampler, and when what corrects it (Huang et al. 2024)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from ..restoration.denoiser import Denoiser
from ..restoration.noise import Callback, Noise
from ..sdxl.schedule import training_sigmas

MOST_STEPS = 999
LEAST_STRENGTH = 0.1
"""As released, a control strength at or below this is none, and the networks that make the residuals rest."""


def instantir_sigmas(steps: int) -> Tensor:
    """The noise levels of timesteps (steps - 1 - i) * (1000 // steps) + 1, then 0: ``(steps + 1,)``, float32.

    Raises:
        ValueError: ``steps`` is not within 1 to 999.
    """
    if not 1 <= steps <= MOST_STEPS:
        raise ValueError(f"steps must be within 1 to {MOST_STEPS}, got {steps}")
    timesteps = torch.arange(steps - 1, -1, -1) * (1000 // steps) + 1
    return torch.cat([training_sigmas()[timesteps], torch.zeros(1)])


@torch.no_grad()
def sample_ddpm(
    denoiser: Denoiser, x: Tensor, sigmas: Tensor, noise: Noise, *, callback: Callback | None = None
) -> Tensor:
    """Ancestral sampling (Ho et al. 2020, DDPM, Eq. 7) with the posterior's own variance.

    ::

        x <- x0 + (sigma_next / sigma)^2 * (x - x0) + sigma_next * sqrt(1 - (sigma_next / sigma)^2) * noise

    which is DDPM's step for z = x / sqrt(1 + sigma^2).

    Args:
        denoiser: what predicts the clean latent x0.
        x: noisy latent at ``sigmas[0]``, ``(B, 4, h, w)``, scaled latent units.
        sigmas: decreasing noise levels, ``(steps + 1,)``; they end in 0, or above where others sample on.
        noise: source of noise, drawn once on every step but that to 0.
        callback: told of every step.

    Returns:
        The latent at the last of the levels, clean at 0, shaped as ``x``.
    """
    for i, (sigma, next_sigma) in enumerate(pairwise(sigmas.tolist())):
        denoised = denoiser(x, x.new_full((len(x),), sigma), sigma)
        share = (next_sigma / sigma) ** 2
        x = denoised + share * (x - denoised)
        if next_sigma:
            x = x + noise(x) * (next_sigma * (1 - share) ** 0.5)
        if callback:
            callback(i, denoised)
    return x


def step_at(sigma: float, sigmas: Tensor) -> int:
    """The step in whose range a noise level lies: the last whose own level is not below it, else the first.

    Samplers that evaluate between their steps ask for levels that are not in ``sigmas``.
    """
    reached = (sigmas[:-1] >= sigma * (1 - 1e-5)).sum().item()
    return max(int(reached) - 1, 0)


@dataclass(frozen=True)
class Control:
    """How strongly the aggregator corrects the UNet, and in which part of the sampling it and the previewer work.

    The parts are shares of the steps, 0 the first and 1 the last.

    Attributes:
        strength: of the residuals; 1 follows the input, less lets the model roam. As released, more than 1 is 1.
        start: where the aggregator begins.
        end: where it stops, and the previewer with it. Below 1 is creative restoration: the prompt decides the rest;
            0.6 to 0.8 against local distortion.
        preview_start: where the previewer begins; before, the aggregator sees the damaged picture in the preview's
            place. 0.1 to 0.4 for fidelity.
        preview_end: where it stops.
    """

    strength: float = 1.0
    start: float = 0.0
    end: float = 1.0
    preview_start: float = 0.0
    preview_end: float = 1.0

    def __post_init__(self) -> None:
        """Refuse shares outside of the sampling or in the wrong order, and a negative strength."""
        if not self.strength >= 0:  # NaN too
            raise ValueError(f"the control strength must be at least 0, got {self.strength}")
        for name in ("start", "end", "preview_start", "preview_end"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"control {name} must be within 0 to 1, got {getattr(self, name)}")
        for name, start, end in (("", self.start, self.end), ("preview_", self.preview_start, self.preview_end)):
            if start > end:
                raise ValueError(f"control {name}start must be at most {name}end ({end}), got {start}; swap them")

    def strength_at(self, step: int, steps: int) -> float:
        """Strength of the residuals at a step."""
        return min(self.strength, 1.0) if _within(step, steps, self.start, self.end) else 0.0

    def previews_at(self, step: int, steps: int) -> bool:
        """Whether the previewer works at a step."""
        return _within(step, steps, self.preview_start, self.preview_end)


def _within(step: int, steps: int, start: float, end: float) -> bool:
    return step / steps >= start and (step + 1) / steps <= end
