"""HEIC and what else pillow-heif reads, with all bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from ..exif import read_camera
from ..guard import UnreadablePictureError, check_room
from .colors import coded_space
from .pages import page_index
from .raster import Raster


def read_with_heif(path: Path, page: int | None) -> Raster:
    """Read the primary picture, or the one that is asked for. The decoder turns it upright."""
    try:
        import pillow_heif
    except ImportError as error:
        raise UnreadablePictureError(
            "HEIC is read by the package pillow-heif; install it: pip install pillow-heif"
        ) from error
    file = pillow_heif.open_heif(path, convert_hdr_to_8bit=False)
    image = file[file.primary_index if page is None else page_index(page, len(file), "pictures")]
    mode = image.mode.partition(";")[0]
    channels = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}.get(mode, 1)
    check_room(path, *image.size, channels, 2)
    pixels = np.asarray(image)
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    alpha = pixels[..., -1] if channels in (2, 4) else None
    colors = pixels[..., :-1] if channels in (2, 4) else pixels
    coded = image.info.get("nclx_profile") or {}
    space = coded_space(int(coded.get("color_primaries", 2)), int(coded.get("transfer_characteristics", 2)))
    return Raster(
        colors,
        "grey" if colors.shape[2] == 1 else "rgb",
        alpha,
        image.info.get("icc_profile") or space,
        1,
        read_camera(lambda: _exif(image.info.get("exif") or b""))[0],
    )


def _exif(block: bytes) -> Image.Exif:
    exif = Image.Exif()
    exif.load(block)
    return exif
