"""What a run takes in operations, hours and bytes, counted on paper; docs/scale.md explains the formula."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

from ..restoration.settings import CommonSettings
from ..sdxl.config import LATENT_PIXELS
from ..sdxl.memory import GIB
from ..supir.denoiser import UNGUIDED
from ..supir.settings import Settings

VAE_TFLOP = (2.718e-5, 2.0e-12)
"""Of all the passes of a picture through the VAE, for each pixel and for each pair of pixels (benchmarks/operations.py)."""

PEAK = {"RTX 3090": 71, "RTX 4090": 165, "L40S": 362, "A100": 312, "H100": 989}
"""TFLOP a second of dense float16 with float32 sums, as the makers publish."""

USED = 0.4
"""Part of the peak that is taken to be reached; measure it on your card with benchmarks/guided_call.py."""

REQUESTS = {"GET": 6, "PUT and POST": 3}
"""To S3, for each picture: itself, two names of a caption and of a mask, and the result, which may be there; then begin, send
and complete the result, which is one more for each 50 MB."""


class Load(NamedTuple):
    """One picture: (height, width) at which it is worked on, network calls, bytes read, bytes written."""

    size: tuple[int, int]
    calls: int
    read: int
    written: float


class Cost(NamedTuple):
    """Of many pictures: TFLOP of the networks that sample and of the VAE, bytes read and written."""

    sampling: float
    vae: float
    read: int
    written: float

    def hours(self, card: str) -> float:
        """GPU hours on a card."""
        return (self.sampling + self.vae) / (PEAK[card] * USED * 3600)


def cost_of(loads: Sequence[Load], settings: CommonSettings) -> Cost:
    """What pictures take with the full-size networks."""
    share = 0.5 if isinstance(settings, Settings) and settings.cfg == UNGUIDED else 1.0
    sampling = vae = 0.0
    for load in loads:
        height, width = load.size
        tile = settings.plan(height // LATENT_PIXELS, width // LATENT_PIXELS).window
        sampling += share * load.calls * settings.cost.of(prod(tile))
        linear, square = VAE_TFLOP
        vae += linear * height * width + square * (height * width) ** 2
    return Cost(sampling, vae, sum(load.read for load in loads), sum(load.written for load in loads))


def describe(cost: Cost, pictures: int) -> str:
    """The cost in a line."""
    hours = ", ".join(f"{card} {cost.hours(card):.3g}" for card in PEAK)
    requests = ", ".join(f"{count * pictures:,} {kind}" for kind, count in REQUESTS.items())
    return (
        f"with the full-size networks: {(cost.sampling + cost.vae) / 1000:.3g} PFLOP, of which the VAE "
        f"{cost.vae / 1000:.3g}; GPU hours at {USED:.0%} of the peak: {hours}; read {cost.read / GIB:.3g} GiB, written about "
        f"{cost.written / GIB:.3g} GiB; of a store {requests} requests"
    )
