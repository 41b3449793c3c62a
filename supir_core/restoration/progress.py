"""Where a restoration stands."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from .finite import require_finite
from .noise import row_noise
from .settings import CommonSettings
from .tiling import TileableDenoiser, count_calls, tile_denoiser

log = logging.getLogger(__name__)


class Progress(NamedTuple):
    """Where a restoration stands: ``done`` of ``total`` network calls in ``stage``; ``preview`` after each step."""

    stage: str
    done: int
    total: int
    preview: Tensor | None = None


Report = Callable[[Progress], None]


def silent(progress: Progress) -> None:
    """Tell nobody."""


def sample_in_tiles(
    denoiser: TileableDenoiser,
    sampler: Callable[..., Tensor],
    start: Callable[[Tensor, Tensor], Tensor],
    like: Tensor,
    sigmas: Tensor,
    settings: CommonSettings,
    report: Report,
    after_step: Callable[[Tensor], object] | None = None,
) -> Tensor:
    """Sample a latent, in tiles where it is larger than one, and report every network call and step.

    Args:
        denoiser: what denoises, and knows how to crop its own inputs.
        sampler: ``sampler(denoiser, x, sigmas, noise, callback=...)``.
        start: ``start(unit_noise, sigmas)``: where sampling starts.
        like: a latent of the same shape and device, ``(B, 4, h, w)``.
        sigmas: decreasing noise levels that end in 0.
        settings: seed and tiles.
        report: told of progress; an exception from it stops the sampling.
        after_step: given the prediction of each step.

    Raises:
        NotFiniteError: the networks give values that are not finite.
    """
    height, width = like.shape[2:]
    plan = settings.plan(height, width)
    log.info("sampling in %s", plan.describe(height, width))
    grid = {"shifting": settings.shifting, "tiles_per_call": settings.tiles_per_call}
    total = count_calls((height, width), plan, sigmas[:-1].tolist(), **grid)
    done = 0

    def on_tile() -> None:
        nonlocal done
        report(Progress("sample", done, total))
        done += 1

    def on_step(step: int, denoised: Tensor) -> None:
        if after_step:
            after_step(denoised)
        report(Progress("sample", done, total, denoised))

    tiled = tile_denoiser(denoiser, plan, blend=settings.blend, on_tile=on_tile, **grid)
    noise = row_noise(settings.seed, len(like))
    latent = sampler(tiled, start(noise(like.float()), sigmas), sigmas, noise, callback=on_step)
    return require_finite(latent, "sampling")
