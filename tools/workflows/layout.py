"""Where the blocks of a graph go: so that all of it can be read in the window of a small laptop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise, product
from typing import NamedTuple

GAP = 24
"""Between blocks."""

WINDOW = (1440, 900)
MARGINS = (100, 80)
"""What the frontend's bars cover of a window, left and top, in its pixels."""

LARGEST_SCALE = 1.0


class Size(NamedTuple):
    """Of a block, or of all of them."""

    width: int
    height: int


class Place(NamedTuple):
    """Where a block begins, and the height that it gets."""

    left: int
    top: int
    height: int


def arrange(sizes: Sequence[Size]) -> list[Place]:
    """Blocks in reading order: in rows or in columns, whatever lets all of them be shown largest."""
    layouts = [set_out(lines) for lines in _partitions(sizes) for set_out in (_in_rows, _in_columns)]
    return min(layouts, key=lambda places: _share(extent(sizes, places)))


def extent(sizes: Sequence[Size], places: Sequence[Place]) -> Size:
    """What placed blocks take, from the origin."""
    placed = list(zip(sizes, places, strict=True))
    width = max(place.left + size.width for size, place in placed)
    return Size(width, max(place.top + place.height for place in places))


def view(size: Size) -> dict[str, float | list[float]]:
    """The window onto a graph that ComfyUI opens it in: all of it, beside the bars (``extra.ds``)."""
    room = [(whole - 2 * margin) / side for whole, margin, side in zip(WINDOW, MARGINS, size, strict=True)]
    scale = round(min(*room, LARGEST_SCALE), 3)
    return {"scale": scale, "offset": [round(margin / scale) for margin in MARGINS]}


def _partitions(sizes: Sequence[Size]) -> Iterator[list[Sequence[Size]]]:
    """All ways to break a line of blocks into shorter ones."""
    for breaks in product((False, True), repeat=len(sizes) - 1):
        cuts = [0, *(number for number, cut in enumerate(breaks, 1) if cut), len(sizes)]
        yield [sizes[start:end] for start, end in pairwise(cuts)]


def _in_rows(rows: Sequence[Sequence[Size]]) -> list[Place]:
    """Blocks beside each other; those of a row end on one line."""
    places, top = [], 0
    for row in rows:
        left, height = 0, max(size.height for size in row)
        for size in row:
            places.append(Place(left, top, height))
            left += size.width + GAP
        top += height + GAP
    return places


def _in_columns(columns: Sequence[Sequence[Size]]) -> list[Place]:
    """Blocks above each other; the columns end on one line."""
    places, left = [], 0
    bottom = max(sum(size.height for size in column) + GAP * (len(column) - 1) for column in columns)
    for column in columns:
        top = 0
        for size in column[:-1]:
            places.append(Place(left, top, size.height))
            top += size.height + GAP
        places.append(Place(left, top, bottom - top))
        left += max(size.width for size in column) + GAP
    return places


def _share(size: Size) -> float:
    """The larger of a graph's sides, as a share of the window's."""
    return max(side / whole for side, whole in zip(size, WINDOW, strict=True))
