"""Picture files to tensors and back."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from .convert import as_tensor, to_image, to_tensor
from .metadata import Label, png_info

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")


class UnreadablePictureError(ValueError):
    """A file that is not a picture, or a damaged one."""


def read_picture(path: str | Path) -> Tensor:
    """Read a picture upright as ``(1, 3 or 4, H, W)`` in [0, 1], the fourth channel where it has transparency.

    Raises:
        UnreadablePictureError: it cannot be decoded.
    """
    try:
        with Image.open(path) as image:
            return to_tensor(ImageOps.exif_transpose(image))
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise UnreadablePictureError(
            f"{path}: not a picture that can be read ({error}); expected one of {', '.join(SUFFIXES)}"
        ) from error


def save_picture(path: str | Path, picture: Any) -> None:
    """Write one picture of any kind that ``restore`` gives as PNG, whole or not at all.

    Raises:
        ValueError: there are several pictures, or the name does not end in .png.
    """
    tensor, _ = as_tensor(picture)
    if len(tensor) > 1:
        raise ValueError(f"got {len(tensor)} pictures for one file; save them one by one, such as picture[:1]")
    if Path(path).suffix.lower() != ".png":
        raise ValueError(f"{path}: results are written as PNG; name a .png file")
    save_png(Path(path), tensor[0])


def save_png(path: Path, picture: Tensor, label: Label | None = None) -> None:
    """Write ``(3 or 4, H, W)`` in [0, 1] as PNG with its label, whole or not at all."""
    write_png(path, picture, label.text() if label else None)


def write_png(path: Path, picture: Tensor, text: Mapping[str, str] | None) -> None:
    """Write a PNG with text entries and the XMP, or without either, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        to_image(picture).save(part, format="PNG", pnginfo=png_info(text) if text else None)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
