"""Hundreds of damaged files: each is read, or refused in a way that a batch expects."""

import io
import random

import pytest
from PIL import Image

from supir_core.files.metadata import read_label
from supir_core.files.pictures import read_picture

from .kinds import COLOR, DEEP, GREY, pillow, png, tiff
from .profiles import PROPHOTO, gamma, rgb_profile

PROFILE = rgb_profile(PROPHOTO, gamma(1.8))
SMALL, SMALL_DEEP = COLOR[::3, ::3].copy(), DEEP[::3, ::3].copy()
ROUNDS = 60


def camera():
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "maker", 6
    exif[0x8769] = {0x9003: "2021:02:03 04:05:06"}
    return exif


def gif():
    file = io.BytesIO()
    Image.fromarray(GREY).save(file, "GIF", save_all=True, append_images=[Image.fromarray(255 - GREY)])
    return file.getvalue()


FILES = {
    "png": pillow(SMALL, "PNG", icc_profile=PROFILE, exif=camera()),
    "png 16": png(SMALL_DEEP, (b"gAMA", (55555).to_bytes(4, "big")), (b"cICP", bytes([12, 13, 0, 1]))),
    "jpeg": pillow(SMALL, "JPEG", icc_profile=PROFILE, exif=camera()),
    "progressive": pillow(SMALL, "JPEG", progressive=True),
    "ink": pillow(SMALL, "JPEG", mode="CMYK"),
    "webp": pillow(SMALL, "WEBP", icc_profile=PROFILE, exif=camera()),
    "tiff": tiff(SMALL_DEEP, iccprofile=PROFILE, tile=(16, 16)),
    "tiff zip": tiff(SMALL, compression="zlib", predictor=True),
    "tiff float": tiff((SMALL / 255).astype("float32")),
    "palette": tiff(GREY[::3, ::3].copy(), photometric="palette", colormap=[[n * 200 for n in range(256)]] * 3),
    "gif": gif(),
    "bmp": pillow(SMALL, "BMP"),
}


def damaged(data, seed):
    """Bytes changed, cut out, doubled, or cut off; the head is hit most often."""
    chance, data = random.Random(seed), bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 5, 20))):
        end = chance.choice((40, 200, len(data)))
        place = chance.randrange(min(end, len(data)))
        match chance.randrange(5):
            case 0 | 1:
                data[place] = chance.choice((0, 1, 127, 128, 255, chance.randrange(256)))
            case 2:
                data[place : place + 4] = chance.choice((b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff"))
            case 3:
                del data[place : place + chance.randrange(1, 9)]
            case 4:
                data[place:place] = data[place : place + chance.randrange(1, 9)]
        if chance.random() < 0.1:
            data = data[: chance.randrange(40, 2 * len(data))]
    return bytes(data)


@pytest.mark.parametrize("kind", FILES)
def test_a_damaged_file_is_read_or_refused(tmp_path, kind):
    path = tmp_path / "picture"
    path.write_bytes(FILES[kind])
    read_picture(path, page=1)
    refused = 0
    for seed in range(ROUNDS):
        path.write_bytes(damaged(FILES[kind], seed))
        for read in (lambda: read_picture(path, page=1), lambda: read_picture(path), lambda: read_label(path)):
            try:
                read()
            except (OSError, ValueError):
                refused += 1
    assert refused
