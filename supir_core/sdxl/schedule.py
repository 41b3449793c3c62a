"""The noise levels that SDXL was trained at."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor


@cache
def training_sigmas() -> Tensor:
    """The 1000 noise levels of SDXL's training, ascending, float32.

    Betas are linear in the square root from 0.00085 to 0.0120; sigma = sqrt((1 - abar) / abar).
    """
    betas = np.linspace(0.00085**0.5, 0.0120**0.5, 1000) ** 2
    abar = np.cumprod(1 - betas)
    return torch.from_numpy(np.sqrt((1 - abar) / abar)).float()


def nearest_index(sigma: Tensor) -> Tensor:
    """Timestep whose training sigma is nearest, by linear distance as released: ``(B,)`` -> ``(B,)`` int64."""
    table = training_sigmas().to(sigma)
    return (sigma[:, None] - table).abs().argmin(dim=1)
