"""TIFF in all its kinds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from ..exif import read_camera
from ..guard import UnreadablePictureError, check_room
from .pages import page_index
from .raster import ORIENTATION, Model, Raster, scaled

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, SEPARATED, YCBCR, CIELAB, ICCLAB = 0, 1, 2, 3, 5, 6, 8, 9
MODELS: dict[int, tuple[Model, int]] = {
    WHITE_IS_ZERO: ("grey", 1),
    BLACK_IS_ZERO: ("grey", 1),
    RGB: ("rgb", 3),
    PALETTE: ("rgb", 1),
    SEPARATED: ("cmyk", 4),
    YCBCR: ("rgb", 3),
    CIELAB: ("lab", 3),
    ICCLAB: ("lab", 3),
}
"""By their photometric interpretation: what the channels are, and how many."""

GIVES_RGB = (6, 7, 33003, 33005, 34712, 50001, 50002)
"""Compressions, of the family of JPEG, whose decoders turn YCbCr into RGB."""

ASSOCIATED, UNASSOCIATED = 1, 2
"""What an extra sample is: alpha with colours multiplied by it, or without."""

MASK = 4
THUMBNAIL = 0.3
"""A page with less than this share of the largest one's pixels is a thumbnail of it."""

TAG_PROFILE, TAG_COEFFICIENTS, TAG_REFERENCE = 34675, 529, 532


def read_with_tifffile(path: Path, page: int | None) -> Raster:
    """Read the largest page, or the one that is asked for."""
    import tifffile

    with tifffile.TiffFile(path) as tiff:
        chosen = _choose(tiff, page)
        width, height, samples = chosen.imagewidth, chosen.imagelength, chosen.samplesperpixel
        check_room(path, width, height, samples, max(1, chosen.bitspersample // 8))
        model, count = _model(chosen)
        pixels = _samples(chosen)
        colors = _colors(chosen, pixels[..., :count])
        alpha = None
        if count < samples and chosen.extrasamples and chosen.extrasamples[0] in (ASSOCIATED, UNASSOCIATED):
            alpha = scaled(pixels[..., count], _white(chosen))
            if alpha.dtype != colors.dtype:
                alpha = (
                    alpha.astype(colors.dtype) if colors.dtype == np.uint8 else alpha.astype(np.uint16) * np.uint16(257)
                )
            if chosen.extrasamples[0] == ASSOCIATED and model in ("grey", "rgb"):
                colors = _divided(colors, alpha)
        orientation, profile = (_value(chosen, tag) for tag in (ORIENTATION, TAG_PROFILE))
        return Raster(
            colors, model, alpha, profile or None, orientation or 1, read_camera(lambda: _exif(tiff, chosen))[0]
        )


def _choose(tiff: TiffFile, page: int | None) -> TiffPage:
    """The page that is asked for, else the largest where all others are thumbnails or masks of it."""
    pages: list[Any] = [whole for each in tiff.pages if _area(whole := each.aspage())]
    if not pages:
        raise UnreadablePictureError("a TIFF without a picture, as where its end is missing; copy or download it again")
    if page is not None:
        return pages[page_index(page, len(pages), "pages")]
    whole = [each for each in pages if not each.subfiletype & (1 | MASK)]
    # of a page that is a thumbnail, the picture may lie below it
    whole = (
        whole or [below for each in pages for below in each.pages or () if not below.subfiletype & (1 | MASK)] or pages
    )
    largest = max(whole, key=_area)
    full = [each for each in whole if _area(each) >= THUMBNAIL * _area(largest)]
    if len(full) > 1:
        page_index(None, len(pages), "pages")
    return largest


def _area(page: TiffPage) -> int:
    return page.imagewidth * page.imagelength


def _value(page: TiffPage, tag: int) -> Any:
    found = page.tags.get(tag)
    return found.value if found else None


def _model(page: TiffPage) -> tuple[Model, int]:
    photometric = BLACK_IS_ZERO if page.photometric is None else int(page.photometric)
    if photometric not in MODELS:
        raise UnreadablePictureError(
            f"a TIFF of the kind {page.photometric!s}, which is no finished picture; develop it or save it as RGB first"
        )
    model, count = MODELS[photometric]
    if page.samplesperpixel < count or page.imagedepth > 1:
        raise UnreadablePictureError(
            f"a TIFF of {page.samplesperpixel} channels and {page.imagedepth} layers, not a picture"
        )
    return model, count


def _samples(page: TiffPage) -> np.ndarray:
    """The numbers of a page, ``(H, W, S)``."""
    try:
        array = page.asarray()
    except (ValueError, ImportError) as error:
        if "imagecodecs" not in str(error):
            raise
        kind = MissingCodecError if page.bitspersample <= 8 else UnreadablePictureError
        raise kind(f"this compression is read by the package imagecodecs; install imagecodecs ({error})") from error
    if array.dtype.kind not in "buif":
        raise UnreadablePictureError(f"a TIFF of {array.dtype} numbers, which is no picture")
    planes = page.planarconfig == 2 and page.samplesperpixel > 1
    shape = (page.samplesperpixel, page.imagelength, page.imagewidth)
    return np.moveaxis(array.reshape(shape), 0, -1) if planes else array.reshape(*shape[1:], shape[0])


def _white(page: TiffPage) -> float | None:
    """The number for white where the type does not say it, such as of 12 bits in 16."""
    return None if int(page.sampleformat or 1) != 1 else 2**page.bitspersample - 1


def _colors(page: TiffPage, pixels: np.ndarray) -> np.ndarray:
    """uint8 or uint16 of what ``_model`` says."""
    photometric = page.photometric
    if photometric == PALETTE:
        return _palette(page)[pixels[..., 0]]
    if photometric in (CIELAB, ICCLAB) and pixels.dtype.kind == "f":
        raise UnreadablePictureError("a TIFF of Lab in floats, which is not read here; save it as RGB first")
    if photometric in (CIELAB, ICCLAB) and pixels.dtype.kind == "i":
        pixels = pixels.view(f"u{pixels.dtype.itemsize}")
    pixels = scaled(pixels, _white(page) if pixels.dtype.kind == "u" else None)
    if photometric == WHITE_IS_ZERO:
        return np.iinfo(pixels.dtype).max - pixels
    if photometric == CIELAB:  # a and b are signed
        half = (np.iinfo(pixels.dtype).max + 1) // 2
        return pixels ^ np.array([0, half, half], pixels.dtype)
    if photometric == ICCLAB and pixels.dtype == np.uint16:  # white is at 0xFF00
        return np.concatenate(
            [(pixels[..., :1] * (65535 / 65280)).clip(0, 65535).astype(np.uint16), pixels[..., 1:]], -1
        )
    if photometric == YCBCR and int(page.compression) not in GIVES_RGB:
        return _from_ycbcr(page, pixels)
    return pixels


def _palette(page: TiffPage) -> np.ndarray:
    """Colours ``(N, 3)``: uint8 where the file's 16 bits are those of 8."""
    colors = np.asarray(page.colormap, np.uint16).T
    high, low = (colors >> 8).astype(np.uint8), (colors & 255).astype(np.uint8)
    if not high.any():
        return low
    return high if not low.any() or bool((low == high).all()) else colors


def _from_ycbcr(page: TiffPage, pixels: np.ndarray) -> np.ndarray:
    """RGB of luma and chroma, section 21 of TIFF 6."""
    most = np.iinfo(pixels.dtype).max
    red, green, blue = _numbers(page, TAG_COEFFICIENTS) or (0.299, 0.587, 0.114)
    reference = _numbers(page, TAG_REFERENCE) or (0, most, most / 2 + 0.5, most, most / 2 + 0.5, most)
    blacks, whites = np.array(reference[::2]), np.array(reference[1::2])
    y, cb, cr = np.moveaxis((pixels - blacks) / (whites - blacks) * [1, 0.5, 0.5], -1, 0)
    r, b = y + cr * (2 - 2 * red), y + cb * (2 - 2 * blue)
    rgb = np.stack([r, (y - red * r - blue * b) / green, b], -1)
    return np.rint(rgb.clip(0, 1) * most).astype(pixels.dtype)


def _numbers(page: TiffPage, tag: int) -> list[float]:
    """The fractions of a tag."""
    value = np.array(_value(page, tag) or (), float).reshape(-1, 2)
    return (value[:, 0] / value[:, 1]).tolist()


def _divided(colors: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Colours that were multiplied by alpha, as they were before."""
    most = np.iinfo(colors.dtype).max
    light = colors.astype(np.float32) * most / np.maximum(alpha, 1)[..., None]
    return np.rint(light.clip(0, most)).astype(colors.dtype)


def _exif(tiff: TiffFile, page: TiffPage) -> Image.Exif:
    exif = Image.Exif()
    exif.endian, exif.bigtiff = tiff.byteorder, tiff.is_bigtiff
    exif.load_from_fp(tiff.filehandle, page.offset)  # type: ignore[arg-type]
    return exif


class MissingCodecError(UnreadablePictureError):
    """A compression for which a package is missing; Pillow may have it, with 8 bits."""
