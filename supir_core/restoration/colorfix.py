"""Colour of the reference, detail of the result (Yu et al. 2024 use both ways; Wang et al. 2023, StableSR)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..sdxl.memory import memory_for

LEVELS = 5


@memory_for("colours are fixed", "Set color_fix to none, restore at a smaller size")
def fix_color(image: Tensor, reference: Tensor, mode: str = "wavelet", strength: float = 1.0) -> Tensor:
    """Give a picture the colours of another.

    Args:
        image: the restored picture, ``(B, 3 or 4, H, W)``; alpha is kept as it is.
        reference: whose colours to take, usually stage 1, ``(B or 1, 3 or 4, H, W)``.
        mode: ``"wavelet"`` (low frequencies of the reference), ``"adain"`` (its mean and deviation), ``"none"``.
        strength: 1 the full correction, 0 none.

    Returns:
        Shaped as ``image``, in the same units, not clamped.

    Raises:
        ValueError: no such mode, or the pictures differ in size, number or channels.
    """
    if mode == "none":
        return image
    fixes = {"wavelet": wavelet_color, "adain": adain_color}
    if mode not in fixes:
        raise ValueError(f'color fix must be "wavelet", "adain" or "none", got "{mode}"')
    if image.shape[2:] != reference.shape[2:]:
        raise ValueError(
            f"the picture is {image.shape[3]}x{image.shape[2]} but the reference is "
            f"{reference.shape[3]}x{reference.shape[2]}; resize the reference to the picture's size"
        )
    if reference.shape[1] < 3:
        raise ValueError(f"the reference must have 3 or 4 channels, got {reference.shape[1]}; convert it to RGB")
    if len(reference) not in (1, len(image)):
        raise ValueError(
            f"got {len(reference)} references for {len(image)} pictures; give one for all, or one for each"
        )
    color, alpha = image[:, :3], image[:, 3:]
    fixed = fixes[mode](color, reference[:, :3].to(image))
    return torch.cat([torch.lerp(color, fixed, strength), alpha], dim=1)


def wavelet_color(content: Tensor, style: Tensor) -> Tensor:
    """High frequencies of ``content``, low ones of ``style``, split by five levels of the a-trous wavelet.

    All the levels but the last cancel out: content - low(content) + low(style) = content + low(style - content).
    One channel at a time, as a large picture's temporaries are large too.
    """
    channels = zip(content.split(1, dim=1), style.split(1, dim=1), strict=True)
    return torch.cat([ours + low_frequencies(theirs - ours) for ours, theirs in channels], dim=1)


def low_frequencies(image: Tensor) -> Tensor:
    """Blur by the 3x3 binomial kernel at dilations 1, 2, 4, 8, 16, borders repeated."""
    for level in range(LEVELS):
        for axis in (2, 3):
            image = _binomial(image, 2**level, axis)
    return image


def adain_color(content: Tensor, style: Tensor) -> Tensor:
    """Mean and deviation of ``style`` in each channel (Huang and Belongie 2017, eq. 8)."""
    mean, deviation = _statistics(content)
    style_mean, style_deviation = _statistics(style)
    return (content - mean) / deviation * style_deviation + style_mean


def _statistics(image: Tensor) -> tuple[Tensor, Tensor]:
    correction = min(1, image[0, 0].numel() - 1)  # one pixel deviates by 0
    variance, mean = torch.var_mean(image, dim=(2, 3), correction=correction, keepdim=True)
    return mean, (variance + 1e-5).sqrt()


def _binomial(image: Tensor, dilation: int, axis: int) -> Tensor:
    """Weights 1/4, 1/2, 1/4 along one axis."""
    pad = (0, 0, dilation, dilation) if axis == 2 else (dilation, dilation, 0, 0)
    padded = F.pad(image, pad, mode="replicate")
    length = image.shape[axis]
    before, after = (padded.narrow(axis, start, length) for start in (0, 2 * dilation))
    return image / 2 + (before + after) / 4
