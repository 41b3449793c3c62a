"""Colours where a picture is transparent: what lies there is not to be seen, but a network would see it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

FAINT = 1 / 8
"""Alpha below which a pixel's own colour counts less and less."""


def opaque(picture: Tensor) -> Tensor:
    """The colours ``(B, 3, H, W)`` of a picture ``(B, 3 or 4, H, W)``, bled from where it is seen to where it is not.

    After that they can be resized and restored without alpha: an edge keeps its colour.
    """
    colors, alpha = picture[:, :3], picture[:, 3:]
    return _filled(colors, (alpha / FAINT).clamp(0, 1)) if picture.shape[1] == 4 else colors


def _filled(colors: Tensor, weight: Tensor) -> Tensor:
    """Fill in colours by the mean of the known ones around, which half the size knows."""
    if weight.amin() >= 1 or max(colors.shape[2:]) == 1:
        return colors
    known = _halved(weight)
    means = _halved(colors * weight) / known.clamp(min=torch.finfo(known.dtype).tiny)
    around = _filled(means, (4 * known).clamp(max=1))
    return torch.lerp(F.interpolate(around, size=colors.shape[2:], mode="bilinear"), colors, weight)


def _halved(plane: Tensor) -> Tensor:
    return F.avg_pool2d(plane, 2, ceil_mode=True)
