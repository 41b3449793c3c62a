"""Colours of other spaces in sRGB: by the profile in the file, or by the numbers that PNG and HEIF have instead."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from ..guard import UnreadablePictureError

BAND = 256
"""Rows that are converted at once, so that no float copy of a large picture is made."""

D50 = np.array([0.9642, 1.0, 0.8249])
BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])

BT709 = (0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
D65 = (0.3127, 0.3290)

Curve = Callable[[np.ndarray], np.ndarray]


def in_bands(pixels: np.ndarray, convert: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """What a function makes of pixels ``(H, W, C)``, as float32 ``(H, W, 3)``."""
    result = np.empty((*pixels.shape[:2], 3), np.float32)
    for top in range(0, len(pixels), BAND):
        result[top : top + BAND] = convert(pixels[top : top + BAND])
    return result


def srgb_to_light(value: np.ndarray) -> np.ndarray:
    """The curve of sRGB, [0, 1] to [0, 1]."""
    return np.where(value <= 0.04045, value / 12.92, ((np.maximum(value, 0.04045) + 0.055) / 1.055) ** 2.4)


def light_to_srgb(light: np.ndarray) -> np.ndarray:
    """Its inverse, of what lies in [0, 1]; the rest is cut."""
    light = light.clip(0, 1)
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * np.maximum(light, 0.0031308) ** (1 / 2.4) - 0.055)


def power(gamma: float) -> Curve:
    """The curve of a screen with this exponent."""
    return lambda value: value.clip(0) ** gamma


def bt709_to_light(value: np.ndarray) -> np.ndarray:
    """BT.709's curve of the camera, backwards."""
    return np.where(value < 0.081, value / 4.5, ((np.maximum(value, 0.081) + 0.099) / 1.099) ** (1 / 0.45))


def to_xyz(primaries: Sequence[float], white: Sequence[float]) -> np.ndarray:
    """The matrix from linear RGB to XYZ under D50, from the chromaticities (x, y) of red, green, blue and white."""
    xy = np.reshape(primaries, (3, 2)).T
    columns = np.stack([xy[0] / xy[1], np.ones(3), (1 - xy.sum(0)) / xy[1]])
    point = np.array([white[0] / white[1], 1.0, (1 - white[0] - white[1]) / white[1]])
    scale = (BRADFORD @ D50) / (BRADFORD @ point)
    adapted = np.linalg.inv(BRADFORD) @ np.diag(scale) @ BRADFORD
    return adapted @ (columns * np.linalg.solve(columns, point))


XYZ_TO_SRGB = np.linalg.inv(to_xyz(BT709, D65))


class Space(NamedTuple):
    """A space of red, green and blue, or of grey: what the numbers mean as light.

    Attributes:
        curves: of each channel, from its number in [0, 1] to light.
        matrix: from that light to XYZ under D50; a column for each channel.
    """

    curves: tuple[Curve, ...]
    matrix: np.ndarray

    def to_srgb(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels ``(H, W, 1 or 3)`` of uint8 or uint16 as float32 ``(H, W, 3)`` of sRGB in [0, 1]."""
        levels = np.iinfo(pixels.dtype).max + 1
        tables = [curve(np.linspace(0, 1, levels)).astype(np.float32) for curve in self.curves]
        matrix = (XYZ_TO_SRGB @ self.matrix).T.astype(np.float32)

        def convert(rows: np.ndarray) -> np.ndarray:
            channels = [rows[..., min(number, rows.shape[-1] - 1)] for number in range(len(tables))]  # grey has one
            light = np.stack([table[channel] for table, channel in zip(tables, channels, strict=True)], -1)
            return light_to_srgb(light @ matrix)

        return in_bands(pixels, convert)

    def is_srgb(self) -> bool:
        """Whether no colour changes by more than half a level of 8 bits."""
        steps = np.linspace(0, 255, 6, dtype=np.uint8)
        cube = np.stack(np.meshgrid(steps, steps, np.arange(256, dtype=np.uint8)), -1).reshape(1, -1, 3)
        return len(self.curves) == 3 and bool(np.abs(self.to_srgb(cube) - cube / 255).max() < 0.5 / 255)


def grey_space(curve: Curve) -> Space:
    """The space of a grey with this curve."""
    return Space((curve,), D50[:, None])


PRIMARIES = {
    1: (BT709, D65),
    2: (BT709, D65),
    5: ((0.64, 0.33, 0.29, 0.60, 0.15, 0.06), D65),
    6: ((0.630, 0.340, 0.310, 0.595, 0.155, 0.070), D65),
    9: ((0.708, 0.292, 0.170, 0.797, 0.131, 0.046), D65),
    11: ((0.680, 0.320, 0.265, 0.690, 0.150, 0.060), (0.314, 0.351)),
    12: ((0.680, 0.320, 0.265, 0.690, 0.150, 0.060), D65),
}
"""Chromaticities by their number in ITU-T H.273; the unspecified are taken for BT.709's."""

TRANSFERS: dict[int, Curve] = {
    **dict.fromkeys((1, 6, 14, 15), bt709_to_light),
    **dict.fromkeys((2, 13), srgb_to_light),
    4: power(2.2),
    5: power(2.8),
    8: power(1.0),
}
HDR = {16: "PQ", 18: "HLG"}


def coded_space(primaries: int, transfer: int) -> Space | None:
    """The space that the numbers of ITU-T H.273 name, ``None`` where it is sRGB or not known.

    Raises:
        UnreadablePictureError: it is of high dynamic range.
    """
    if transfer in HDR:
        raise UnreadablePictureError(
            f"a picture of high dynamic range ({HDR[transfer]}), which cannot be restored; save it as one of standard "
            "range (SDR) first"
        )
    if primaries not in PRIMARIES or transfer not in TRANSFERS:
        return None
    space = Space((TRANSFERS[transfer],) * 3, to_xyz(*PRIMARIES[primaries]))
    return None if space.is_srgb() else space


def cmyk_to_srgb(pixels: np.ndarray) -> np.ndarray:
    """Ink ``(H, W, 4)`` without a profile, as float32 ``(H, W, 3)`` of sRGB in [0, 1]."""

    def convert(rows: np.ndarray) -> np.ndarray:
        paper = 1 - rows.astype(np.float32) / np.iinfo(rows.dtype).max
        return paper[..., :3] * paper[..., 3:]

    return in_bands(pixels, convert)


def lab_to_srgb(pixels: np.ndarray) -> np.ndarray:
    """Lab under D50 ``(H, W, 3)``, with the neutral of a and b at 128 or 32768, as float32 of sRGB in [0, 1]."""
    most = np.iinfo(pixels.dtype).max
    neutral = (most + 1) // 2
    unit = neutral / 128

    def convert(rows: np.ndarray) -> np.ndarray:
        middle = (rows[..., 0].astype(np.float32) * (100 / most) + 16) / 116
        a, b = ((rows[..., channel].astype(np.float32) - neutral) / unit for channel in (1, 2))
        roots = np.stack([middle + a / 500, middle, middle - b / 200], -1)
        xyz = np.where(roots > 6 / 29, roots**3, (roots - 16 / 116) * (108 / 841)) * D50
        return light_to_srgb(xyz @ XYZ_TO_SRGB.T)

    return in_bands(pixels, convert)
