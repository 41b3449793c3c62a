"""What is done where the device's memory is too small for the tiles, before and while they are sampled: smaller ones."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from math import prod
from typing import TypeVar

from torch import Tensor

from ..sdxl.config import LATENT_PIXELS
from ..sdxl.memory import MemoryFullError, is_out_of_memory
from .settings import SIDE_MULTIPLE, CommonSettings

log = logging.getLogger(__name__)

SMALLEST_TILE = 512
"""Side in pixels below which tiles see too little of a picture."""

SettingsT = TypeVar("SettingsT", bound=CommonSettings)


def with_smaller_tiles(
    settings: SettingsT, latent: tuple[int, int], run: Callable[[SettingsT], Tensor], fixed: bool = False
) -> Tensor:
    """Sample, and where memory is full begin again with smaller tiles and the same seed.

    Args:
        settings: how to sample.
        latent: (height, width) of what is sampled.
        run: samples with given settings.
        fixed: whether the tiles must stay as they are, as each has a caption.

    Raises:
        MemoryFullError: memory is full with the smallest tiles too.
    """
    while True:
        try:
            return run(settings)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            smaller = None if fixed else smaller_tiles(settings, latent)
            if smaller is None:
                raise MemoryFullError(
                    f"the memory is full with {settings.plan(*latent).describe(*latent)}, which cannot be made "
                    "smaller. Use --memory stream or --weights float8, close other programs that use the GPU, or restore "
                    "fewer pictures at once"
                ) from error
            log.warning("memory is full; sampling begins again with %s", smaller.plan(*latent).describe(*latent))
        settings = smaller  # outside of the handler, which holds the tensors of the failed attempt


def smaller_tiles(settings: SettingsT, latent: tuple[int, int]) -> SettingsT | None:
    """Settings that take less memory: one tile at a time, else tiles of three quarters; none where that is too small."""
    if settings.tiles_per_call > 1:
        return replace(settings, tiles_per_call=1)
    if not settings.fixed:
        pixels = tile_pixels(settings, latent)
        return with_area(settings, pixels * 9 // 16) if pixels > SMALLEST_TILE**2 else None
    fixed, overlap = (LATENT_PIXELS * sides[0] for sides in settings.fixed)
    side = -(-min(fixed, LATENT_PIXELS * max(latent)) // SIDE_MULTIPLE) * SIDE_MULTIPLE
    if side <= SMALLEST_TILE:
        return None
    tile = max(SMALLEST_TILE, side * 3 // 4 // SIDE_MULTIPLE * SIDE_MULTIPLE)
    return replace(settings, tile=tile, overlap=overlap * tile // fixed // LATENT_PIXELS * LATENT_PIXELS)


def fitting_tiles(settings: SettingsT, latent: tuple[int, int], pixels: int) -> SettingsT:
    """Settings whose planned tiles have no more pixels than the memory takes, down to ``SMALLEST_TILE`` squared."""
    if settings.fixed or tile_pixels(settings, latent) <= pixels:
        return settings
    return with_area(settings, pixels)


def with_area(settings: SettingsT, pixels: int) -> SettingsT:
    """Settings whose planned tiles have at most so many pixels, or those of the smallest tile."""
    return replace(
        settings,
        tile_area=min(settings.tile_area, max(pixels, SMALLEST_TILE**2) / 1e6),
        tile_least=min(settings.tile_least, SMALLEST_TILE),
        overlap=settings.overlap if settings.overlap is None else min(settings.overlap, SMALLEST_TILE // 2),
    )


def tile_pixels(settings: CommonSettings, latent: tuple[int, int]) -> int:
    """Pixels of one tile of a latent of (height, width)."""
    return prod(settings.plan(*latent).window) * LATENT_PIXELS**2
