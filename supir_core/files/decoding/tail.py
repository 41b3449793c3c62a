"""Files that end in zeros, as where their room was taken before a download or a copy broke off: many decode, to grey."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image

from ..guard import UnreadablePictureError
from .raster import Raster

ZEROS = 64
"""Bytes of nothing at the end of a file that do not come by chance."""

NOISE = bytes(range(1, 255)) * 2
"""Entropy-coded data that belongs to no picture."""

MOST_ZEROS = 1 / 64
"""Bytes for each pixel that a flat area takes in VP8, four for a block of 16x16: encoders need a fortieth of one."""


def ends_in_zeros(path: Path) -> bool:
    """Whether the last bytes are nothing."""
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, 2) - ZEROS))
        return not file.read().strip(b"\0")


def check_tail(path: Path, raster: Raster, read: Callable[[Path], Raster]) -> None:
    """Refuse a picture that is made of zeros at the end of its file, where HEVC and AV1 have none.

    It is whole if it is the same without them, as where they follow it, or with others in their place.

    Raises:
        UnreadablePictureError: neither is so.
    """
    if not ends_in_zeros(path):
        return
    data = path.read_bytes()
    kept = data.rstrip(b"\0")
    missing = len(data) - len(kept)
    with tempfile.TemporaryDirectory() as folder:
        other = Path(folder) / path.name
        for tail in (b"", (NOISE * (missing // len(NOISE) + 1))[:missing]):
            other.write_bytes(kept + tail)
            with suppress(Exception):
                if np.array_equal(read(other).pixels, raster.pixels):
                    return
    raise missing_end()


def check_webp(path: Path, image: Image.Image) -> None:
    """Refuse a WebP that lacks what its head promises, or whose VP8 data ends in more zeros than can be of a flat picture.

    Raises:
        UnreadablePictureError: that is so.
    """
    if not ends_in_zeros(path):
        return
    data = path.read_bytes()
    data = data[: 8 + int.from_bytes(data[4:8], "little")]
    described = data[20] if data[12:16] == b"VP8X" else 0
    after = {name for name, bit in (("exif", 8), ("xmp", 4)) if described & bit}
    zeros = len(data) - len(data.rstrip(b"\0"))
    in_pixels = not after and b"VP8L" not in data
    if after - image.info.keys() or (in_pixels and zeros > image.width * image.height * MOST_ZEROS):
        raise missing_end()


def missing_end() -> UnreadablePictureError:
    """The error for a file whose end is zeros."""
    return UnreadablePictureError("its end is missing: there are zeros in its place; copy or download it again")
