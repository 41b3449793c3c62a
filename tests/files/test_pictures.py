"""Every kind of file is read as a viewer shows it."""

import logging
import sys
import zlib
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image, features

from supir_core.files.pictures import KNOWN_SUFFIXES, SUFFIXES, UnreadablePictureError, open_picture, read_picture

from .kinds import COLOR, DEEP, GREY16, HEIGHT, WIDTH, others, pillow, png, tiff, tiffs, unit

CASES = Path(__file__).parents[1] / "data" / "pictures"
LOSSY = {"icc_adobergb_j": 38}
"""Least PSNR in dB: a JPEG against the picture from which it was made."""


def pixels(tensor):
    return tensor[0].permute(1, 2, 0).double().numpy()


def psnr(ours, shown):
    return -10 * np.log10(max(((ours - shown) ** 2).mean(), 1e-12))


def written(folder, data, name="picture"):
    path = folder / name
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("case", sorted(path.name.split(".")[0] for path in CASES.glob("*.expected.png")))
def test_the_cases_are_read_as_a_viewer_shows_them(case):
    with Image.open(CASES / f"{case}.expected.png") as image:
        shown = unit(np.asarray(image.convert("RGB")))
    (path,) = (path for path in CASES.glob(f"{case}.*") if "expected" not in path.name)
    assert psnr(pixels(read_picture(path)), shown) >= LOSSY.get(case, 50)


@pytest.mark.parametrize("kind", tiffs())
def test_every_kind_of_tiff_is_read(tmp_path, kind):
    data, shown = tiffs()[kind]
    ours = pixels(read_picture(written(tmp_path, data)))
    assert ours.shape == shown.shape
    seen = shown[..., 3:] > 0 if shown.shape[2] == 4 else True  # no colour is known under full transparency
    assert psnr(ours * seen, shown * seen) >= 50


@pytest.mark.parametrize("kind", others())
def test_every_other_kind_is_read(tmp_path, kind):
    data, shown = others()[kind]
    ours = pixels(read_picture(written(tmp_path, data)))
    assert ours.shape == shown.shape
    assert psnr(ours, shown) >= 50


@pytest.mark.parametrize(
    ("data", "bits"),
    [(tiff(COLOR), 8), (tiff(DEEP), 16), (tiff(unit(DEEP)), 16), (png(COLOR), 8), (png(DEEP), 16), (png(GREY16), 16)],
)
def test_it_is_told_how_many_bits_came_in(tmp_path, data, bits):
    assert open_picture(written(tmp_path, data)).bits == bits


def test_no_bit_of_16_is_lost(tmp_path):
    for data in (png(DEEP), tiff(DEEP)):
        assert abs(pixels(read_picture(written(tmp_path, data))) - unit(DEEP)).max() < 1e-6


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_turned_upright_once(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    with Image.fromarray(COLOR) as image:
        image.getexif()[0x0112] = orientation
        shown = TURN[orientation](COLOR)
    files = {
        "tiff": tiff(DEEP, extratags=[(274, "H", 1, orientation, True)]),
        "grey tiff": tiff(GREY16, extratags=[(274, "H", 1, orientation, True)]),
        "png": pillow(COLOR, "PNG", exif=exif),
        "jpeg": pillow(COLOR, "JPEG", quality=95, exif=exif),
        "webp": pillow(COLOR, "WEBP", lossless=True, exif=exif),
    }
    if features.check("avif"):
        files["avif"] = pillow(COLOR, "AVIF", quality=95, exif=exif)
    for name, data in files.items():
        picture = open_picture(written(tmp_path, data, name))
        expected = TURN[orientation](GREY16) if name == "grey tiff" else shown
        assert psnr(pixels(picture.tensor), unit(expected)) >= (35 if name in ("jpeg", "avif") else 47), name


TURN = {
    1: lambda image: image,
    2: np.fliplr,
    3: lambda image: np.rot90(image, 2),
    4: np.flipud,
    5: lambda image: np.rot90(np.flipud(image), -1),
    6: lambda image: np.rot90(image, -1),
    7: lambda image: np.rot90(np.flipud(image)),
    8: np.rot90,
}


def test_heic_is_read_upright_with_all_its_bits(tmp_path):
    heif = pytest.importorskip("pillow_heif")
    exif = Image.Exif()
    exif[0x0112] = 6
    heif.from_pillow(Image.fromarray(COLOR)).save(tmp_path / "a.heic", quality=-1, exif=exif.tobytes())
    heif.from_bytes(mode="RGB;16", size=(WIDTH, HEIGHT), data=DEEP.tobytes()).save(tmp_path / "b.heic", quality=-1)
    assert psnr(pixels(read_picture(tmp_path / "a.heic")), unit(np.rot90(COLOR, -1))) >= 35
    deep = open_picture(tmp_path / "b.heic")
    assert deep.bits == 16
    assert psnr(pixels(deep.tensor), unit(DEEP)) >= 40


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")
def test_avif_is_read(tmp_path):
    data = pillow(COLOR, "AVIF", quality=95)
    assert psnr(pixels(read_picture(written(tmp_path, data))), unit(COLOR)) >= 35


def test_jpeg_xl_is_read(tmp_path):
    pytest.importorskip("pillow_jxl")
    data = pillow(COLOR, "JXL", lossless=True)
    assert psnr(pixels(read_picture(written(tmp_path, data))), unit(COLOR)) >= 50


@pytest.mark.parametrize(
    ("start", "package"),
    [(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "pillow-heif"), (b"\0\0\0\x0cJXL \r\n\x87\n", "pillow-jxl-plugin")],
)
def test_a_kind_without_its_reader_names_the_package(tmp_path, monkeypatch, start, package):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.setitem(KNOWN_SUFFIXES, ".jxl", "install pillow-jxl-plugin")
    with pytest.raises(UnreadablePictureError, match=f"install {package}"):
        read_picture(written(tmp_path, start + bytes(64)))


@pytest.mark.parametrize(("kind", "suffix"), [("TGA", ".tga"), ("PCX", ".pcx"), ("ICO", ".ICO"), ("TIFF", ".nef")])
def test_a_kind_that_is_not_read_says_what_to_do(tmp_path, kind, suffix):
    Image.new("RGB", (64, 64)).save(path := tmp_path / f"picture{suffix}", format=kind)
    with pytest.raises(UnreadablePictureError, match=r"save it as TIFF or PNG first|develop it to a TIFF first"):
        open_picture(path)


def test_a_jpeg_under_another_kinds_name_is_read(tmp_path):
    Image.new("RGB", (64, 64)).save(path := tmp_path / "picture.heic", format="JPEG")
    assert open_picture(path).tensor.shape == (1, 3, 64, 64)


def test_suffixes_are_those_that_can_be_read():
    assert {".png", ".jpg", ".jfif", ".tif", ".gif", ".webp"} <= set(SUFFIXES)
    assert set(SUFFIXES) <= set(KNOWN_SUFFIXES)
    assert KNOWN_SUFFIXES[".nef"]


def test_lzw_is_read_with_imagecodecs_and_8_bits_without_it(tmp_path, monkeypatch):
    pytest.importorskip("imagecodecs")
    deep = written(tmp_path, tiff(DEEP, compression="lzw", predictor=True), "deep.tif")
    flat = written(tmp_path, tiff(COLOR, compression="lzw"), "flat.tif")
    assert psnr(pixels(read_picture(deep)), unit(DEEP)) >= 90
    refuse = "<COMPRESSION.LZW: 5> requires the 'imagecodecs' package"
    monkeypatch.setattr("tifffile.TiffPage.asarray", lambda page: (_ for _ in ()).throw(ValueError(refuse)))
    assert psnr(pixels(read_picture(flat)), unit(COLOR)) >= 50
    with pytest.raises(UnreadablePictureError, match="install imagecodecs"):
        read_picture(deep)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_a_large_picture_is_refused_by_memory_and_not_by_its_number_of_pixels(tmp_path, monkeypatch, kind):
    path = written(tmp_path, pillow(COLOR, kind))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert read_picture(path).shape == (1, 3, HEIGHT, WIDTH)
    assert Image.MAX_IMAGE_PIXELS == 100
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 10_000})())
    with pytest.raises(UnreadablePictureError, match=f"{WIDTH}x{HEIGHT} are 0 megapixels.*of memory are free"):
        read_picture(path)


def test_a_panorama_is_refused_where_the_memory_does_not_suffice(monkeypatch):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 2**30})())
    with pytest.raises(UnreadablePictureError, match="20992x10496 are 220 megapixels"):
        read_picture(CASES / "pano_20992x10496.png")


def test_a_small_file_that_claims_to_be_huge_is_refused_however_large_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 2**46})())
    huge = png(COLOR).replace(WIDTH.to_bytes(4, "big") + HEIGHT.to_bytes(4, "big"), (100_000).to_bytes(4, "big") * 2, 1)
    huge = huge[:29] + zlib.crc32(huge[12:29]).to_bytes(4, "big") + huge[33:]
    with pytest.raises(
        UnreadablePictureError, match=r"100000x100000 are 10,000 megapixels, which .* bytes cannot hold"
    ):
        read_picture(written(tmp_path, huge))


def cut(data, share):
    return data[: round(len(data) * share)]


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_that_lacks_its_end_is_read_with_a_warning(tmp_path, caplog, progressive):
    data = pillow(np.tile(COLOR, (4, 4, 1)), "JPEG", quality=90, progressive=progressive)
    whole = pixels(read_picture(written(tmp_path, data, "whole")))
    for name, damaged in {"end": data[:-2], "some": cut(data, 0.99), "zeros": data[:-40] + bytes(500)}.items():
        with caplog.at_level(logging.WARNING):
            ours = pixels(read_picture(written(tmp_path, damaged, name)))
        assert "lacks its end" in caplog.text
        caplog.clear()
        rows = len(whole) * 8 // 10
        assert psnr(ours[:rows], whole[:rows]) >= 45, name


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_a_jpeg_that_was_cut_is_refused(tmp_path, share, progressive):
    data = pillow(np.tile(COLOR, (4, 4, 1)), "JPEG", quality=90, progressive=progressive)
    with pytest.raises(UnreadablePictureError):
        read_picture(written(tmp_path, cut(data, share)))


def test_the_case_of_a_jpeg_without_its_last_bytes_is_read(caplog):
    assert read_picture(CASES / "trunc_last2.jpg").shape == (1, 3, 64, 96)
    assert "100 % of it is there" in caplog.text


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "it is an empty file"),
        (b"Dear Sir,\nplease find enclosed", "it is a text file .'Dear Sir, please find enclosed'."),
        (b"<!DOCTYPE html><html>", "it is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "it is a Git LFS pointer"),
        (bytes(99), "it is a file of zeros"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n\xff", "it is of no known kind"),
    ],
)
def test_what_is_no_picture_is_refused(tmp_path, data, said):
    with pytest.raises(
        UnreadablePictureError, match=f"a.png: not a picture that can be read, or a damaged one; {said}"
    ):
        read_picture(written(tmp_path, data, "a.png"))


def test_files_that_the_system_refuses_are_errors_of_the_system(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_picture(tmp_path / "none.png")
    with pytest.raises(OSError):
        read_picture(tmp_path)
