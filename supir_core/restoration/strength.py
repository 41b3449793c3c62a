"""Less of a restoration: sampling begins at a lower noise level, and ``canvas.finish`` blends the result with the picture.

Either alone does not do: from a lower level the encoder's picture remains, which may lie far from the input, and a plain
blend shows two pictures, as what was invented from pure noise lies elsewhere than what it replaces.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor


def truncated(schedule: Callable[[int], Tensor], steps: int, strength: float, most: int) -> Tensor:
    """The last ``steps`` of a longer schedule, of which they are the share ``strength``; the schedule itself at 1.

    Args:
        schedule: gives decreasing noise levels and a 0 for a number of steps, up to ``most``.
        steps: that are sampled.
        strength: 0 to 1.
        most: steps that the longer schedule may have.
    """
    longer = round(steps / strength) if strength * most > steps else most
    return schedule(longer)[-(steps + 1) :]


def start_from(latent: Tensor, unit_noise: Tensor, sigmas: Tensor) -> Tensor:
    """Where sampling starts from a latent: under noise of the first level."""
    return latent + sigmas[0].item() * unit_noise
