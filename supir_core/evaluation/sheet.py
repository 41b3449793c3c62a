"""A sheet to look at and to share: pictures beside each other under their names, and below them the same details enlarged."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import NamedTuple

import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..files.convert import to_image, to_tensor
from ..restoration.canvas import resize
from ..restoration.transparency import opaque
from .elsewhere import MOST_STRETCH

GAP = 8
"""Pixels between pictures."""

TEXT = 0.045
"""Height of the letters in widths of a column."""

COLORS = ("#e6194b", "#3cb44b", "#4363d8", "#f58231")
"""Of the frames that show where the details are."""

PLACES = 48
"""At which details are tried, along the shorter side."""


class Box(NamedTuple):
    """A square part of a picture; all in parts of the picture's shorter side."""

    left: float
    top: float
    side: float


def draw_sheet(
    pictures: Sequence[Tensor],
    labels: Sequence[str] = (),
    details: int | Sequence[tuple[float, float]] = 2,
    zoom: float = 4.0,
    width: int = 512,
    columns: int = 4,
) -> Tensor:
    """Draw pictures beside each other.

    Args:
        pictures: each ``(3 or 4, H, W)`` in [0, 1], of any size and of one shape; shown at the size of the largest.
        labels: names of the first of them; the others get their number.
        details: how many squares are shown enlarged below each picture, where the pictures differ most; or the (x, y) of
            their centres, each within 0 to 1.
        zoom: how many times a detail goes into the shorter side.
        width: of a column in pixels.
        columns: in a row; more pictures go into more rows.

    Returns:
        The sheet, ``(1, 3, H, W)``.

    Raises:
        ValueError: there is no picture, one is of another shape than the first, there are more labels than pictures, a
            centre lies outside, or there is no room for the details.
    """
    if not pictures:
        raise ValueError("a sheet needs at least one picture")
    if len(labels) > len(pictures):
        raise ValueError(f"got {len(labels)} labels for {len(pictures)} pictures; give one for each, or fewer")
    aligned = _aligned(pictures)
    boxes = find_details(aligned, details, zoom) if isinstance(details, int) else _around(aligned, details, zoom)
    if len(boxes) * (GAP + 1) > width:
        raise ValueError(
            f"{len(boxes)} details do not fit below a picture of {width} pixels; take fewer, or a larger width"
        )
    names = [label or str(number) for number, (_, label) in enumerate(zip_longest(pictures, labels), 1)]
    cells = [_cell(picture, name, boxes, width) for picture, name in zip(aligned.split(1), names, strict=True)]
    return to_tensor(_grid(cells, min(columns, len(cells))))


def find_details(pictures: Tensor, count: int, zoom: float) -> list[Box]:
    """The squares in which pictures ``(N, 3, H, W)`` differ most, none over another where there is room."""
    spread = pictures.mean(dim=1, keepdim=True).var(dim=0, correction=0, keepdim=True)
    height, width = _places(pictures)
    spread = F.interpolate(spread, (height, width), mode="area")
    side = max(1, round(PLACES / zoom))
    means = F.avg_pool2d(spread, side, stride=1)[0, 0]
    boxes = []
    for _ in range(count):
        top, left = divmod(int(means.argmax()), means.shape[1])
        boxes.append(Box(left / PLACES, top / PLACES, side / PLACES))
        means[max(0, top - side + 1) : top + side, max(0, left - side + 1) : left + side] = -1
    return boxes


def _places(pictures: Tensor) -> tuple[int, int]:
    height, width = pictures.shape[2:]
    return round(PLACES * height / min(height, width)), round(PLACES * width / min(height, width))


def _aligned(pictures: Sequence[Tensor]) -> Tensor:
    """Pictures at the size of the largest, ``(N, 3, H, W)``."""
    largest = max((picture.shape[1:] for picture in pictures), key=lambda size: size[0] * size[1])
    for number, (_, height, width) in enumerate((picture.shape for picture in pictures), 1):
        if abs(height * largest[1] / (width * largest[0]) - 1) > MOST_STRETCH:
            raise ValueError(
                f"picture {number} has {width}x{height} pixels, which is another shape than the {largest[1]}x{largest[0]} of "
                "the largest; compare results of one picture, none of them cropped or padded"
            )
    size = int(largest[0]), int(largest[1])
    return torch.cat([resize(opaque(picture[None].float().cpu()), size) for picture in pictures])


def _around(pictures: Tensor, centres: Sequence[tuple[float, float]], zoom: float) -> list[Box]:
    """Squares around points, moved so that they lie within the picture."""
    height, width = (side / min(pictures.shape[2:]) for side in pictures.shape[2:])
    side = 1 / zoom
    for x, y in centres:
        if not (0 <= x <= 1 and 0 <= y <= 1):
            raise ValueError(f"the centre of a detail lies within 0 to 1 across and down, got {x:g} and {y:g}")
    return [
        Box(min(max(0, x * width - side / 2), width - side), min(max(0, y * height - side / 2), height - side), side)
        for x, y in centres
    ]


def _grid(cells: Sequence[Image.Image], columns: int) -> Image.Image:
    (width, height), rows = cells[0].size, -(-len(cells) // columns)
    sheet = Image.new("RGB", (columns * (width + GAP) + GAP, rows * (height + GAP) + GAP), "white")
    for index, cell in enumerate(cells):
        row, column = divmod(index, columns)
        sheet.paste(cell, (GAP + column * (width + GAP), GAP + row * (height + GAP)))
    return sheet


def _cell(picture: Tensor, name: str, boxes: Sequence[Box], width: int) -> Image.Image:
    """A picture ``(1, 3, H, W)`` under its name, with its details below."""
    height = round(width * picture.shape[2] / picture.shape[3])
    letters = max(12, round(TEXT * width))
    head = 2 * letters
    detail = (width - GAP * (len(boxes) - 1)) // len(boxes) if boxes else 0
    cell = Image.new("RGB", (width, head + height + (GAP + detail if boxes else 0)), "white")
    draw = ImageDraw.Draw(cell)
    draw.text((0, letters // 3), name, "black", ImageFont.load_default(letters))
    cell.paste(to_image(resize(picture, (height, width))[0]), (0, head))
    for index, box in enumerate(boxes):
        frame = {"outline": COLORS[index % len(COLORS)], "width": max(2, width // 200)}
        left, top, side = (round(value * min(height, width)) for value in box)
        draw.rectangle(_square(left, head + top, side), **frame)
        corner = index * (detail + GAP), head + height + GAP
        cell.paste(to_image(resize(_cut(picture, box), (detail, detail))[0]), corner)
        draw.rectangle(_square(*corner, detail), **frame)
    return cell


def _square(left: int, top: int, side: int) -> tuple[int, int, int, int]:
    return left, top, left + side - 1, top + side - 1


def _cut(picture: Tensor, box: Box) -> Tensor:
    left, top, side = (round(value * min(picture.shape[2:])) for value in box)
    return picture[:, :, top : top + max(1, side), left : left + max(1, side)]
