"""Pixels as a file has them, before colour management."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np

from .colors import Space

ORIENTATION = 0x0112
"""The tag of EXIF and TIFF."""

Model = Literal["grey", "rgb", "cmyk", "lab"]


class Raster(NamedTuple):
    """What a decoder gives.

    Attributes:
        pixels: ``(H, W, 1, 3 or 4)`` of uint8 or uint16; light is high (of CMYK, ink is); a and b of Lab have their
            neutral in the middle.
        model: what the channels are.
        alpha: ``(H, W)`` of the same type, where there is transparency.
        colors: an ICC profile, or a space; sRGB where it is ``None``.
        orientation: of EXIF, 1 is upright.
        exif: what the camera wrote.
    """

    pixels: np.ndarray
    model: Model
    alpha: np.ndarray | None = None
    colors: bytes | Space | None = None
    orientation: int = 1
    exif: bytes | None = None


TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: pixels[::-1].swapaxes(0, 1),
    7: lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1),
    8: lambda pixels: pixels[:, ::-1].swapaxes(0, 1),
}
"""How to turn pixels ``(H, W, ...)`` upright, by the orientation."""


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Pixels ``(H, W, ...)`` turned by an orientation; one that does not exist changes nothing."""
    turn = TURNS.get(orientation)
    return turn(pixels) if turn else pixels


def scaled(pixels: np.ndarray, most: float | None = None) -> np.ndarray:
    """Numbers of any type as uint8, or uint16 where that does not hold them.

    Args:
        pixels: of any shape; what is below 0 becomes 0.
        most: what stands for white; that of the type where it is not given. With floats it is 1, unless they go up to
            about 255 or 65535, or further: then it is that, or the largest. Whole numbers of 32 bits and a sign, in which
            programs keep 1, 8 or 16 bits, are taken alike; those that go further have the white of their type.
    """
    if pixels.dtype == bool:
        return pixels.astype(np.uint8) * np.uint8(255)
    if pixels.dtype.kind == "f":
        pixels = np.nan_to_num(pixels, posinf=0, neginf=0)
    most = most or _white(pixels)
    full = np.uint8 if pixels.dtype.kind == "u" and most <= 255 else np.uint16
    if pixels.dtype == full and most == np.iinfo(full).max:
        return pixels
    wide = pixels.astype(np.float64 if pixels.dtype.itemsize > 2 else np.float32)
    wide /= most
    wide *= np.iinfo(full).max
    return np.rint(wide, out=wide).clip(0, np.iinfo(full).max, out=wide).astype(full)


def _white(pixels: np.ndarray) -> float:
    top = float(pixels.max(initial=0))
    if pixels.dtype.kind == "f":
        unit, beyond = 16, top  # highlights of a picture in [0, 1] may lie above
    else:
        unit, beyond = 1, int(np.iinfo(pixels.dtype).max)
        if pixels.dtype != np.int32:
            return beyond
    return 1 if top <= unit else next((white for white in (255, 65535) if top <= 1.05 * white), beyond)
