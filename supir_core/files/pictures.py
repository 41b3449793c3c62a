"""Picture files to tensors and back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from .convert import as_tensor
from .decoding.decode import decode, shown
from .guard import UnreadablePictureError, reading
from .metadata import Label, read_label
from .suffixes import KNOWN_SUFFIXES, SUFFIXES
from .writing import FORMATS, write_picture

__all__ = [
    "FORMATS",
    "KNOWN_SUFFIXES",
    "SUFFIXES",
    "Label",
    "Picture",
    "UnreadablePictureError",
    "open_picture",
    "read_label",
    "read_mask",
    "read_picture",
    "save_picture",
    "write_picture",
]


@dataclass(frozen=True)
class Picture:
    """A picture as it comes from its file.

    Attributes:
        tensor: ``(1, 3 or 4, H, W)`` in [0, 1], sRGB, upright; the fourth channel where it has transparency.
        bits: 8, or 16 where the file holds more than 8 for a value.
        exif: what the camera wrote, with the orientation set to upright.
    """

    tensor: Tensor
    bits: int
    exif: bytes | None


def open_picture(path: str | Path, page: int | None = None) -> Picture:
    """Read a picture as a colour-managed viewer shows it.

    Args:
        path: of the file.
        page: which page or frame, from 1, where there are several.

    Raises:
        UnreadablePictureError: it cannot be decoded, or there are several pages and none was named.
        OSError: the file cannot be opened.
    """
    with reading(path):
        raster = decode(Path(path), page)
        return Picture(shown(raster), 8 * raster.pixels.dtype.itemsize, raster.exif)


def read_picture(path: str | Path, page: int | None = None) -> Tensor:
    """The tensor of ``open_picture``."""
    return open_picture(path, page).tensor


def read_mask(path: str | Path) -> Tensor:
    """A mask ``(H, W)`` in [0, 1]: the brightness of a picture, 0 where it is transparent.

    Raises:
        UnreadablePictureError: it cannot be decoded.
        OSError: the file cannot be opened.
    """
    (picture,) = read_picture(path)
    return picture[:3].mean(dim=0) * picture[3:].prod(dim=0)


def save_picture(path: str | Path, picture: Any, bits: int = 8) -> None:
    """Write one picture of any kind that ``restore`` gives, in the format that the suffix names, whole or not at all.

    Args:
        path: ending in .png, .tif, .jpg or .webp.
        picture: a tensor, an array or a Pillow image.
        bits: 8, or 16 in PNG and TIFF.

    Raises:
        ValueError: there are several pictures, or the format or ``bits`` are not among those.
    """
    tensor, _ = as_tensor(picture)
    if len(tensor) > 1:
        raise ValueError(f"got {len(tensor)} pictures for one file; save them one by one, such as picture[:1]")
    write_picture(Path(path), tensor[0], bits=bits)
