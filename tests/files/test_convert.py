"""Pictures of every kind in, the same kind out."""

import numpy as np
import pytest
import torch
from PIL import Image

from supir_core import read_picture, save_picture
from supir_core.files.convert import as_tensor

from .profiles import SRGB, gamma, rgb_profile

PIXELS = torch.tensor([[[[0.0, 0.2], [0.4, 1.0]]] * 3]).reshape(1, 3, 2, 2)


def kinds():
    array = PIXELS[0].permute(1, 2, 0).numpy()
    return {
        "floats": PIXELS,
        "halves": PIXELS.half(),
        "bytes": (PIXELS * 255).to(torch.uint8),
        "array of floats": array,
        "array of bytes": (array * 255).astype(np.uint8),
        "batch of arrays": array[None].repeat(2, axis=0),
        "Pillow": Image.fromarray((array * 255).astype(np.uint8)),
    }


@pytest.mark.parametrize("kind", kinds())
def test_the_same_kind_comes_back(kind):
    given = kinds()[kind]
    tensor, back = as_tensor(given)
    assert (tensor[:1] - PIXELS).abs().max() < 1e-3
    returned = back(tensor)
    assert type(returned) is type(given) or isinstance(returned, Image.Image)
    if kind == "Pillow":
        assert returned.tobytes() == given.tobytes()
    else:
        assert returned.dtype == given.dtype
        assert returned.shape == given.shape
        assert bool((returned == given).all())


GREYS = np.array([[0, 51], [102, 255]], np.uint8)


@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray(GREYS),
        Image.fromarray(GREYS.astype(np.uint16) * 257),
        Image.fromarray(GREYS.astype(np.int32)),
        Image.fromarray(GREYS.astype(np.int32) * 257),
        Image.fromarray(GREYS.astype(np.float32)),
        Image.fromarray((GREYS / 255).astype(np.float32)),
        Image.fromarray(GREYS).convert("CMYK"),
    ],
)
def test_a_grey_pillow_image_of_any_mode_is_the_same_picture(image):
    assert (as_tensor(image)[0] - PIXELS).abs().max() < 1e-6


def test_other_bytes_and_few_bits_are_taken():
    assert torch.equal(as_tensor(PIXELS[0].permute(1, 2, 0).numpy().astype(">f4"))[0], PIXELS)
    assert (as_tensor(PIXELS.to(torch.float8_e5m2))[0] - PIXELS).abs().max() < 0.1


def test_the_colours_of_a_pillow_image_are_those_of_its_file(tmp_path):
    image = Image.fromarray(GREYS).convert("RGB")
    image.save(tmp_path / "a.png", icc_profile=rgb_profile(SRGB, gamma(1.0)))
    with Image.open(tmp_path / "a.png") as again:
        assert torch.equal(as_tensor(again)[0], read_picture(tmp_path / "a.png"))
    assert (read_picture(tmp_path / "a.png") - PIXELS).abs().max() > 0.1


def test_a_larger_result_comes_back_in_the_same_kind():
    _, back = as_tensor(kinds()["array of bytes"])
    assert back(torch.rand(1, 4, 8, 6)).shape == (8, 6, 4)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (PIXELS * 255, r"values in \[0, 1\], got 0 to 255"),
        (PIXELS * 2 - 1, r"values in \[0, 1\], got -1 to 1"),
        (PIXELS * float("nan"), r"values in \[0, 1\], got nan"),
        ((PIXELS * 255).int(), "uint8 or floats"),
        (PIXELS[0], r"expected pictures of shape \(B, 3 or 4, H, W\)"),
        ("photo.jpg", "read a file with read_picture"),
        (np.array(3.0), r"expected an array of shape .* got \(\) of float64"),
        (np.zeros((4, 4)), r"got \(4, 4\) of float64"),
        (np.zeros((4, 4, 3), object), "of uint8 or floats in .* of object"),
        (np.zeros((4, 4, 3), np.longdouble), "of uint8 or floats in .* of float128"),
        (Image.new("RGB", (0, 4)), "a Pillow image of 0x4 pixels"),
    ],
)
def test_what_is_no_picture_is_refused(given, said):
    with pytest.raises(ValueError, match=said):
        as_tensor(given)


def test_a_saved_picture_is_read_back(tmp_path):
    save_picture(str(tmp_path / "a.png"), PIXELS)
    assert (read_picture(str(tmp_path / "a.png")) - PIXELS).abs().max() < 1 / 255


@pytest.mark.parametrize(
    ("name", "picture", "said"),
    [("a.gif", PIXELS, "name a file of .png"), ("a.png", PIXELS.repeat(2, 1, 1, 1), "one by one")],
)
def test_what_one_file_cannot_hold_is_refused(tmp_path, name, picture, said):
    with pytest.raises(ValueError, match=said):
        save_picture(tmp_path / name, picture)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("bits", [12, 32, "16"])
def test_bits_are_8_or_16(tmp_path, bits):
    with pytest.raises(ValueError, match=f"expected bits=8 or bits=16, got {bits!r}"):
        save_picture(tmp_path / "a.png", PIXELS, bits)
    assert not list(tmp_path.iterdir())
