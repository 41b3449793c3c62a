"""Where a restoration stands."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from .denoiser import Denoiser
from .noise import Callback
from .settings import CommonSettings
from .tiling import TileableDenoiser, count_calls, tile_denoiser


class Progress(NamedTuple):
    """Where a restoration stands: ``done`` of ``total`` network calls in ``stage``; ``preview`` after each step."""

    stage: str
    done: int
    total: int
    preview: Tensor | None = None


def in_tiles(
    denoiser: TileableDenoiser,
    z_lq: Tensor,
    sigmas: Tensor,
    settings: CommonSettings,
    report: Callable[[Progress], None],
) -> tuple[Denoiser, Callback]:
    """A denoiser in the tiles that the settings ask for, and a sampler's callback, which both report their progress."""
    window, overlap = settings.latent_tile
    grid = {"shifting": settings.shifting, "tiles_per_call": settings.tiles_per_call}
    height, width = z_lq.shape[2:]
    total = count_calls((height, width), window, overlap, sigmas[:-1].tolist(), **grid)
    done = 0

    def on_tile() -> None:
        nonlocal done
        report(Progress("sample", done, total))
        done += 1

    def on_step(step: int, denoised: Tensor) -> None:
        report(Progress("sample", done, total, denoised))

    tiled = tile_denoiser(denoiser, window, overlap, blend=settings.blend, on_tile=on_tile, **grid)
    return tiled, on_step
