"""How far a picture can be shrunk before it loses detail, measured from its spectrum."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from .transparency import opaque

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in the brightness."""

WINDOW = 256
"""Pixels. Spectra are averaged over squares of this side, half overlapping (Welch's method)."""

STEPS = 8
"""Bands in an octave."""

OCTAVES = 5
"""That are looked at below the highest frequency; the lowest is only compared with."""

LEAST = 0.25
"""Where all higher bands have less than this share of the energy of the band an octave below, there is no detail. Sharp
photographs have about as much energy in every octave; docs/sizes.md has the table that this was chosen by."""

SHARP = 1.25
"""A smaller factor is none: the grain of a sharp photograph hides the last of its detail."""

AXES = 0.02
"""Cycles per pixel. Frequencies nearer to the axes do not count: the blocks of JPEG and the lines of scanners lie there."""

CORNERS = 0.6
"""Cycles per pixel. Only diagonals go beyond, where enlarging leaves nothing: what is found there is noise."""


def detail_factor(picture: Tensor) -> float:
    """By how much a picture can be shrunk before it loses detail: 1 for a sharp one, about 4 for one enlarged 4 times.

    The energy of the brightness is taken in bands of frequency of equal width in octaves, less what white noise as strong
    as in the corners of the spectrum has in them. Detail ends at the first band from which on all have fallen under ``LEAST`` of
    the band an octave below it.

    Args:
        picture: ``(B, 3 or 4, H, W)`` in [0, 1]; the sharpest of a batch counts.

    Returns:
        A multiple of a half within 1 to 16.
    """
    grey = (opaque(picture).float().cpu() * torch.tensor(LUMA).view(3, 1, 1)).sum(dim=1)
    return min(map(_factor, grey))


def _factor(grey: Tensor) -> float:
    energy = _band_energies(_power(grey))
    for index in range(STEPS, len(energy)):
        if max(energy[index:]) < LEAST * energy[index - STEPS]:
            factor = 2 ** ((len(energy) - index - 0.5) / STEPS)
            return max(1.0, round(2 * factor) / 2) if factor >= SHARP else 1.0
    return 1.0


def _power(grey: Tensor) -> Tensor:
    """The power spectrum of a picture ``(H, W)``, averaged over windows; its sides are those of a window."""
    height, width = (min(WINDOW, side) for side in grey.shape)
    weights = _hann(height)[:, None] * _hann(width)
    total, count = torch.zeros(height, width), 0
    for band in grey.unfold(0, height, max(1, height // 2)):  # (W, height)
        windows = band.unfold(0, width, max(1, width // 2))  # (n, height, width)
        windows = (windows - windows.mean(dim=(1, 2), keepdim=True)) * weights
        total += torch.fft.fft2(windows).abs().square().sum(dim=0)
        count += len(windows)
    return total / count


def _hann(length: int) -> Tensor:
    return torch.hann_window(length + 2, periodic=False)[1:-1]  # so that one pixel has a weight, too


def _band_energies(power: Tensor) -> list[float]:
    """Energy per octave in each band from low to high, without the noise, smoothed over three bands."""
    down, across = (torch.fft.fftfreq(side) for side in power.shape)
    frequency = torch.hypot(down[:, None], across)
    counted = (down.abs()[:, None] > AXES) & (across.abs() > AXES)
    noise = _mean(power[(frequency > CORNERS) & counted])
    edges = [0.5 * 2 ** (-step / STEPS) for step in range(STEPS * OCTAVES, -1, -1)]
    energies = []
    for low, high in pairwise(edges):
        within = power[(frequency >= low) & (frequency < high) & counted]
        energies.append(max(0.0, _mean(within) - noise) * low * high if len(within) else 0.0)
    return [_mean(torch.tensor(energies[max(0, index - 1) : index + 2])) for index in range(len(energies))]


def _mean(values: Tensor) -> float:
    return values.mean().item() if len(values) else 0.0
