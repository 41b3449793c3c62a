"""Results in every format: what was put in is read back, with label, colour space and what the camera wrote."""

import json
import os

import numpy as np
import pytest
import tifffile
import torch
from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo

from supir_core.files.decoding.icc import profile_space
from supir_core.files.metadata import SOURCE_TYPE, Label, read_label
from supir_core.files.pictures import (
    FORMATS,
    UnreadablePictureError,
    open_picture,
    read_picture,
    save_picture,
    write_picture,
)
from supir_core.files.writing import check_side

from .kinds import ALPHA, DEEP, unit

PICTURE = torch.from_numpy(unit(DEEP)).float().permute(2, 0, 1)
SEEN_THROUGH = torch.cat([PICTURE, torch.from_numpy(ALPHA / 255).float()[None]])
LABEL = Label(
    "InstantIR",
    {"seed": 7, "positive": 'sharp, "fine" <detail> & more', "negative": "blur\nnoise", "steps": 30},
    "ein Boot im Wasser, 船 ]]>",
    {"scale": 2.0},
    {"model.safetensors": "ab" * 32},
    "cd" * 32,
)


def exif_block():
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Kamera"
    exif[ExifTags.Base.Orientation] = 6
    exif[ExifTags.Base.ImageWidth] = 12
    exif[ExifTags.IFD.Exif] = {0x9003: "2021:02:03 04:05:06", 0x829A: 0.02, 0xA002: 12}
    exif[ExifTags.IFD.GPSInfo] = {1: "N", 2: (50.0, 30.0, 10.0)}
    return exif.tobytes()


@pytest.fixture(scope="module")
def exif(tmp_path_factory):
    path = tmp_path_factory.mktemp("camera") / "photo.jpg"
    Image.new("RGB", (12, 8)).save(path, exif=exif_block())
    return open_picture(path).exif


@pytest.mark.parametrize("picture", [PICTURE, SEEN_THROUGH], ids=["opaque", "alpha"])
@pytest.mark.parametrize(
    ("suffix", "bits", "most"), [(".png", 8, 0.002), (".png", 16, 1e-5), (".tif", 8, 0.002), (".TIFF", 16, 1e-5)]
)
def test_what_is_written_without_loss_is_read_back(tmp_path, picture, suffix, bits, most):
    write_picture(tmp_path / f"a{suffix}", picture, bits=bits)
    back = open_picture(tmp_path / f"a{suffix}")
    assert back.bits == bits
    assert (back.tensor[0] - picture).abs().max() <= most


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
def test_jpeg_and_webp_are_as_good_as_asked(tmp_path, suffix):
    sizes, errors = [], []
    for quality in (30, None, 100):
        write_picture(tmp_path / f"a{suffix}", PICTURE, quality=quality)
        sizes.append((tmp_path / f"a{suffix}").stat().st_size)
        errors.append((read_picture(tmp_path / f"a{suffix}")[0] - PICTURE).square().mean().item())
    assert sizes == sorted(sizes)
    assert errors == sorted(errors, reverse=True)
    assert errors[1] < 1.2e-4


def test_a_jpeg_keeps_the_resolution_of_its_colours_and_is_laid_on_white(tmp_path, caplog):
    write_picture(tmp_path / "a.jpg", SEEN_THROUGH)
    with Image.open(tmp_path / "a.jpg") as image:
        assert {layer[1:3] for layer in image.layer} == {(1, 1)}
    white = PICTURE * SEEN_THROUGH[3:] + 1 - SEEN_THROUGH[3:]
    assert (read_picture(tmp_path / "a.jpg")[0] - white).square().mean() < 1e-3
    assert "laid on white" in caplog.text


@pytest.mark.parametrize("suffix", FORMATS.values())
def test_every_format_carries_label_source_type_and_colour_space(tmp_path, suffix, exif):
    path = tmp_path / f"a{suffix}"
    write_picture(path, PICTURE, LABEL, exif=exif)
    label = read_label(path)
    assert SOURCE_TYPE in label.pop("XML:com.adobe.xmp")
    assert label == LABEL.text()
    assert label["supir.input"] == "cd" * 32
    assert json.loads(label["supir.settings"]) == {"scale": 2.0, "steps": 30, "seed": 7}
    assert b"DigitalSourceType" in path.read_bytes()  # not compressed, so that any tool can find it
    with Image.open(path) as image:
        profile = image.info.get("icc_profile")
        assert "srgb" in image.info if suffix == ".png" else profile_space(profile).is_srgb()


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("suffix", FORMATS.values())
def test_what_the_camera_wrote_is_kept_upright(tmp_path, suffix, bits, exif):
    path = tmp_path / f"a{suffix}"
    write_picture(path, PICTURE, bits=bits, exif=exif)
    with Image.open(path) as image:
        kept = image.getexif()
        assert kept[ExifTags.Base.Make] == "Kamera"
        assert kept.get(ExifTags.Base.Orientation, 1) == 1
        assert kept.get(ExifTags.Base.ImageWidth) != 12
        assert kept.get_ifd(ExifTags.IFD.Exif) == {0x9003: "2021:02:03 04:05:06", 0x829A: 0.02}
        assert kept.get_ifd(ExifTags.IFD.GPSInfo) == {1: "N", 2: (50.0, 30.0, 10.0)}
    assert read_picture(path).shape[2:] == PICTURE.shape[1:]
    assert open_picture(path).exif == exif


def test_the_camera_of_a_tiff_is_kept_too(tmp_path, exif):
    write_picture(tmp_path / "a.tif", PICTURE, exif=exif, bits=16)
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        assert tiff.pages.first.tags["ExifTag"].value["DateTimeOriginal"] == "2021:02:03 04:05:06"
        assert (tiff.asarray() == DEEP).all()


@pytest.mark.parametrize("suffix", FORMATS.values())
def test_without_label_and_exif_nothing_is_said(tmp_path, suffix):
    write_picture(tmp_path / f"a{suffix}", PICTURE)
    assert read_label(tmp_path / f"a{suffix}") is None
    assert open_picture(tmp_path / f"a{suffix}").exif is None


@pytest.mark.parametrize("suffix", FORMATS.values())
def test_the_label_of_a_file_that_is_not_whole_is_not_read(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    write_picture(path, PICTURE, LABEL)
    whole = path.read_bytes()
    for size in (0, 10, len(whole) // 2, len(whole) - 40):
        path.write_bytes(whole[:size])
        with pytest.raises(UnreadablePictureError):
            read_label(path)


@pytest.mark.parametrize("suffix", [".tif", ".jpg", ".webp"])
def test_a_label_that_is_damaged_is_not_read(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    write_picture(path, PICTURE, LABEL)
    path.write_bytes(path.read_bytes().replace(b'label="{', b'label="['))
    with pytest.raises(UnreadablePictureError, match="JSONDecodeError"):
        read_label(path)


def test_the_texts_of_other_programs_are_no_label(tmp_path):
    info = PngInfo()
    info.add_text("Software", "another")
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png", pnginfo=info)
    assert read_label(tmp_path / "a.png") is None


def test_a_long_workflow_in_a_png_is_read(tmp_path):
    text = {"Description": "x", "Software": "supir", "workflow": "w" * 3_000_000}
    write_picture(tmp_path / "a.png", PICTURE, text)
    assert read_label(tmp_path / "a.png")["workflow"] == text["workflow"]
    assert read_picture(tmp_path / "a.png").shape[1] == 3


@pytest.mark.parametrize("suffix", FORMATS.values())
def test_a_name_as_long_as_a_name_can_be_is_written(tmp_path, suffix):
    path = tmp_path / ("n" * (255 - len(suffix)) + suffix)
    write_picture(path, PICTURE, LABEL)
    assert read_label(path)
    assert os.listdir(tmp_path) == [path.name]


def test_equal_pictures_make_equal_files(tmp_path):
    for suffix in FORMATS.values():
        for name in "ab":
            write_picture(tmp_path / f"{name}{suffix}", PICTURE, LABEL)
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


@pytest.mark.parametrize("wrong", [torch.nan, torch.inf])
def test_what_is_not_finite_is_not_written(tmp_path, wrong):
    picture = PICTURE.clone()
    picture[1, 2, 3] = wrong
    with pytest.raises(ValueError, match="bfloat16 or float32"):
        write_picture(tmp_path / "a.png", picture)
    assert not os.listdir(tmp_path)


def test_a_result_that_its_format_cannot_hold_is_refused(tmp_path):
    check_side(tmp_path / "a.webp", 16383, 5)
    check_side(tmp_path / "a.png", 10**6, 5)
    with pytest.raises(ValueError, match="at most 16383 a side; write PNG or TIFF"):
        check_side(tmp_path / "a.webp", 16384, 5)
    with pytest.raises(ValueError, match="at most 65500"):
        check_side(tmp_path / "a.jpg", 5, 70000)


def test_a_picture_that_cannot_be_written_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    for suffix in FORMATS.values():
        with pytest.raises(OSError, match="No space left"):
            write_picture(tmp_path / f"a{suffix}", PICTURE)
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("shape", [(3, 1, 1), (4, 1, 7), (3, 200, 3)])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_any_size_is_written(tmp_path, shape, suffix):
    picture = torch.rand(shape)
    for bits in (8, 16):
        save_picture(tmp_path / f"a{suffix}", picture[None], bits=bits)
        assert (read_picture(tmp_path / f"a{suffix}")[0] - picture).abs().max() < 0.6 / (2**bits - 1)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("block", [b"Exif\0\0", b"Exif\0\0no tags at all", b"x"])
def test_damaged_camera_data_is_left_out(tmp_path, kind, block):
    Image.new("RGB", (12, 8)).save(tmp_path / "a", kind, exif=block)
    picture = open_picture(tmp_path / "a")
    assert picture.tensor.shape == (1, 3, 8, 12)
    assert picture.exif is None


def test_a_strange_camera_block_does_not_stop_a_picture(tmp_path):
    for number, end in enumerate(range(8, 200, 13)):
        path = tmp_path / f"{number}.jpg"
        block = exif_block()[:end] + bytes(np.random.default_rng(number).integers(0, 256, 60, dtype=np.uint8))
        Image.new("RGB", (12, 8)).save(path, exif=block)
        kept = open_picture(path).exif
        for suffix in FORMATS.values():
            write_picture(tmp_path / f"result{suffix}", PICTURE, exif=kept)
