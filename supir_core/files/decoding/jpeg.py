"""JPEGs that lack their end: read where nearly all is there."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from ..guard import UnreadablePictureError
from .tail import NOISE, ends_in_zeros

log = logging.getLogger(__name__)

END = b"\xff\xd9"
FRAMES = {0xC0, 0xC1, 0xC2, 0xC9, 0xCA}
SCAN = 0xDA
NO_LENGTH = {0x00, 0x01, *range(0xD0, 0xDA), 0xFF}
"""What follows 0xFF in the data of a scan, and the markers that stand alone."""

LEAST_SHARE = 0.9
"""Of a JPEG that must be there to read it."""


def load_nearly_whole(path: Path, image: Image.Image) -> Image.Image:
    """A JPEG that is open, loaded, with a warning where it lacks up to a tenth.

    Raises:
        UnreadablePictureError: it lacks more.
        OSError: it is damaged in another way.
    """
    failure = None
    try:
        image.load()
    except OSError as error:
        failure = error
    if not failure and not ends_in_zeros(path):
        return image
    data = path.read_bytes().rstrip(b"\0")
    if data.endswith(END):
        if failure:
            raise failure
        return image
    mended = Image.open(io.BytesIO(data + END), formats=["JPEG"])
    share = _share(data, np.asarray(mended)) if _in_last_scan(data) else 0.0
    if share < LEAST_SHARE:
        raise UnreadablePictureError(
            "a JPEG that was cut: at least a tenth of the picture is missing; copy or download it again"
        )
    log.warning("%s: a JPEG that lacks its end; %.0f %% of it is there, and is read", path, 100 * share)
    return mended


def _share(data: bytes, mended: np.ndarray) -> float:
    """How much of the picture comes from the file.

    What the decoder makes of the missing part depends on what follows the data, so two different endings show where it
    begins.
    """
    with Image.open(io.BytesIO(data + NOISE + END), formats=["JPEG"]) as other:
        differs = np.asarray(other) != mended
    differs = differs.reshape(*differs.shape[:2], -1).any(-1)
    if not differs.any():
        return 1.0
    height, width = differs.shape
    top = int(differs.any(1).argmax())
    left = int(differs[top : top + 16].any(0).argmax())
    return (top * width + min(16, height - top) * left) / (height * width)


def _in_last_scan(data: bytes) -> bool:
    """Whether the last bits of every component have begun: a progressive JPEG is refined by several scans."""
    components, begun = set(), set()
    for marker, body in _segments(data):
        if marker in FRAMES:
            components = set(body[6 : 6 + 3 * body[5] : 3])
        elif marker == SCAN:
            end, bits = body[2 + 2 * body[0] : 4 + 2 * body[0]]
            if end == 63 and not bits & 15:
                begun |= set(body[1 : 1 + 2 * body[0] : 2])
    return begun == components


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Markers that have a length, with what follows it."""
    start = 2
    while (start := data.find(b"\xff", start)) >= 0 and start + 4 <= len(data):
        marker = data[start + 1]
        if marker in NO_LENGTH:
            start += 1 if marker == 0xFF else 2
            continue
        length = int.from_bytes(data[start + 2 : start + 4], "big")
        yield marker, data[start + 4 : start + 2 + length]
        start += 2 + length
