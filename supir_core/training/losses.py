"""What the networks are trained to make small."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..evaluation.metrics import gradient_deviation
from ..sdxl.schedule import training_sigmas

HUBER = 1e-3
"""Constant of the pseudo-Huber distance of consistency distillation (Luo et al. 2023, LCM)."""


def noised(z: Tensor, index: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Latents at training noise levels ``index`` ``(B,)``, as the UNet gets them, and the levels, ``(B, 1, 1, 1)``."""
    sigma = training_sigmas().to(z)[index][:, None, None, None]
    return (z + sigma * noise) / (sigma**2 + 1).sqrt(), sigma


def noise_loss(predicted: Tensor, noise: Tensor, sigma: Tensor, kind: str = "velocity") -> Tensor:
    """Squared error of the noise, or of the velocity, which is that times sigma^2 + 1 (Salimans & Ho 2022, section 4).

    Without the weight the high levels, where a restoration is decided, count for next to nothing.
    """
    squares = (predicted.float() - noise).square()
    return ((sigma**2 + 1) * squares if kind == "velocity" else squares).mean()


def robust_loss(from_damaged: Tensor, from_clean: Tensor, clean: Tensor, perceived: float = 0.0) -> Tensor:
    """||D(E_dr(x_LQ)) - D(E_dr(x_GT))||^2 (Yu et al. 2024, eq. 1), with an anchor.

    That loss alone is content with an encoder that sees nothing; the anchor holds both decodes to x_GT. To the anchor
    may belong GMSD, which rose while squared error alone fell.

    Args:
        from_damaged: D(E_dr(x_LQ)), ``(B, 3, H, W)`` in [-1, 1].
        from_clean: D(E_dr(x_GT)) of the first rows; with none of them only the anchor is left.
        clean: x_GT, shaped as ``from_damaged``.
        perceived: weight of GMSD.
    """
    few = len(from_clean)
    anchor = F.mse_loss(from_damaged, clean)
    if perceived:
        with torch.autocast(clean.device.type, enabled=False):  # in [-1, 1] gradients are twice those in [0, 1]
            anchor = anchor + perceived * gradient_deviation(from_damaged / 2, clean / 2).mean()
    if not few:
        return anchor
    return F.mse_loss(from_damaged[:few], from_clean) / 2 + anchor + F.mse_loss(from_clean, clean[:few]) / 2


def consistency_loss(student: Tensor, target: Tensor) -> Tensor:
    """Pseudo-Huber distance (Luo et al. 2023) of two one-step previews of one path (Huang et al. 2024, eq. 5)."""
    return ((student - target).square() + HUBER**2).sqrt().mean() - HUBER


def solver_step(z: Tensor, eps: Tensor, sigma: Tensor, sigma_next: Tensor) -> Tensor:
    """One step of DDIM (Song et al. 2021) between levels ``(B, 1, 1, 1)``, for latents as the UNet gets them."""
    x = z * (1 + sigma**2).sqrt()
    return (x + (sigma_next - sigma) * eps) / (1 + sigma_next**2).sqrt()
