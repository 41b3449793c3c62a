"""PNG written at 8 and 16 bits for a value; Pillow writes no 16-bit colour."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import BinaryIO

import numpy as np

BAND = 64
"""Rows that are compressed at once."""

TYPES = {1: 0, 3: 2, 4: 6}
"""The colour type by the number of channels."""

PAETH = 4
SRGB = [(b"sRGB", b"\0"), (b"gAMA", struct.pack(">I", 45455))]


def write_png(file: BinaryIO, pixels: np.ndarray, chunks: Sequence[tuple[bytes, bytes]]) -> None:
    """Write sRGB pixels ``(H, W, 1, 3 or 4)`` of uint8 or uint16, and chunks that come before them."""
    height, width, channels = pixels.shape
    depth = 8 * pixels.dtype.itemsize
    file.write(b"\x89PNG\r\n\x1a\n")
    head = struct.pack(">IIBBBBB", width, height, depth, TYPES[channels], 0, 0, 0)
    for name, data in [(b"IHDR", head), *SRGB, *chunks]:
        _write_chunk(file, name, data)
    packer = zlib.compressobj()
    above = np.zeros((1, width, channels), pixels.dtype)
    for top in range(0, height, BAND):
        rows = np.concatenate([above, pixels[top : top + BAND]])
        _write_chunk(file, b"IDAT", packer.compress(_filtered(rows)))
        above = rows[-1:]
    _write_chunk(file, b"IDAT", packer.flush())
    _write_chunk(file, b"IEND", b"")


def _filtered(rows: np.ndarray) -> bytes:
    """The bytes of all rows but the first, each against what Paeth's filter foretells (section 9.4 of PNG)."""
    step = rows.shape[2] * rows.dtype.itemsize
    data = rows.astype(rows.dtype.newbyteorder(">")).reshape(len(rows), -1).view(np.uint8)
    data = np.pad(data, ((0, 0), (step, 0))).astype(np.int16)
    left, up, corner = data[1:, :-step], data[:-1, step:], data[:-1, :-step]
    to_left, to_up, to_corner = abs(up - corner), abs(left - corner), abs(left + up - 2 * corner)
    upper = np.where(to_up <= to_corner, up, corner)
    foretold = np.where((to_left <= to_up) & (to_left <= to_corner), left, upper)
    result = np.full((len(rows) - 1, data.shape[1] - step + 1), PAETH, np.uint8)
    result[:, 1:] = data[1:, step:] - foretold
    return result.tobytes()


def _write_chunk(file: BinaryIO, name: bytes, data: bytes) -> None:
    file.write(struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)))
