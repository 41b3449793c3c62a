"""The noise levels that SDXL was trained at."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

CPU = torch.device("cpu")


def _training_sigmas() -> Tensor:
    betas = np.linspace(0.00085**0.5, 0.0120**0.5, 1000) ** 2
    abar = np.cumprod(1 - betas)
    return torch.from_numpy(np.sqrt((1 - abar) / abar)).float()


_TABLES = {CPU: _training_sigmas()}
"""A dictionary, as torch.compile sees through functools.cache, and would fill it again at every call."""


def training_sigmas(device: torch.device = CPU) -> Tensor:
    """The 1000 noise levels of SDXL's training, ascending, float32; each device gets them once.

    Betas are linear in the square root from 0.00085 to 0.0120; sigma = sqrt((1 - abar) / abar).
    """
    if device not in _TABLES:
        _TABLES[device] = _TABLES[CPU].to(device)
    return _TABLES[device]


def level_at(index: Tensor, like: Tensor) -> Tensor:
    """The training noise levels of rows, ``(B,)``, beside latents ``like``: ``(B, 1, 1, 1)``."""
    return training_sigmas().to(like)[index][:, None, None, None]


def noised(z: Tensor, index: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Latents at training noise levels ``index`` ``(B,)``, as the UNet gets them, and the levels, ``(B, 1, 1, 1)``."""
    sigma = level_at(index, z)
    return (z + sigma * noise) / (sigma**2 + 1).sqrt(), sigma


def denoised(x: Tensor, eps: Tensor, sigma: Tensor) -> Tensor:
    """The latents of which ``noised`` makes ``x`` with noise ``eps``, at levels ``(B, 1, 1, 1)``."""
    return (1 + sigma**2).sqrt() * x - sigma * eps


def nearest_index(sigma: Tensor, table: Tensor | None = None) -> Tensor:
    """Where the nearest of the training sigmas is, by linear distance as released: ``(B,)`` -> ``(B,)`` int64.

    ``table`` holds a host's own training sigmas.
    """
    levels = (training_sigmas(sigma.device) if table is None else table).to(sigma)
    return (sigma[:, None] - levels).abs().argmin(dim=1)
