"""What is transparent does not change the colours beside it."""

from pathlib import Path

import pytest
import torch

from supir_core.files.pictures import read_picture
from supir_core.restoration.canvas import Canvas, finish
from supir_core.restoration.settings import CommonSettings
from supir_core.restoration.transparency import opaque

DISC = Path(__file__).parents[1] / "data" / "pictures" / "disc.png"
COLOR = torch.tensor([220.0, 40.0, 40.0])[:, None, None] / 255


@pytest.mark.parametrize("factor", [0.5, 1, 1.5, 4])
@pytest.mark.parametrize("color_fix", ["wavelet", "adain", "none"])
def test_the_rim_of_a_disc_keeps_its_colour(factor, color_fix):
    picture = read_picture(DISC)
    side = round(64 * factor)
    canvas = Canvas.plan((side, side), 128)
    placed = canvas.place(picture)
    done = finish(placed.clone(), placed, picture, canvas, CommonSettings(color_fix=color_fix))
    seen = done.image[0, 3] > 0
    assert seen.any()
    assert not seen.all()
    for image in done:
        assert ((image[0, :3] - COLOR).abs() * seen).max() <= 2 / 255


def test_what_is_seen_stays_as_it_is():
    picture = torch.rand(2, 4, 33, 50)
    picture[:, 3] = (picture[:, 3] > 0.5) * 0.7
    assert torch.equal(
        torch.where(picture[:, 3:] > 0, opaque(picture), 0), torch.where(picture[:, 3:] > 0, picture[:, :3], 0)
    )


def test_a_picture_without_transparency_is_not_touched():
    picture = torch.rand(1, 4, 9, 9)
    picture[:, 3] = 1
    assert torch.equal(opaque(picture), picture[:, :3])
    assert torch.equal(opaque(picture[:, :3]), picture[:, :3])


def test_hidden_colours_have_no_influence():
    picture = torch.rand(1, 4, 40, 30)
    picture[:, 3, :, :15] = 0
    other = picture.clone()
    other[:, :3, :, :15] = torch.rand(1, 3, 40, 15)
    assert torch.equal(opaque(picture), opaque(other))


def test_a_fully_transparent_picture_of_any_size_stays_finite():
    for size in ((1, 1), (1, 7), (5, 3)):
        picture = torch.rand(2, 4, *size)
        picture[:, 3] = 0
        filled = opaque(picture)
        assert filled.shape == (2, 3, *size)
        assert filled.isfinite().all()
