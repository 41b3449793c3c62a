import pytest
import torch

from supir_core.restoration.colorfix import fix_color


@pytest.mark.parametrize("mode", ["wavelet", "adain", "none"])
def test_a_picture_by_itself_is_itself(mode):
    image = torch.rand(1, 3, 40, 33)
    assert torch.allclose(fix_color(image, image, mode), image, atol=1e-5)


def test_wavelet_takes_the_tint_and_keeps_the_detail():
    image = torch.rand(1, 3, 64, 64)
    tint = torch.tensor([0.2, 0.0, -0.1])[:, None, None]
    assert torch.allclose(fix_color(image, image + tint), image + tint, atol=1e-5)


def test_adain_takes_mean_and_deviation():
    image, reference = torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 64) * 0.3 + 0.5
    fixed = fix_color(image, reference, "adain")
    assert torch.allclose(fixed.mean((2, 3)), reference.mean((2, 3)), atol=1e-4)
    assert torch.allclose(fixed.std((2, 3)), reference.std((2, 3)), rtol=1e-2)


@pytest.mark.parametrize("mode", ["wavelet", "adain"])
def test_strength_goes_from_nothing_to_all(mode):
    image, reference = torch.rand(1, 3, 20, 20), torch.rand(1, 3, 20, 20)
    assert torch.equal(fix_color(image, reference, mode, 0.0), image)
    half = fix_color(image, reference, mode, 0.5)
    assert torch.allclose(half, (image + fix_color(image, reference, mode)) / 2, atol=1e-6)


def test_alpha_is_kept():
    image, reference = torch.rand(1, 4, 20, 20), torch.rand(1, 3, 20, 20)
    assert torch.equal(fix_color(image, reference)[:, 3], image[:, 3])


def test_mistakes_are_named():
    image = torch.rand(1, 3, 20, 20)
    with pytest.raises(ValueError, match='"wavelet", "adain" or "none", got "lab"'):
        fix_color(image, image, "lab")
    with pytest.raises(ValueError, match="reference is 10x20"):
        fix_color(image, image[..., :10])
    with pytest.raises(ValueError, match="got 3 references for 2 pictures"):
        fix_color(image.expand(2, -1, -1, -1), image.expand(3, -1, -1, -1))


@pytest.mark.parametrize("mode", ["wavelet", "adain"])
@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_flat_pictures_of_any_size_take_the_colour(mode, value):
    for size in ((1, 1), (1, 9), (20, 20)):
        image, reference = torch.full((2, 3, *size), value), torch.full((1, 3, *size), 0.25)
        assert torch.allclose(fix_color(image, reference, mode), reference, atol=1e-6)


def test_a_reference_may_be_of_another_precision():
    image, reference = torch.rand(1, 3, 20, 20).half(), torch.rand(1, 3, 20, 20)
    assert torch.equal(fix_color(image, reference), fix_color(image, reference.half()))
