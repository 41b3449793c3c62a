"""Thumbnails of the workflows for ComfyUI's template browser: a photograph before and after.

The frontend shows one JPEG for a workflow of a pack, without the sliders that its own templates have.
"""

from __future__ import annotations

from itertools import cycle, islice
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

DOCS = Path(__file__).parents[2] / "docs"
PANEL, BEFORE, AFTER = 400, 0, 2
"""The rows of pictures in ``docs``: width of a picture, and which of them are shown."""

SIDE, BAR, QUALITY = 400, 34, 85
CREDIT = "by the demo weights"

Box = tuple[int, int, int, int]
VIEWS: tuple[tuple[str, Box], ...] = (
    ("demo_astronaut.jpg", (0, 0, 400, 400)),
    ("demo_chelsea.jpg", (68, 0, 332, 264)),
    ("demo_astronaut.jpg", (80, 0, 280, 200)),
    ("demo_chelsea.jpg", (180, 20, 380, 220)),
    ("demo_astronaut.jpg", (0, 180, 220, 400)),
    ("demo_chelsea.jpg", (20, 20, 220, 220)),
    ("demo_astronaut.jpg", (180, 160, 400, 380)),
    ("demo_chelsea.jpg", (100, 60, 260, 220)),
    ("demo_astronaut.jpg", (120, 40, 240, 160)),
)
"""A file, and a square of its pictures."""


def view(number: int) -> tuple[str, Box]:
    """What the workflow of that number shows."""
    return next(islice(cycle(VIEWS), number, None))


def before_after(number: int, title: str) -> Image.Image:
    """The left half as it was damaged, the right half restored, over a name."""
    file, (left, top, right, bottom) = view(number)
    drawn = Image.new("RGB", (SIDE, SIDE), "black")
    with Image.open(DOCS / file) as row:
        for panel, start in ((BEFORE, 0), (AFTER, SIDE // 2)):
            square = row.crop((panel * PANEL + left, top, panel * PANEL + right, bottom))
            square = square.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
            drawn.paste(square.crop((start, 0, start + SIDE // 2, SIDE)), (start, 0))
    draw = ImageDraw.Draw(drawn)
    draw.line((SIDE // 2, 0, SIDE // 2, SIDE - BAR), "white", 3)
    draw.rectangle((0, SIDE - BAR, SIDE, SIDE), "black")
    draw.text((10, SIDE - BAR // 2), title, "white", ImageFont.load_default(20), anchor="lm")
    draw.text((SIDE - 10, SIDE - BAR // 2), CREDIT, "gray", ImageFont.load_default(14), anchor="rm")
    return drawn
