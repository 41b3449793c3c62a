"""What Pillow reads, and 16-bit colour of PNG, which it reads in two halves."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from PIL import Image, ImageFile

from ..exif import read_camera
from ..guard import UnreadablePictureError, check_room
from .colors import BT709, D65, Space, coded_space, grey_space, power, srgb_to_light, to_xyz
from .jpeg import load_nearly_whole
from .pages import page_index
from .raster import Model, Raster, scaled
from .tail import check_webp

log = logging.getLogger(__name__)

FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "BMP", "DIB", "GIF", "PPM", "JPEG2000", "AVIF", "JXL")
"""What Pillow may take a file for: no vector graphics, and nothing that calls other programs."""

ONE_PICTURE = ("MPO", "JXL")
"""The first is the photograph; what follows belongs to it, such as its depth."""

DEEP_PNG = {"RGB;16B": "RGB;16L", "RGBA;16B": "RGBA;16L"}
"""How Pillow unpacks the high bytes of a PNG, and how the low ones."""

GREY_ALPHA_PNG = "LA;16B"

SRGB_GAMMA = 1 / 2.2
"""What programs write into a PNG in place of sRGB's curve; what lies within 5 % of it is taken for that curve."""


def read_with_pillow(path: Path, page: int | None, formats: Sequence[str] = FORMATS) -> Raster:
    """Read the first picture, or the frame that is asked for."""
    with Image.open(path, formats=[name for name in formats if name in _registered()]) as image:
        channels = {"I;16": 1, "P": 4, "1": 1}.get(image.mode, len(image.getbands()))
        check_room(path, *image.size, channels, 2)
        frames = 1 if page is None and image.format in ONE_PICTURE else getattr(image, "n_frames", 1)
        index = page_index(page, frames, "frames")
        if index:
            image.seek(index)
        raw = str(image.tile[0].args) if image.tile else ""
        if image.format == "PNG" and frames == 1 and raw in (*DEEP_PNG, GREY_ALPHA_PNG):
            pixels, alpha = _deep_png(path, image, raw)
        else:
            pixels, alpha = _pixels(load_nearly_whole(path, image) if image.format in ("JPEG", "MPO") else image, 65535)
        if image.format == "WEBP":
            check_webp(path, image)
        model = _model(image, pixels)
        exif, orientation = read_camera(image.getexif)
        turned = image.format == "JXL" and not getattr(image, "jpeg", False)  # its decoder has done so
        return Raster(
            pixels,
            model,
            alpha,
            _png_colors(path, image, model) if image.format == "PNG" else image.info.get("icc_profile"),
            1 if turned else orientation,
            exif,
        )


def _registered() -> dict[str, Any]:
    with suppress(ImportError):
        import pillow_jxl  # noqa: F401  # pyright: ignore[reportMissingImports]  # registers itself
    Image.init()
    return Image.OPEN


def from_memory(image: Image.Image) -> Raster:
    """A Pillow image as it is, in its colours."""
    pixels, alpha = _pixels(image)
    return Raster(pixels, _model(image, pixels), alpha, image.info.get("icc_profile"))


def _model(image: Image.Image, pixels: np.ndarray) -> Model:
    return "cmyk" if image.mode == "CMYK" else "grey" if pixels.shape[2] == 1 else "rgb"


def _pixels(image: Image.Image, white: int | None = None) -> tuple[np.ndarray, np.ndarray | None]:
    """Pixels ``(H, W, C)`` and alpha ``(H, W)``; ``white`` of whole numbers beyond 8 bits, where it is known."""
    if image.mode[0] in "IF":
        pixels = scaled(np.asarray(image), None if image.mode == "F" else white)
        return pixels[..., None], _keyed(pixels[..., None], image.info.get("transparency"))
    grey = image.mode in ("1", "L", "LA", "La")
    if image.mode == "CMYK":
        return np.asarray(image), None
    if image.has_transparency_data:
        pixels = np.asarray(image.convert("LA" if grey else "RGBA"))
        return pixels[..., :-1], pixels[..., -1]
    wanted = "L" if grey else "RGB"
    pixels = np.asarray(image if image.mode == wanted else image.convert(wanted))
    return pixels.reshape(*pixels.shape[:2], -1), None


def _keyed(pixels: np.ndarray, color: Any) -> np.ndarray | None:
    """Alpha where one color of 16 bits is transparent."""
    return None if color is None else np.where((pixels == np.array(color)).all(-1), 0, 65535).astype(np.uint16)


def _deep_png(path: Path, image: ImageFile.ImageFile, raw: str) -> tuple[np.ndarray, np.ndarray | None]:
    """16-bit pixels and alpha: high and low bytes one after the other; those of grey and alpha as four channels."""
    if raw == GREY_ALPHA_PNG:
        pixels = _unpacked(image, "RGBA").view(">u2").astype(np.uint16)
    else:
        pixels = _unpacked(image, raw).astype(np.uint16) << 8
        with Image.open(path, formats=["PNG"]) as again:
            pixels |= _unpacked(again, DEEP_PNG[raw])
    if pixels.shape[2] == 3:
        return pixels, _keyed(pixels, image.info.get("transparency"))
    return pixels[..., :-1], pixels[..., -1]


def _unpacked(image: ImageFile.ImageFile, mode: str) -> np.ndarray:
    image.tile = [tile._replace(args=mode) for tile in image.tile]
    return np.asarray(image)


def _png_colors(path: Path, image: Image.Image, model: Model) -> bytes | Space | None:
    """What the chunks cICP, iCCP, sRGB, gAMA and cHRM say, of which the first counts."""
    coded = _cicp(path)
    if coded:
        return coded_space(coded[0], coded[1])
    if profile := image.info.get("icc_profile"):
        return profile
    gamma, chromaticity = image.info.get("gamma"), image.info.get("chromaticity")
    if "srgb" in image.info or not (gamma or chromaticity):
        return None
    curve = srgb_to_light if not gamma or abs(gamma / SRGB_GAMMA - 1) < 0.05 else power(1 / gamma)
    if model == "grey":
        return grey_space(curve)
    white, primaries = (chromaticity[:2], chromaticity[2:]) if chromaticity else (D65, BT709)
    try:
        with np.errstate(divide="raise", invalid="raise"):
            return Space((curve,) * 3, to_xyz(primaries, white))
    except (np.linalg.LinAlgError, ArithmeticError):
        log.warning("%s: left out the primaries %s, which are no colours", path, chromaticity)
        return None


def _cicp(path: Path) -> bytes | None:
    """The chunk of that name. The pixels' check sums are compared on the way: Pillow decodes whatever is there.

    Raises:
        UnreadablePictureError: one is wrong.
    """
    found, size = None, path.stat().st_size
    with path.open("rb") as file:
        file.seek(8)
        while len(head := file.read(8)) == 8 and head[4:] != b"IEND":
            length, name = min(int.from_bytes(head[:4], "big"), size), head[4:]
            if name not in (b"cICP", b"IDAT", b"fdAT"):
                file.seek(length + 4, 1)
                continue
            data, check = file.read(length), file.read(4)
            if name == b"cICP":
                found = data
            elif len(check) == 4 and crc32(data, crc32(name)) != int.from_bytes(check, "big"):
                raise UnreadablePictureError(
                    "a damaged PNG: a check sum of its pixels is wrong; copy or download it again"
                )
    return found
