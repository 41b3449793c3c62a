"""What the camera wrote, kept for the result."""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable

from PIL import ExifTags, Image

log = logging.getLogger(__name__)

DESCRIBING = (
    *(0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x8298),  # description, camera, software, date, artist, copyright
    *(0x011A, 0x011B, 0x0128),  # resolution
    *range(0x9C9B, 0x9CA0),  # the same by Windows
)
"""Tags of the first directory that say something of the photograph and not of the file."""

STALE = (0xA001, 0xA002, 0xA003, 0xA005)
"""Tags of the second one that are no longer true: colour space, size, and a place in the file."""

UPRIGHT = 1
MOST_BYTES = 65533
"""In a JPEG."""


def read_camera(load: Callable[[], Image.Exif]) -> tuple[bytes | None, int]:
    """Date, camera, place and the like as a block for another file, upright, and the orientation that the file has.

    The block is ``None`` where there is nothing, or where what ``load`` gives is damaged.
    """
    block, orientation = None, UPRIGHT
    try:
        exif = load()
        orientation = exif.get(ExifTags.Base.Orientation, UPRIGHT)
        block = _kept(exif)
    except (struct.error, SyntaxError, OSError, ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        log.warning("left out damaged EXIF data (%s)", error)
    return block, orientation


def _kept(exif: Image.Exif) -> bytes | None:
    kept = Image.Exif()
    for tag in DESCRIBING:
        if tag in exif:
            value = exif[tag]
            # Pillow reads Latin-1 but would write ASCII
            kept[tag] = value.encode("latin-1") if isinstance(value, str) and not value.isascii() else value
    for ifd in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
        entries = {tag: value for tag, value in exif.get_ifd(ifd).items() if tag not in STALE}
        if entries:
            kept[ifd] = entries
    if not len(kept):
        return None
    kept[ExifTags.Base.Orientation] = UPRIGHT
    return _fitting(kept)


def _fitting(exif: Image.Exif) -> bytes | None:
    """The block, without the camera's private notes where it would be too long with them."""
    block = exif.tobytes()
    if len(block) > MOST_BYTES and ExifTags.IFD.Exif in exif:
        exif[ExifTags.IFD.Exif].pop(ExifTags.IFD.MakerNote, None)
        block = exif.tobytes()
    return block if len(block) <= MOST_BYTES else None
