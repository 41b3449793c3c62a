"""How far a picture is from another, for those who have no other package: the demonstration, training, and seams.

The metrics of ``supir evaluate`` are those of kept libraries, see ``measures``.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)
STABILITY = 0.0026
"""GMSD's constant for pictures in [0, 1]."""
TINY = 1e-14


def psnr(picture: Tensor, reference: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of pictures in [0, 1]; larger is closer."""
    return -10 * torch.log10((picture - reference).double().square().mean()).item()


def gmsd(picture: Tensor, reference: Tensor) -> float:
    """Gradient magnitude similarity deviation (Xue et al. 2014), a perceptual distance; smaller is closer.

    ::

        GMS  = (2 m r + c) / (m^2 + r^2 + c)      m, r: gradient magnitudes of the pictures at half size
        GMSD = standard deviation of GMS over the pixels

    Args:
        picture: ``(B, 3, H, W)`` in [0, 1].
        reference: shaped as ``picture``.

    Returns:
        0 for the same picture; about 0.1 for visible damage, 0.3 for heavy.
    """
    return gradient_deviation(picture, reference).mean().item()


def gradient_deviation(picture: Tensor, reference: Tensor) -> Tensor:
    """GMSD of each picture, ``(B,)``, to learn by: its gradient is finite, for flat and for equal pictures too."""
    ours, theirs = (_gradient_magnitude(image) for image in (picture, reference))
    similarity = (2 * ours * theirs + STABILITY) / (ours**2 + theirs**2 + STABILITY)
    return _root(similarity.flatten(1).var(dim=1, correction=0))


def seam_ratio(picture: Tensor, rows: Iterable[int], columns: Iterable[int]) -> float:
    """Gradient energy across tile borders against that elsewhere: 1 where no border shows.

    Args:
        picture: ``(B, C, H, W)``; the difference of a tiled and an untiled picture shows seams best.
        rows: first row below each horizontal border.
        columns: first column right of each vertical border.
    """
    on, off = [], []
    for axis, borders in ((2, rows), (3, columns)):
        energy = picture.diff(dim=axis).square().double().transpose(axis, 0).flatten(1).mean(1)
        marked = torch.zeros(len(energy), dtype=torch.bool)
        marked[torch.tensor([border - 1 for border in borders], dtype=torch.long)] = True
        on.append(energy[marked])
        off.append(energy[~marked])
    return (torch.cat(on).mean() / torch.cat(off).mean()).item()


def _gradient_magnitude(picture: Tensor) -> Tensor:
    """Prewitt gradient of the luma at half size, ``(B, 1, H/2, W/2)``."""
    luma = (picture[:, :3] * picture.new_tensor(LUMA)[:, None, None]).sum(1, keepdim=True)
    half = F.avg_pool2d(luma, 2)
    across = picture.new_tensor([[1.0, 0.0, -1.0]] * 3) / 3
    kernels = torch.stack([across, across.T])[:, None]
    return _root(F.conv2d(half, kernels, padding=1).square().sum(1, keepdim=True))


def _root(squares: Tensor) -> Tensor:
    """Square root with no infinite slope at 0."""
    return squares.clamp_min(TINY).sqrt()
