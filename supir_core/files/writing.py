"""Pictures and weights to files, whole or not at all."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from PIL import Image, ImageCms
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from .hidden import part_name
from .metadata import Label, png_chunks, xmp_packet
from .png import write_png
from .tiff import write_tiff

log = logging.getLogger(__name__)

FORMATS = {"png": ".png", "tiff": ".tif", "jpeg": ".jpg", "webp": ".webp"}
"""Formats of results and the suffix that a result gets."""

SUFFIX_FORMATS = {".png": "png", ".tif": "tiff", ".tiff": "tiff", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}

QUALITY = 95
"""Of JPEG and WebP where none is asked for."""

LONGEST_SIDE = {"jpeg": 65500, "webp": 16383}


def write_picture(
    path: Path,
    picture: Tensor,
    label: Label | Mapping[str, str] | None = None,
    *,
    bits: int = 8,
    quality: int | None = None,
    exif: bytes | None = None,
) -> None:
    """Write a picture in sRGB, in the format that the suffix names, whole or not at all.

    Args:
        path: ending in one of ``SUFFIX_FORMATS``; its folder is made.
        picture: ``(3 or 4, H, W)`` in [0, 1]. JPEG has no transparency: it is laid on white.
        label: how it was made, or the entries of text that say so.
        bits: for a value: 8, or 16 in PNG and TIFF. The others take 8.
        quality: of JPEG and WebP, 1 to 100.
        exif: what the camera wrote, as ``Picture.exif`` has it.

    Raises:
        ValueError: the format cannot hold it, it has values that are not finite, or ``bits`` are neither 8 nor 16.
        OSError: the file cannot be written.
    """
    name = format_of(path)
    check_side(path, *picture.shape[1:])
    if bits not in (8, 16):
        raise ValueError(f"{path.name} is not written: expected bits=8 or bits=16, got {bits!r}")
    if not picture.isfinite().all():
        raise ValueError(
            f"{path.name} is not written: the picture has values that are no numbers (NaN or infinite), usually from half "
            "precision. Restore it with bfloat16 or float32"
        )
    text = label.text() if isinstance(label, Label) else label
    if name == "jpeg" and len(picture) == 4:
        log.warning("%s: JPEG has no transparency; the picture is laid on white", path)
        picture = picture[:3] * picture[3:] + 1 - picture[3:]
    pixels = to_pixels(picture, 16 if bits == 16 and name in ("png", "tiff") else 8)

    def write(file: BinaryIO) -> None:
        if name == "png":
            write_png(file, pixels, png_chunks(text, exif))
        elif name == "tiff":
            write_tiff(file, pixels, srgb_profile(), xmp_packet(text, whole=True) if text else None, exif)
        else:
            also: dict[str, Any] = {"subsampling": 0} if name == "jpeg" else {"exact": True}
            also |= {"exif": exif} if exif else {}
            also |= {"xmp": xmp_packet(text, whole=True)} if text else {}
            image = Image.fromarray(pixels)
            image.save(file, name, quality=QUALITY if quality is None else quality, icc_profile=srgb_profile(), **also)

    write_whole(path, write)


def format_of(path: Path) -> str:
    """Which of ``FORMATS`` a file is to have by its suffix.

    Raises:
        ValueError: results are not written in such a format.
    """
    name = SUFFIX_FORMATS.get(path.suffix.lower())
    if name is None:
        raise ValueError(
            f"{path}: results are written as {', '.join(FORMATS)}; name a file of {', '.join(SUFFIX_FORMATS)}"
        )
    return name


def check_side(path: Path, height: int, width: int) -> None:
    """Refuse a result that is larger than its format can be.

    Raises:
        ValueError: it is.
    """
    longest = LONGEST_SIDE.get(format_of(path), max(height, width))
    if max(height, width) > longest:
        raise ValueError(
            f"{path.name} would have {width}x{height} pixels, and such a file has at most {longest} a side; write PNG or TIFF"
        )


def to_pixels(picture: Tensor, bits: int) -> np.ndarray:
    """``(C, H, W)`` in [0, 1] as uint8 or uint16 ``(H, W, C)``."""
    most = 2**bits - 1
    scaled = (picture.float().clamp(0, 1) * most).round_().permute(1, 2, 0).cpu()
    return scaled.to(torch.uint8 if bits == 8 else torch.uint16).contiguous().numpy()


@lru_cache
def srgb_profile() -> bytes:
    """The profile of sRGB, without a date, so that equal pictures make equal files."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile[:24] + bytes(12) + profile[36:]


def write_tensors(path: Path, tensors: Mapping[str, Tensor], label: dict[str, str] | None = None) -> None:
    """Write a file of safetensors, whole or not at all.

    Raises:
        OSError: the file cannot be written.
    """
    with whole(path) as part:
        try:
            save_file({key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}, part, label)
        except SafetensorError as error:
            raise OSError(f"{path}: cannot be written ({error}); make room, and give the same command again") from error


def write_whole(path: Path, write: Callable[[BinaryIO], None]) -> None:
    """Write a file under a temporary name, then give it its own."""
    with whole(path) as part, part.open("wb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A temporary name to write a file under, in a folder that is made; once it is written the file gets its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = part_name(path)
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
