"""What a run takes in operations, hours and bytes, counted on paper; docs/scale.md explains the formula."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..restoration.settings import CommonSettings
from ..sdxl.memory import GIB
from ..supir.denoiser import UNGUIDED
from ..supir.settings import Settings

CALL_TFLOP = (1.678e-5, 2.06e-12)
"""Of a guided call of SUPIR on a tile, two rows, for each pixel and for each pair of pixels (benchmarks/operations.py)."""

INSTANTIR_CALL = 1.97
"""A step of InstantIR, in guided calls of SUPIR."""

VAE_TFLOP = (2.718e-5, 2.0e-12)
"""Of all the passes of a picture through the VAE, likewise."""

PEAK = {"RTX 3090": 71, "RTX 4090": 165, "L40S": 362, "A100": 312, "H100": 989}
"""TFLOP a second of dense float16 with float32 sums, as the makers publish."""

USED = 0.4
"""Part of the peak that is taken to be reached; measure it on your card with benchmarks/guided_call.py."""

REQUESTS = {"GET": 4, "PUT and POST": 3}
"""To S3, for each picture: itself, two names of a caption, and the result, which may be there; then begin, send and complete the
result, which is one more for each 50 MB."""


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
    call = INSTANTIR_CALL
    if isinstance(settings, Settings):
        call = 0.5 if settings.cfg == UNGUIDED else 1.0
    sampling = vae = 0.0
    for load in loads:
        height, width = load.size
        tile = min(settings.tile, height) * min(settings.tile, width)
        sampling += call * load.calls * _tflop(CALL_TFLOP, tile)
        vae += _tflop(VAE_TFLOP, height * width)
    return Cost(sampling, vae, sum(load.read for load in loads), sum(load.written for load in loads))


def _tflop(factors: tuple[float, float], pixels: int) -> float:
    return factors[0] * pixels + factors[1] * pixels**2


def describe(cost: Cost, pictures: int) -> str:
    """The cost in a line."""
    hours = ", ".join(f"{card} {cost.hours(card):.3g}" for card in PEAK)
    requests = ", ".join(f"{count * pictures:,} {kind}" for kind, count in REQUESTS.items())
    return (
        f"with the full-size networks: {(cost.sampling + cost.vae) / 1000:.3g} PFLOP, of which the VAE "
        f"{cost.vae / 1000:.3g}; GPU hours at {USED:.0%} of the peak: {hours}; read {cost.read / GIB:.3g} GiB, written about "
        f"{cost.written / GIB:.3g} GiB; of a store {requests} requests"
    )
