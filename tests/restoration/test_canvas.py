import numpy as np
import pytest
import torch
import torch.nn.functional as F

from supir_core.restoration.canvas import Canvas, finish, resize, target_size
from supir_core.restoration.settings import CommonSettings

from ..simulated_gpu import simulated_gpu


def test_the_border_is_repeated_into_the_padding():
    image = torch.rand(1, 3, 50, 70)
    placed = Canvas.plan((50, 70), 64).place(image)
    inner = resize(image, (64, 90))
    assert torch.equal(placed[..., :90], inner)
    assert torch.equal(placed[..., 90:], inner[..., -1:].expand(-1, -1, -1, 38))


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
def test_the_colours_are_fixed_as_strongly_as_asked(strength):
    canvas = Canvas.plan((64, 64), 64)
    image, start = torch.rand(1, 3, 64, 64) / 2, torch.rand(1, 3, 64, 64)
    done = finish(image.clone(), start, image, canvas, CommonSettings(color_strength=strength))
    mean = image.mean() + strength * (start.mean() - image.mean())
    assert done.image.mean().item() == pytest.approx(mean.item(), abs=5e-3)
    assert torch.equal(done.stage1, start)


@pytest.mark.parametrize("scale", [0, -1, float("nan"), 17])
def test_a_scale_that_makes_no_sense_is_refused(scale):
    with pytest.raises(ValueError, match=r"scale must be within 0\.1 to 16"):
        target_size(torch.rand(1, 3, 8, 8), scale)


@pytest.mark.parametrize("size", [(0, 5), (5,), (5, 5.5), (-1, 5), 5, "55", (True, True)])
def test_a_size_that_makes_no_sense_is_refused(size):
    with pytest.raises(ValueError, match="size must be"):
        target_size(torch.rand(1, 3, 8, 8), 1.0, size)


def test_a_size_may_come_from_numpy():
    size = target_size(torch.rand(1, 3, 8, 8), 1.0, np.array([5, 6]))
    assert size == (5, 6)
    assert {type(side) for side in size} == {int}


def test_the_cpu_enlarges_where_the_device_cannot(monkeypatch):
    interpolate, image = F.interpolate, torch.rand(1, 3, 8, 8)

    def missing_on_the_gpu(image, **given):
        if image.is_cuda:
            raise NotImplementedError("bicubic with antialias is not implemented for this device")
        return interpolate(image, **given)

    expected = resize(image, (16, 16))
    monkeypatch.setattr(F, "interpolate", missing_on_the_gpu)
    with simulated_gpu():
        enlarged = resize(image.to("cuda"), (16, 16))
        assert enlarged.is_cuda
        assert torch.equal(enlarged.cpu(), expected)


@pytest.mark.parametrize(
    ("target", "inner"),
    [
        ((100, 200), (1024, 2048)),
        ((100, 1600), (1024, 16384)),  # 16 to 1: the thinnest that is enlarged in full
        ((6, 4000), (25, 16384)),
        ((4000, 6), (16384, 25)),
        ((6, 20000), (6, 20000)),
    ],
)
def test_a_thin_picture_is_enlarged_less(target, inner, caplog):
    assert Canvas.plan(target, 1024).inner == inner
    assert ("thin picture" in caplog.text) == (min(inner) < 1024)
