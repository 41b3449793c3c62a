"""Files that lack their end: cut off, or with zeros where it should be, as a download leaves them that broke off."""

import io

import numpy as np
import pytest
from PIL import Image

from supir_core.files.pictures import UnreadablePictureError, read_picture

from .kinds import pillow, tiff
from .test_pictures import written

NOISE = np.random.default_rng(0).integers(0, 70, (120, 90, 3), np.uint8) + np.arange(120, dtype=np.uint8)[:, None, None]
BLACK = np.zeros((1000, 1500, 3), np.uint8)
CAMERA = Image.Exif()
CAMERA[0x010F] = "maker"


def heic(pixels):
    file = io.BytesIO()
    pytest.importorskip("pillow_heif").from_pillow(Image.fromarray(pixels)).save(file)
    return file.getvalue()


FILES = {
    "png": lambda pixels: pillow(pixels, "PNG"),
    "tiff": lambda pixels: tiff(pixels, compression="zlib", rowsperstrip=16),
    "tiff with its directory last": lambda pixels: pillow(pixels, "TIFF", compression="tiff_adobe_deflate"),
    "gif": lambda pixels: pillow(pixels, "GIF"),
    "jpeg 2000": lambda pixels: pillow(pixels, "JPEG2000"),
    "webp": lambda pixels: pillow(pixels, "WEBP", quality=95),
    "webp with camera": lambda pixels: pillow(pixels, "WEBP", lossless=True, exif=CAMERA),
    "avif": lambda pixels: pillow(pixels, "AVIF"),
    "heic": heic,
}
PLAIN = {
    "bmp": lambda pixels: pillow(pixels, "BMP"),
    "ppm": lambda pixels: pillow(pixels, "PPM"),
    "pgm": lambda pixels: pillow(pixels, "PPM", mode="L"),
    "plain tiff": tiff,
    "lossless webp": lambda pixels: pillow(pixels, "WEBP", lossless=True),
}
"""Of these nobody can tell zeros from black."""


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
@pytest.mark.parametrize("kind", FILES | PLAIN)
def test_a_file_that_was_cut_is_refused(tmp_path, kind, share):
    data = (FILES | PLAIN)[kind](NOISE)
    cut = data[: round(share * len(data))]
    for damaged in [cut, cut + bytes(len(data) - len(cut))][: 2 if kind in FILES else 1]:
        with pytest.raises(UnreadablePictureError, match=r"cut: (?s:.)*(again|MP4)"):
            read_picture(written(tmp_path, damaged, "cut"), page=1)


@pytest.mark.parametrize("kind", FILES | PLAIN)
def test_a_black_picture_is_whole_with_and_without_zeros_behind_it(tmp_path, kind):
    data = (FILES | PLAIN)[kind](BLACK)
    for behind in (b"", bytes(999)):
        assert read_picture(written(tmp_path, data + behind)).max() <= 0.01
