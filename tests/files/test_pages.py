"""Pages and frames: the picture among thumbnails, and a question where there are several."""

import io

import numpy as np
import pytest
import tifffile
from PIL import Image

from supir_core.files.pictures import UnreadablePictureError, read_picture

from .kinds import COLOR, unit
from .test_pictures import CASES, pixels, psnr, written

SMALL = COLOR[::4, ::4]
OTHER = 255 - COLOR


def pages(*given):
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as tiff:
        for pixel, kind in given:
            photometric = "mask" if kind == 4 else "rgb"
            tiff.write(pixel, photometric=photometric, metadata=None, subfiletype=kind)
    return file.getvalue()


def frames(kind):
    file = io.BytesIO()
    first, second = Image.fromarray(COLOR), Image.fromarray(OTHER)
    first.save(file, kind, save_all=True, append_images=[second], **({"lossless": True} if kind == "WEBP" else {}))
    return file.getvalue()


def test_the_case_with_a_thumbnail_first_is_read_whole():
    assert read_picture(CASES / "thumbfirst.tif").shape == (1, 3, 64, 96)


@pytest.mark.parametrize(
    "given",
    [
        [(SMALL, 0), (COLOR, 0)],
        [(COLOR, 0), (SMALL, 0)],
        [(COLOR[::2, ::2], 0), (COLOR, 0)],
        [(COLOR[::2, ::2], 1), (COLOR, 0)],
        [(COLOR, 0), (COLOR[..., 0] > 100, 4)],
        [(COLOR, 0), (COLOR[::2, ::2], 1), (SMALL, 1)],
    ],
)
def test_the_largest_page_is_the_picture_where_the_others_belong_to_it(tmp_path, given):
    assert psnr(pixels(read_picture(written(tmp_path, pages(*given)))), unit(COLOR)) >= 50


def test_a_picture_below_its_thumbnail_is_found(tmp_path):
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as tiff:
        tiff.write(SMALL, photometric="rgb", metadata=None, subfiletype=1, subifds=1)
        tiff.write(COLOR, photometric="rgb", metadata=None, subfiletype=0)
    assert psnr(pixels(read_picture(written(tmp_path, file.getvalue()))), unit(COLOR)) >= 50


@pytest.mark.parametrize("kind", ["TIFF", "GIF", "WEBP", "PNG"])
def test_of_several_pages_or_frames_one_is_asked_for(tmp_path, kind):
    data = pages((COLOR, 0), (OTHER, 0)) if kind == "TIFF" else frames(kind)
    path = written(tmp_path, data)
    with pytest.raises(
        UnreadablePictureError, match=r"it has 2 (pages|frames); save one .*, or choose it: supir restore --page N"
    ):
        read_picture(path)
    with pytest.raises(UnreadablePictureError, match="there is no page 3"):
        read_picture(path, page=3)
    least = 25 if kind == "GIF" else 50
    assert psnr(pixels(read_picture(path, page=1))[..., :3], unit(COLOR)) >= least
    assert psnr(pixels(read_picture(path, page=2))[..., :3], unit(OTHER)) >= least


def test_a_photograph_with_its_depth_in_one_file_is_read_without_asking(tmp_path):
    file = io.BytesIO()
    Image.fromarray(COLOR).save(
        file, "MPO", save_all=True, append_images=[Image.fromarray(np.ascontiguousarray(SMALL))]
    )
    assert read_picture(written(tmp_path, file.getvalue())).shape[2:] == COLOR.shape[:2]
