"""One file to pixels in sRGB, by the library that knows its kind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import UnidentifiedImageError, features
from torch import Tensor

from ..guard import UnreadablePictureError
from ..guess import what_it_is
from ..suffixes import HEIF, KNOWN_SUFFIXES, RAW
from .colors import Space, cmyk_to_srgb, lab_to_srgb
from .icc import through_profile
from .raster import Raster, upright
from .tail import check_tail
from .with_heif import read_with_heif
from .with_pillow import read_with_pillow
from .with_tifffile import MAGIC, MissingCodecError, read_with_tifffile

HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
AVIF_BRANDS = (b"avif", b"avis")
JXL_STARTS = (b"\xff\x0a", b"\0\0\0\x0cJXL ")


def decode(path: Path, page: int | None) -> Raster:
    """Read a file by what it holds, whatever its name."""
    with path.open("rb") as file:
        start = file.read(64)
    suffix = path.suffix.lower()
    remedy = KNOWN_SUFFIXES.get(suffix, "")
    if start.startswith(MAGIC):
        if suffix in RAW:  # a TIFF whose pages are thumbnails and what the sensor saw
            raise UnreadablePictureError(remedy)
        return _read_tiff(path, page)
    brand = start[8:12] if start[4:8] == b"ftyp" else b""
    is_avif = brand in AVIF_BRANDS or (brand in HEIF_BRANDS and any(each in start[16:32] for each in AVIF_BRANDS))
    if is_avif and not features.check("avif") and not HEIF:
        raise UnreadablePictureError(f"AVIF cannot be read here; {KNOWN_SUFFIXES['.avif']}")
    if start.startswith(JXL_STARTS) and KNOWN_SUFFIXES[".jxl"]:
        raise UnreadablePictureError(f"JPEG XL cannot be read here; {KNOWN_SUFFIXES['.jxl']}")
    in_boxes = brand in HEIF_BRANDS + AVIF_BRANDS
    read = read_with_heif if in_boxes and not (is_avif and features.check("avif")) else read_with_pillow
    try:
        raster = read(path, page)
    except UnidentifiedImageError as error:
        said = (
            f"{suffix} cannot be read here; {remedy}"
            if remedy
            else f"not a picture that can be read, or a damaged one; it is {what_it_is(start)}"
        )
        raise UnreadablePictureError(said) from error
    if in_boxes:
        check_tail(path, raster, lambda other: read(other, page))
    return raster


def _read_tiff(path: Path, page: int | None) -> Raster:
    try:
        return read_with_tifffile(path, page)
    except MissingCodecError as missing:
        try:
            return read_with_pillow(path, page, formats=["TIFF"])
        except (OSError, SyntaxError, ValueError) as error:
            raise missing from error


def shown(raster: Raster) -> Tensor:
    """What a viewer shows of it: ``(1, 3 or 4, H, W)`` in [0, 1], sRGB, upright."""
    colors, alpha = _to_srgb(raster), raster.alpha
    height, width = upright(colors, raster.orientation).shape[:2]
    tensor = torch.empty(1, 3 if alpha is None else 4, height, width)
    _fill(tensor[0, :3], colors, raster.orientation)
    if alpha is not None:
        _fill(tensor[0, 3:], alpha[..., None], raster.orientation)
    return tensor


def _fill(planes: Tensor, pixels: np.ndarray, orientation: int) -> None:
    """Write pixels ``(H, W, C)`` into ``(C, H, W)``, upright and in [0, 1]."""
    turned = upright(pixels, orientation)
    for number, plane in enumerate(planes):
        np.copyto(plane.numpy(), turned[..., min(number, turned.shape[2] - 1)])
    if pixels.dtype.kind == "u":
        planes /= np.iinfo(pixels.dtype).max


def _to_srgb(raster: Raster) -> np.ndarray:
    """Its colours in sRGB, ``(H, W, 1 or 3)``: uint8, uint16, or floats in [0, 1]."""
    if raster.model == "lab":
        return lab_to_srgb(raster.pixels)
    if isinstance(raster.colors, Space):
        return raster.colors.to_srgb(raster.pixels)
    converted = through_profile(raster, raster.colors) if raster.colors else None
    if converted is not None:
        return converted
    return cmyk_to_srgb(raster.pixels) if raster.model == "cmyk" else raster.pixels
