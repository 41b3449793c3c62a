"""Tiles planned to fit a picture: as many, and as large, as cost the fewest operations.

A tile of a fixed side wastes what its neighbours and the border make it share: 2048 pixels take 3 tiles of 1024 that
overlap by 256, but 2 of 1088 that overlap by 128. SDXL was trained at about one megapixel in many shapes, so the sides
may be chosen, along each axis by itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

from .tiling import TilePlan

LATENT_STEP = 8
"""Sides of planned tiles are multiples of this many latent pixels, 64 of the picture."""


class Cost(NamedTuple):
    """Operations in TFLOP of a guided call on a tile of ``a`` latent pixels: ``linear * a + square * a^2``."""

    linear: float
    square: float

    def of(self, area: int) -> float:
        """TFLOP of one tile of so many latent pixels."""
        return self.linear * area + self.square * area**2


class Bounds(NamedTuple):
    """What a planned tile may be: sides and overlap in latent pixels, the area in squares of them."""

    least: int
    most: int
    area: int
    overlap: int


class Cut(NamedTuple):
    """How one side is cut: ``tiles`` of ``side`` pixels whose neighbours share ``overlap`` or more."""

    tiles: int
    side: int
    overlap: int


def plan_tiles(size: tuple[int, int], cost: Cost, bounds: Bounds) -> TilePlan:
    """The cheapest tiles for a latent of (height, width); among equals the most square, then the largest overlap.

    A latent that is within the bounds itself is one tile; a side that is shorter than the shortest tile is not cut.

    Raises:
        ValueError: no tile is within the bounds.
    """
    height, width = size
    pairs = [pair for pair in product(cuts(height, bounds), cuts(width, bounds)) if _area(pair) <= bounds.area]
    if not pairs:
        raise ValueError(
            f"no tile has sides of {bounds.least} to {bounds.most} and an area of at most {bounds.area} latent pixels; "
            "allow shorter sides or a larger area"
        )

    def rank(pair: tuple[Cut, Cut]) -> tuple[bool, float, float, int]:
        down, across = pair
        tiles, sides = down.tiles * across.tiles, (down.side, across.side)
        shared = down.overlap + across.overlap
        return tiles > 1, tiles * cost.of(_area(pair)), max(sides) / min(sides), -shared

    down, across = min(pairs, key=rank)
    return TilePlan((down.side, across.side), (down.overlap, across.overlap))


def cuts(length: int, bounds: Bounds) -> Iterator[Cut]:
    """The ways to cut a side: in one piece, and for each side of a tile the fewest that will do, spread evenly."""
    if length <= bounds.most:
        yield Cut(1, length, 0)
    for side in range(bounds.least, min(bounds.most, length - 1) + 1, LATENT_STEP):
        strides = -(-(length - side) // (side - bounds.overlap))
        stride = -(-(length - side) // strides)
        yield Cut(strides + 1, side, side - stride)


def _area(pair: tuple[Cut, Cut]) -> int:
    return pair[0].side * pair[1].side
