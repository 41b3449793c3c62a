"""What decoders raise, said in one way, and no picture larger than the memory."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from PIL import Image, PngImagePlugin

MOST_TEXT = 2**26
"""Bytes of text and profiles, unpacked, that are read from a PNG. Workflows of ComfyUI go beyond Pillow's 1 MB."""

MOST_PIXELS_PER_BYTE, HARMLESS = 10_000, 50_000_000
"""Of a file, beyond so many pixels that do no harm. A PNG of one bit and one colour has 8,256, newer formats more."""


class UnreadablePictureError(ValueError):
    """A file that is not a picture, a damaged one, or one that does not fit."""


@contextmanager
def reading(path: str | Path) -> Iterator[None]:
    """Read with Pillow's limits lifted; whatever a decoder raises becomes an ``UnreadablePictureError`` with the path.

    Raises:
        UnreadablePictureError: the picture cannot be read.
        OSError: the system refuses the file.
    """
    # Pillow's guard is made for servers that take files from anyone; here ``check_room`` knows what fits
    lifted = {
        (Image, "MAX_IMAGE_PIXELS"): None,
        (PngImagePlugin, "MAX_TEXT_CHUNK"): MOST_TEXT,
        (PngImagePlugin, "MAX_TEXT_MEMORY"): MOST_TEXT,
    }
    before = {place: getattr(*place) for place in lifted}
    try:
        for place, limit in lifted.items():
            setattr(*place, limit)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="PIL")  # of damage beside the pixels
            yield
    except UnreadablePictureError as error:
        raise UnreadablePictureError(f"{path}: {error}") from error
    except Exception as error:  # decoders raise all kinds for damaged files: KeyError, struct.error, MemoryError, ...
        if isinstance(error, OSError) and error.errno:
            raise
        said = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(":")
        raise UnreadablePictureError(
            f"{path}: not a picture that can be read, or a damaged one ({said}); copy or download it again"
        ) from error
    finally:
        for place, limit in before.items():
            setattr(*place, limit)


def check_room(path: Path, width: int, height: int, channels: int, sample_bytes: int) -> None:
    """Refuse a picture whose decoding would not fit into the free memory, before any of it is taken.

    Raises:
        UnreadablePictureError: it does not fit, or the file is too small for so many pixels.
    """
    size = path.stat().st_size
    if width * height > max(MOST_PIXELS_PER_BYTE * size, HARMLESS):
        raise UnreadablePictureError(
            f"damaged or made to harm: {width}x{height} are {width * height / 1e6:,.0f} megapixels, which {size} bytes "
            "cannot hold"
        )
    # as decoded, once more where it is converted, and as float32 of at least three channels
    needed = width * height * (channels * 2 * sample_bytes + max(channels, 3) * 4)
    free = psutil.virtual_memory().available
    if needed > free:
        raise UnreadablePictureError(
            f"{width}x{height} are {width * height / 1e6:,.0f} megapixels, which take {needed / 2**30:,.1f} GiB to read, "
            f"and {free / 2**30:,.1f} GiB of memory are free; close other programs, or cut the picture into parts first"
        )
