"""Colours of other spaces are shown as a colour-managed viewer shows them."""

import io
import logging
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from supir_core.files.pictures import UnreadablePictureError, open_picture, read_picture

from .kinds import COLOR, DEEP, GREY, GREY16, ink, pillow, png, tiff, unit
from .profiles import D50, PROPHOTO, SRGB, gamma, grey_profile, lut_profile, parametric, rgb_profile, table
from .test_pictures import pixels, psnr, written

P3 = (0.680, 0.320, 0.265, 0.690, 0.150, 0.060)


def to_light(value):
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def shown(light):
    light = light.clip(0, 1)
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


def by_lcms(image, profile, mode="RGB"):
    """What Pillow's lcms makes of 8 bits."""
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    return np.asarray(ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode=mode)) / 255


CURVES = {
    "a power": gamma(1.8),
    "light": gamma(1.0),
    "a table": table((np.linspace(0, 1, 256) ** 2.2 * 65535).round()),
    "sRGB's formula": parametric(3, 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045),
    "a formula with an offset": parametric(4, 2.4, 0.9, 0.1, 0.2, 0.05, 0.0, 0.0),
    "a power by formula": parametric(0, 2.2),
}


@pytest.mark.parametrize("curve", CURVES)
@pytest.mark.parametrize("columns", [PROPHOTO, SRGB], ids=["ProPhoto", "sRGB"])
def test_16_bits_through_a_profile_agree_with_lcms_on_8(tmp_path, curve, columns):
    profile = rgb_profile(columns, CURVES[curve])
    expected = by_lcms(Image.fromarray(COLOR), profile)
    deep = COLOR.astype(np.uint16) * 257
    for name, data in {
        "png 8": pillow(COLOR, "PNG", icc_profile=profile),
        "png 16": png(deep, (b"iCCP", b"p\0\0" + zlib.compress(profile))),
        "tiff 8": tiff(COLOR, iccprofile=profile),
        "tiff 16": tiff(deep, iccprofile=profile),
        "tiff float": tiff((COLOR / 255).astype(np.float32), iccprofile=profile),
        "webp": pillow(COLOR, "WEBP", lossless=True, icc_profile=profile),
    }.items():
        assert psnr(pixels(read_picture(written(tmp_path, data))), expected) >= 50, name


def test_16_bits_stay_16_through_a_profile(tmp_path):
    data = tiff(DEEP, iccprofile=rgb_profile(SRGB, gamma(1.0)))
    picture = open_picture(written(tmp_path, data))
    assert picture.bits == 16
    assert abs(pixels(picture.tensor) - shown(unit(DEEP))).max() < 2e-3


def test_a_profile_of_a_table_is_applied(tmp_path):
    profile = lut_profile(b"RGB ", lambda r, g, b: (30 * r + 60 * g + 10 * b, 80 * (r - g), 80 * (g - b)))
    expected = by_lcms(Image.fromarray(COLOR), profile)
    for data in (pillow(COLOR, "PNG", icc_profile=profile), tiff(COLOR.astype(np.uint16) * 257, iccprofile=profile)):
        assert psnr(pixels(read_picture(written(tmp_path, data))), expected) >= 50


def test_ink_is_read_with_its_profile_or_without(tmp_path):
    profile = lut_profile(
        b"CMYK", lambda c, m, y, k: ((100 - 40 * c - 30 * m - 10 * y) * (1 - k), 60 * (m - c), 70 * (y - m))
    )
    inks = ink(COLOR)
    expected = by_lcms(Image.frombytes("CMYK", (COLOR.shape[1], COLOR.shape[0]), inks.tobytes()), profile)
    deep = inks.astype(np.uint16) * 257
    for pixel in (inks, deep):
        data = tiff(pixel, photometric="separated", iccprofile=profile)
        assert psnr(pixels(read_picture(written(tmp_path, data))), expected) >= 48
    image = Image.frombytes("CMYK", (COLOR.shape[1], COLOR.shape[0]), inks.tobytes())
    for options, known in (({"icc_profile": profile}, expected), ({}, unit(COLOR))):
        file = io.BytesIO()
        image.save(file, "JPEG", quality=100, subsampling=0, **options)  # inverted, as Adobe does
        assert psnr(pixels(read_picture(written(tmp_path, file.getvalue()))), known) >= 40


def test_grey_is_read_with_its_profile(tmp_path):
    profile = grey_profile(gamma(1.0))
    for data in (pillow(GREY, "PNG", icc_profile=profile), pillow(GREY, "TIFF", icc_profile=profile)):
        assert psnr(pixels(read_picture(written(tmp_path, data))), shown(unit(GREY))) >= 50
    data = tiff(GREY16, iccprofile=profile)
    assert psnr(pixels(read_picture(written(tmp_path, data))), shown(unit(GREY16))) >= 50
    colored = rgb_profile(SRGB, gamma(1.0))
    assert psnr(pixels(read_picture(written(tmp_path, tiff(GREY16, iccprofile=colored)))), shown(unit(GREY16))) >= 50


def test_transparency_stays_as_it_is_through_a_profile(tmp_path):
    alpha = GREY // 2
    data = pillow(np.dstack([COLOR, alpha]), "PNG", icc_profile=rgb_profile(SRGB, gamma(1.0)))
    ours = pixels(read_picture(written(tmp_path, data)))
    assert psnr(ours[..., :3], shown(unit(COLOR))) >= 50
    assert abs(ours[..., 3] - alpha / 255).max() < 1e-6


@pytest.mark.parametrize(
    "profile",
    [
        b"",
        b"no profile",
        bytes(200),
        rgb_profile(SRGB, gamma(1.0))[:180],
        grey_profile(gamma(1.0)),
        lut_profile(b"RGB ", lambda *_: (0, 0, 0)).replace(b"acsp", b"xxxx"),
    ],
)
def test_a_profile_that_is_damaged_or_of_another_kind_is_left_out(tmp_path, caplog, profile):
    with caplog.at_level(logging.WARNING):
        ours = pixels(read_picture(written(tmp_path, tiff(COLOR, iccprofile=profile or b"\0"))))
    assert psnr(ours, unit(COLOR)) >= 50
    assert "left out" in caplog.text


def chunk_gamma(value):
    return b"gAMA", struct.pack(">I", round(value * 100_000))


def chromaticities(white, primaries):
    return b"cHRM", struct.pack(">8I", *(round(value * 100_000) for value in (*white, *primaries)))


def test_gamma_is_applied_where_there_is_no_profile(tmp_path):
    for pixel in (COLOR, DEEP, GREY, GREY16):
        for value in (1.0, 1 / 1.8):
            ours = pixels(read_picture(written(tmp_path, png(pixel, chunk_gamma(value)))))
            assert psnr(ours, shown(unit(pixel) ** (1 / value))) >= 50


def test_the_usual_gamma_means_srgb(tmp_path):
    for chunks in ([chunk_gamma(1 / 2.2)], [(b"sRGB", b"\0"), chunk_gamma(1.0)]):
        assert abs(pixels(read_picture(written(tmp_path, png(COLOR, *chunks)))) - unit(COLOR)).max() < 1e-6


def p3_expected(pixel):
    matrix = np.array([[1.2249401, -0.2249402, 0], [-0.0420569, 1.0420571, 0], [-0.0196376, -0.0786361, 1.0982735]])
    return shown(to_light(unit(pixel)) @ matrix.T)


@pytest.mark.parametrize(
    "chunk", [chromaticities((0.3127, 0.3290), P3), (b"cICP", bytes([12, 13, 0, 1]))], ids=["cHRM", "cICP"]
)
def test_display_p3_is_known_without_a_profile(tmp_path, chunk):
    for pixel in (COLOR, DEEP, GREY, GREY16):
        assert psnr(pixels(read_picture(written(tmp_path, png(pixel, chunk)))), p3_expected(pixel)) >= 50


@pytest.mark.parametrize(("white", "primaries"), [((0, 0), [0] * 6), (P3[:2], [0] * 6), ((0.3127, 0.3290), [0.3] * 6)])
def test_primaries_that_are_no_colours_are_left_out(tmp_path, caplog, white, primaries):
    ours = pixels(read_picture(written(tmp_path, png(COLOR, chromaticities(white, primaries)))))
    assert psnr(ours, unit(COLOR)) >= 90
    assert "left out the primaries" in caplog.text


def test_coded_colours_count_before_a_profile_and_before_gamma(tmp_path):
    profile = (b"iCCP", b"p\0\0" + zlib.compress(rgb_profile(SRGB, gamma(1.0))))
    chunks = [(b"cICP", bytes([1, 13, 0, 1])), profile, chunk_gamma(1.0)]
    assert psnr(pixels(read_picture(written(tmp_path, png(COLOR, *chunks)))), unit(COLOR)) >= 90
    video = unit(COLOR)
    light = np.where(video < 0.081, video / 4.5, ((video + 0.099) / 1.099) ** (1 / 0.45))
    ours = pixels(read_picture(written(tmp_path, png(COLOR, (b"cICP", bytes([1, 1, 0, 1]))))))
    assert psnr(ours, shown(light)) >= 50


@pytest.mark.parametrize("transfer", [16, 18])
def test_high_dynamic_range_is_refused_by_name(tmp_path, transfer):
    with pytest.raises(UnreadablePictureError, match="high dynamic range"):
        read_picture(written(tmp_path, png(DEEP, (b"cICP", bytes([9, transfer, 0, 1])))))


def lab_of(color):
    xyz = to_light(unit(color)) @ np.array(SRGB) / D50
    root = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz * 841 / 108 + 16 / 116)
    return np.stack(
        [116 * root[..., 1] - 16, 500 * (root[..., 0] - root[..., 1]), 200 * (root[..., 1] - root[..., 2])], -1
    )


def test_lab_in_floats_is_refused_by_name(tmp_path):
    with pytest.raises(UnreadablePictureError, match=r"Lab in floats.*save it as RGB"):
        read_picture(written(tmp_path, tiff(np.zeros((4, 4, 3), np.float32), photometric="cielab")))


def test_lab_is_read(tmp_path):
    light, a, b = np.moveaxis(lab_of(COLOR), -1, 0)
    flat = np.stack([light * 2.55, a, b], -1).round().astype(np.int16).astype(np.uint8)
    deep = np.stack([light * 655.35, a * 256, b * 256], -1).round().astype(np.int32).astype(np.uint16)
    icc = np.stack([light * 652.8, (a + 128) * 256, (b + 128) * 256], -1).round().astype(np.uint16)
    for pixel, kind, least in ((flat, "cielab", 38), (deep, "cielab", 60), (icc, "icclab", 60)):
        assert psnr(pixels(read_picture(written(tmp_path, tiff(pixel, photometric=kind)))), unit(COLOR)) >= least
