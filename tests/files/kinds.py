"""One small picture in files of every kind: what a viewer shows of each is known."""

import io
import struct
import zlib

import numpy as np
import tifffile
from PIL import Image

HEIGHT, WIDTH = 48, 64


def photograph():
    """``(H, W, 3)`` of uint16: smooth, with an edge, and with values that 8 bits do not hold."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH] / [[[HEIGHT]], [[WIDTH]]]
    light = np.stack([x, y, 0.5 + 0.4 * np.sin(5 * x + 3 * y)], -1)
    light[10:20, 10:30] *= 0.4
    return (light * 65535).round().astype(np.uint16)


DEEP = photograph()
COLOR = (DEEP >> 8).astype(np.uint8)
GREY16, GREY = DEEP[..., 2], COLOR[..., 2]
ALPHA = np.where(DEEP[..., 0] > 20000, 200, 0).astype(np.uint8)


def unit(pixels):
    """As floats in [0, 1] of three channels."""
    most = np.iinfo(pixels.dtype).max if pixels.dtype.kind == "u" else 1
    floats = pixels.astype(np.float64) / most
    return floats if floats.ndim == 3 else floats[..., None].repeat(3, -1)


def tiff(pixels, **options):
    file = io.BytesIO()
    tifffile.imwrite(
        file, pixels, metadata=None, **{"photometric": "rgb" if pixels.ndim == 3 else "minisblack", **options}
    )
    return file.getvalue()


def pillow(pixels, kind, mode=None, **options):
    file = io.BytesIO()
    image = Image.fromarray(pixels) if mode is None else Image.fromarray(pixels).convert(mode)
    image.save(file, kind, **options)
    return file.getvalue()


def png(pixels, *chunks):
    """A PNG of any depth without a filter, with chunks before the pixels."""
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    head = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 8 * pixels.dtype.itemsize, kind, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(row.dtype.newbyteorder(">")).tobytes() for row in pixels)
    parts = [(b"IHDR", head), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in parts
    )


def ink(color):
    """``(H, W, 4)`` of CMYK that gives a colour."""
    key = 255 - color.max(-1, keepdims=True).astype(float)
    cmy = 255 - color * 255.0 / np.maximum(255 - key, 1)
    return np.concatenate([cmy, key], -1).round().clip(0, 255).astype(np.uint8)


def to_ycbcr(color):
    red, green, blue = np.moveaxis(color.astype(float), -1, 0)
    y = 0.299 * red + 0.587 * green + 0.114 * blue
    planes = np.stack([y, 128 + (blue - y) / 1.772, 128 + (red - y) / 1.402], -1)
    return planes.round().clip(0, 255).astype(np.uint8)


def palette_tiff(factor):
    indexes = (GREY >> 4).astype(np.uint8)
    colors = np.zeros((3, 256), np.uint16)
    colors[:, :16] = (np.arange(16) * 16)[None] * factor
    return tiff(indexes, photometric="palette", colormap=colors), unit((indexes * 16).astype(np.uint8))


def tiffs():
    """File and what is shown, by name."""
    with_alpha = np.dstack([COLOR, ALPHA])
    multiplied = np.dstack([(COLOR * (ALPHA[..., None] / 255)).round().astype(np.uint8), ALPHA])
    twelve = (GREY16 >> 4).astype(np.uint16)
    found = {
        "grey 8": (tiff(GREY), GREY),
        "grey 16": (tiff(GREY16), GREY16),
        "grey 16, white is zero": (tiff(65535 - GREY16, photometric="miniswhite"), GREY16),
        "grey 8, white is zero": (tiff(255 - GREY, photometric="miniswhite"), GREY),
        "grey 32": (tiff(GREY16.astype(np.uint32) * 65537), GREY16),
        "grey float16": (tiff(unit(GREY)[..., 0].astype(np.float16)), GREY),
        "grey float32": (tiff(unit(GREY16)[..., 0].astype(np.float32)), GREY16),
        "grey float64": (tiff(unit(GREY16)[..., 0]), GREY16),
        "grey float32 up to 255": (tiff(GREY16.astype(np.float32) / 257), GREY16),
        "grey float32 up to 65535": (tiff(GREY16.astype(np.float32)), GREY16),
        "grey of 8 bits in 32 with a sign": (tiff(GREY.astype(np.int32)), GREY),
        "grey of 16 bits in 32 with a sign": (tiff(GREY16.astype(np.int32)), GREY16),
        "grey of 31 bits": (tiff((unit(GREY16)[..., 0] * (2**31 - 1)).astype(np.int32)), GREY16),
        "bilevel": (tiff(GREY > 128), ((GREY > 128) * 255).astype(np.uint8)),
        "colour 8": (tiff(COLOR), COLOR),
        "colour 16": (tiff(DEEP), DEEP),
        "colour 16, other bytes": (tiff(DEEP, byteorder=">"), DEEP),
        "colour 16, planes": (tiff(np.moveaxis(DEEP, -1, 0), planarconfig="separate"), DEEP),
        "colour 16, tiles": (tiff(DEEP, tile=(32, 32)), DEEP),
        "colour 16, zip": (tiff(DEEP, compression="zlib", predictor=True), DEEP),
        "colour 32": (tiff(DEEP.astype(np.uint32) * 65537), DEEP),
        "colour float32": (tiff(unit(DEEP).astype(np.float32)), DEEP),
        "big": (tiff(DEEP, bigtiff=True), DEEP),
        "palette of 16 bits": palette_tiff(257),
        "palette of shifted bytes": palette_tiff(256),
        "palette of 8 bits": palette_tiff(1),
        "ink": (tiff(ink(COLOR), photometric="separated"), COLOR),
        "ink 16": (tiff(ink(COLOR).astype(np.uint16) * 257, photometric="separated"), COLOR),
        "luma and chroma": (tiff(to_ycbcr(COLOR), photometric="ycbcr"), COLOR),
        "alpha": (tiff(with_alpha, extrasamples=["unassalpha"]), with_alpha),
        "alpha, multiplied": (tiff(multiplied, extrasamples=["assocalpha"]), with_alpha),
        "alpha of 16 bits": (tiff(with_alpha.astype(np.uint16) * 257, extrasamples=["unassalpha"]), with_alpha),
        "grey and alpha": (
            tiff(
                np.dstack([GREY, ALPHA]), photometric="minisblack", planarconfig="contig", extrasamples=["unassalpha"]
            ),
            np.dstack([GREY, GREY, GREY, ALPHA]),
        ),
        "an extra sample": (tiff(with_alpha, extrasamples=["unspecified"]), COLOR),
        "twelve bits as sixteen": (tiff(twelve * 16), twelve * 16),
    }
    return {name: (data, unit(shown)) for name, (data, shown) in found.items()}


def others():
    """What Pillow writes, and PNG of all depths."""
    with_alpha = np.dstack([COLOR, ALPHA])
    found = {
        "PNG grey": (png(GREY), GREY),
        "PNG grey 16": (png(GREY16), GREY16),
        "PNG colour": (png(COLOR), COLOR),
        "PNG colour 16": (png(DEEP), DEEP),
        "PNG colour and alpha": (png(with_alpha), with_alpha),
        "PNG colour and alpha 16": (png(with_alpha.astype(np.uint16) * 257), with_alpha),
        "PNG grey and alpha 16": (
            png(np.dstack([GREY16, ALPHA.astype(np.uint16) * 257])),
            np.dstack([unit(GREY16), ALPHA / 255]),
        ),
        "PNG palette": (pillow(GREY, "PNG", mode="P"), GREY),
        "PNG bilevel": (pillow(GREY > 128, "PNG"), ((GREY > 128) * 255).astype(np.uint8)),
        "PNG grey with a transparent shade": (
            png(GREY16, (b"tRNS", struct.pack(">H", GREY16[0, 0]))),
            np.dstack([unit(GREY16), GREY16[0, 0] != GREY16]),
        ),
        "PNG colour 16 with a transparent colour": (
            png(DEEP, (b"tRNS", struct.pack(">HHH", *DEEP[0, 0]))),
            np.dstack([unit(DEEP), (DEEP[0, 0] != DEEP).any(-1)]),
        ),
        "WebP": (pillow(COLOR, "WEBP", lossless=True), COLOR),
        "WebP with alpha": (pillow(with_alpha, "WEBP", lossless=True, exact=True), with_alpha),
        "BMP": (pillow(COLOR, "BMP"), COLOR),
        "GIF": (pillow(GREY, "GIF"), GREY),
        "PPM": (pillow(COLOR, "PPM"), COLOR),
        "PGM 16": (b"P5 %d %d 65535\n" % (WIDTH, HEIGHT) + GREY16.astype(">u2").tobytes(), GREY16),
    }
    return {name: (data, unit(np.asarray(shown))) for name, (data, shown) in found.items()}
