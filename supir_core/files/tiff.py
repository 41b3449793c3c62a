"""TIFF written at 8 and 16 bits for a value, with what the camera wrote; no library writes both."""

from __future__ import annotations

import zlib
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2
from PIL.TiffTags import BYTE, LONG, LONG8, SHORT, UNDEFINED

from .exif import DESCRIBING

STRIP = 64
"""Rows that are compressed together."""

CLASSIC, BIG = b"II*\0\x08\0\0\0", b"II+\0\x08\0\0\0\x10\0\0\0\0\0\0\0"
"""How a file begins, the second where it has more bytes than 32 bits count."""

MOST_CLASSIC = 2**32 - 2**20
RGB, DEFLATE, DIFFERENCES, UNASSOCIATED = 2, 8, 2, 2


def write_tiff(file: BinaryIO, pixels: np.ndarray, profile: bytes, xmp: bytes | None, exif: bytes | None) -> None:
    """Write pixels ``(H, W, 3 or 4)`` of uint8 or uint16."""
    height, width, channels = pixels.shape
    strips = [_packed(pixels[top : top + STRIP]) for top in range(0, height, STRIP)]
    lengths = [len(strip) for strip in strips]
    big = sum(lengths) > MOST_CLASSIC
    directory = ImageFileDirectory_v2(BIG if big else CLASSIC)
    wide = LONG8 if big else LONG
    entries = {
        256: (LONG, width),
        257: (LONG, height),
        258: (SHORT, (8 * pixels.dtype.itemsize,) * channels),
        259: (SHORT, DEFLATE),
        262: (SHORT, RGB),
        273: (wide, tuple(sum(lengths[:number]) for number in range(len(strips)))),  # Pillow adds its own length
        277: (SHORT, channels),
        278: (LONG, STRIP),
        279: (wide, tuple(lengths)),
        317: (SHORT, DIFFERENCES),
        34675: (UNDEFINED, profile),
    }
    if channels == 4:
        entries[338] = (SHORT, UNASSOCIATED)
    if xmp:
        entries[700] = (BYTE, xmp)
    for tag, (kind, value) in entries.items():
        directory.tagtype[tag] = kind
        directory[tag] = value
    _add_exif(directory, exif or b"")
    directory.save(file)
    file.writelines(strips)


def _packed(rows: np.ndarray) -> bytes:
    """Rows ``(h, W, C)``, each value less the one to its left, compressed."""
    differences = rows.astype(rows.dtype.newbyteorder("<"))
    differences[:, 1:] -= rows[:, :-1]
    return zlib.compress(differences.tobytes())


def _add_exif(directory: ImageFileDirectory_v2, exif: bytes) -> None:
    camera = Image.Exif()
    camera.load(exif)
    for tag in DESCRIBING:
        if tag in camera:
            directory[tag] = camera[tag]
    for tag in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
        if entries := camera.get_ifd(tag):
            directory[tag] = entries
