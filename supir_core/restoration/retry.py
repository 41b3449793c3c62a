"""What is done when the device's memory is full while a picture is sampled: the same with smaller tiles."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from torch import Tensor

from ..sdxl.config import LATENT_PIXELS
from ..sdxl.memory import is_out_of_memory
from .settings import SIDE_MULTIPLE, CommonSettings

log = logging.getLogger(__name__)

SMALLEST_TILE = 512
"""Side in pixels below which tiles see too little of a picture."""

SettingsT = TypeVar("SettingsT", bound=CommonSettings)


class MemoryFullError(RuntimeError):
    """The device's memory is full, and smaller tiles do not help or cannot be had."""


def with_smaller_tiles(
    settings: SettingsT, size: tuple[int, int], run: Callable[[SettingsT], Tensor], fixed: bool = False
) -> Tensor:
    """Sample, and where memory is full begin again with smaller tiles and the same seed.

    Args:
        settings: how to sample.
        size: (height, width) in pixels of what is sampled.
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
            smaller = None if fixed else smaller_tiles(settings, size)
            if smaller is None:
                raise MemoryFullError(
                    f"the memory is full with tiles of {min(settings.tile, max(size))} pixels, and they cannot be made "
                    "smaller. Use --memory stream or --weights float8, close other programs that use the GPU, or restore "
                    "fewer pictures at once"
                ) from error
            log.warning("memory is full; sampling begins again with tiles of %d pixels", smaller.tile)
        settings = smaller  # outside of the handler, which holds the tensors of the failed attempt


def smaller_tiles(settings: SettingsT, size: tuple[int, int]) -> SettingsT | None:
    """Settings that take less memory: one tile at a time, else tiles of three quarters; none where that is too small."""
    if settings.tiles_per_call > 1:
        return replace(settings, tiles_per_call=1)
    side = -(-min(settings.tile, max(size)) // SIDE_MULTIPLE) * SIDE_MULTIPLE
    if side <= SMALLEST_TILE:
        return None
    tile = max(SMALLEST_TILE, side * 3 // 4 // SIDE_MULTIPLE * SIDE_MULTIPLE)
    overlap = settings.overlap
    if overlap is not None:
        overlap = min(overlap, overlap * tile // settings.tile // LATENT_PIXELS * LATENT_PIXELS)
    return replace(settings, tile=tile, overlap=overlap)
