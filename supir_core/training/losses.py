"""What the networks are trained to make small."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..evaluation.metrics import gradient_deviation

HUBER = 1e-3
"""Constant of the pseudo-Huber distance of consistency distillation (Luo et al. 2023, LCM)."""


def noise_loss(predicted: Tensor, noise: Tensor, sigma: Tensor, kind: str = "velocity") -> Tensor:
    """Squared error of the noise, or of the velocity, which is that times sigma^2 + 1 (Salimans & Ho 2022, section 4).

    Without the weight the high levels, where a restoration is decided, count for next to nothing.
    """
    squares = (predicted.float() - noise).square()
    return ((sigma**2 + 1) * squares if kind == "velocity" else squares).mean()


def robust_loss(from_damaged: Tensor, from_clean: Tensor, clean: Tensor, perceived: float = 0.0) -> Tensor:
    """||D(E_dr(x_LQ)) - D(E_dr(x_GT))||^2 (Yu et al. 2024, eq. 1), with an anchor; all ``(B, 3, H, W)`` in [-1, 1].

    That loss alone is content with an encoder that sees nothing; the anchor holds both decodes to x_GT. To the anchor
    may belong GMSD with a weight of ``perceived``, which rose while squared error alone fell.
    """
    anchor = F.mse_loss(from_damaged, clean)
    if perceived:
        with torch.autocast(clean.device.type, enabled=False):  # in [-1, 1] gradients are twice those in [0, 1]
            anchor = anchor + perceived * gradient_deviation(from_damaged / 2, clean / 2).mean()
    return F.mse_loss(from_damaged, from_clean) / 2 + anchor + F.mse_loss(from_clean, clean) / 2


def consistency_loss(student: Tensor, target: Tensor) -> Tensor:
    """Pseudo-Huber distance (Luo et al. 2023) of two one-step previews of one path (Huang et al. 2024, eq. 5)."""
    return ((student - target).square() + HUBER**2).sqrt().mean() - HUBER


def solver_step(z: Tensor, eps: Tensor, sigma: Tensor, sigma_next: Tensor) -> Tensor:
    """One step of DDIM (Song et al. 2021) between levels ``(B, 1, 1, 1)``, for latents as the UNet gets them."""
    x = z * (1 + sigma**2).sqrt()
    return (x + (sigma_next - sigma) * eps) / (1 + sigma_next**2).sqrt()
