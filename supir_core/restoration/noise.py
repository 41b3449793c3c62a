"""Noise that a seed decides, and where sampling starts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..sdxl.config import LATENT_CHANNELS, LATENT_PIXELS
from ..sdxl.memory import upload

SEEDS = 2**64
"""How many seeds there are; the one after the last is 0."""

Noise = Callable[[Tensor], Tensor]
"""``noise(x)``: unit normal noise shaped as ``x``, a new draw at every call."""

Callback = Callable[[int, Tensor], None]
"""``callback(step, denoised)`` after every step; an exception from it stops the sampling."""


def seeded_noise(seeds: Sequence[int]) -> Noise:
    """Noise with a generator for each row, so that a batch equals its rows one by one on every device."""
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def noise(x: Tensor) -> Tensor:
        rows = [torch.randn(x.shape[1:], generator=generator) for generator in generators]
        return upload(torch.stack(rows), x.device).to(x.dtype)

    return noise


def latent_noise(seed: int, side: int) -> Tensor:
    """Unit normal noise for the latent of a square picture, ``(4, side / 8, side / 8)``."""
    latent = side // LATENT_PIXELS
    return seeded_noise([seed])(torch.empty(1, LATENT_CHANNELS, latent, latent))[0]


def row_noise(seed: int, rows: int, same: bool = False) -> Noise:
    """Noise of a batch whose row i has the seed ``seed + i``, or the ``same`` for all."""
    return seeded_noise([seed if same else (seed + row) % SEEDS for row in range(rows)])


def start_latent(unit_noise: Tensor, sigmas: Tensor) -> Tensor:
    """Where sampling starts: noise * sqrt(1 + sigma_0^2)."""
    return unit_noise * (1 + sigmas[0].item() ** 2) ** 0.5
