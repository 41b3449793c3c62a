"""Picture files to tensors and back."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from .metadata import Label, png_info

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")


class UnreadablePictureError(ValueError):
    """A file that is not a picture, or a damaged one."""


def read_picture(path: Path) -> Tensor:
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


def to_tensor(image: Image.Image) -> Tensor:
    """Any Pillow image as ``(1, 3 or 4, H, W)`` in [0, 1]."""
    if image.mode.startswith("I"):  # 16 bit grey
        grey = torch.from_numpy(np.asarray(image).astype(np.float32) / 65535)
        return grey.clamp(0, 1)[None, None].repeat(1, 3, 1, 1)
    image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    pixels = torch.from_numpy(np.asarray(image).copy())
    return pixels.permute(2, 0, 1)[None].float() / 255


def to_image(picture: Tensor) -> Image.Image:
    """``(3 or 4, H, W)`` in [0, 1] as a Pillow image of 8 bits."""
    return Image.fromarray((picture * 255).round().byte().permute(1, 2, 0).cpu().numpy())


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
