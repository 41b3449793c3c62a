"""ICC profiles: by lcms (Pillow's ImageCms), and with 16 bits, which ImageCms does not take, by the profile's own numbers."""

from __future__ import annotations

import io
import logging

import numpy as np
from PIL import Image, ImageCms

from .colors import Curve, Space, grey_space
from .raster import Raster

log = logging.getLogger(__name__)

SPACES = {"grey": b"GRAY", "rgb": b"RGB ", "cmyk": b"CMYK", "lab": b"Lab "}
"""How a profile names what it is for."""


def profile_space(profile: bytes) -> Space | None:
    """The space of a profile that is made of curves and a matrix, or of one curve for grey; ``None`` for all others.

    Raises:
        ValueError: the profile is damaged.
    """
    tags = _tags(profile)
    if any(name.startswith(b"A2B") for name in tags):
        return None
    if profile[16:20] == SPACES["grey"] and b"kTRC" in tags:
        return grey_space(_curve(tags[b"kTRC"]))
    if profile[16:20] != SPACES["rgb"] or not {b"rXYZ", b"gXYZ", b"bXYZ", b"rTRC", b"gTRC", b"bTRC"} <= set(tags):
        return None
    columns = [np.frombuffer(tags[name], ">i4", 3, 8) / 65536 for name in (b"rXYZ", b"gXYZ", b"bXYZ")]
    return Space(tuple(_curve(tags[name]) for name in (b"rTRC", b"gTRC", b"bTRC")), np.stack(columns, -1))


def _tags(profile: bytes) -> dict[bytes, bytes]:
    count = int.from_bytes(profile[128:132], "big")
    table = np.frombuffer(profile, ">u4", 3 * min(count, 200), 132).reshape(-1, 3).tolist()
    return {name.to_bytes(4, "big"): profile[start : start + size] for name, start, size in table}


def _curve(tag: bytes) -> Curve:
    """The curve of a tag of type curv or para, section 10 of ICC.1."""
    count = int.from_bytes(tag[8:12], "big")
    if tag[:4] == b"curv":
        numbers = np.frombuffer(tag, ">u2", count, 12)
        if count == 1:
            return lambda value: value ** (float(numbers[0]) / 256)
        if not count:
            return lambda value: value
        return lambda value: np.interp(value, np.linspace(0, 1, count), numbers / 65535)
    kind = int.from_bytes(tag[8:10], "big")
    if tag[:4] != b"para" or kind > 4:
        raise ValueError(f"a curve of an unknown type in the profile ({tag[:4]!r})")
    given = (np.frombuffer(tag, ">i4", (1, 3, 4, 5, 7)[kind], 12) / 65536).tolist()
    g, a, b, c, d, e, f = (given + [0.0] * 6)[:7]
    if kind == 0:
        a = 1.0
    elif kind in (1, 2):
        c, d, e, f = 0.0, -b / a, c, c
    return lambda value: np.where(value >= d, (a * value + b).clip(0) ** g + e, c * value + f)


def through_profile(raster: Raster, profile: bytes) -> np.ndarray | None:
    """Pixels in sRGB, uint8 or uint16, or floats in [0, 1]; ``None`` where the profile does not fit or is damaged."""
    pixels = raster.pixels
    if raster.model == "grey" and profile[16:20] == SPACES["rgb"]:
        pixels = pixels.repeat(3, -1)
    elif profile[16:20] != SPACES[raster.model]:
        log.warning(
            "left out a colour profile of %s, as the picture is %s", profile[16:20].decode("latin-1"), raster.model
        )
        return None
    try:
        space = profile_space(profile)
        if space and space.is_srgb():
            return pixels
        if space and (pixels.dtype != np.uint8 or len(space.curves) == 1):
            return space.to_srgb(pixels)
        return _by_lcms(pixels, profile)
    except (ValueError, OSError, ZeroDivisionError, ImageCms.PyCMSError) as error:
        log.warning("left out a damaged colour profile (%s)", error)
        return None


def _by_lcms(pixels: np.ndarray, profile: bytes) -> np.ndarray:
    if pixels.dtype != np.uint8:
        log.info("this kind of colour profile is applied with 8 bits")
        pixels = (pixels // 257).astype(np.uint8)
    mode = {1: "L", 3: "RGB", 4: "CMYK"}[pixels.shape[2]]
    image = Image.frombytes(mode, (pixels.shape[1], pixels.shape[0]), np.ascontiguousarray(pixels))
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    return np.asarray(converted)
