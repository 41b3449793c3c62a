import math

import pytest
import torch

from supir_core.command.demo import demo_photograph
from supir_core.evaluation.degradation import blur, gaussian_kernel
from supir_core.evaluation.metrics import gmsd, gradient_deviation, psnr, seam_ratio


@pytest.fixture(scope="module")
def photograph():
    return demo_photograph()[..., :256, 128:384]


def test_psnr_of_a_known_error():
    picture = torch.full((1, 3, 8, 8), 0.5)
    assert psnr(picture + 0.1, picture) == pytest.approx(20, abs=1e-4)
    assert psnr(picture, picture) == math.inf


def test_gmsd_grows_with_the_damage(photograph):
    assert gmsd(photograph, photograph) == pytest.approx(0, abs=1e-6)
    blurred = [gmsd(blur(photograph, gaussian_kernel(s, s, 0.0)), photograph) for s in (0.7, 1.5, 3.0)]
    assert blurred == sorted(blurred)
    assert 0.01 < blurred[0] < blurred[2] < 0.4


def test_gmsd_cares_for_structure_and_not_for_a_shade(photograph):
    shade = photograph * 0.96 + 0.02
    soft = blur(photograph, gaussian_kernel(1.5, 1.5, 0.0))
    assert gmsd(shade, photograph) < 0.2 * gmsd(soft, photograph)


def test_gmsd_can_be_learned_by(photograph):
    flat = torch.full_like(photograph, 0.5)
    pictures = torch.cat([photograph, flat, photograph * 0.9]).requires_grad_()
    references = torch.cat([photograph, flat, photograph])
    distances = gradient_deviation(pictures, references)
    distances.sum().backward()
    assert distances.tolist() == pytest.approx([0, 0, gmsd(photograph * 0.9, photograph)], abs=2e-7)
    assert pictures.grad.isfinite().all() and pictures.grad[2].any()


def test_a_seam_shows(photograph):
    assert 0.5 < seam_ratio(photograph, [64, 128, 192], [64, 128, 192]) < 2
    stepped = torch.randn(1, 3, 64, 64) * 0.01
    assert seam_ratio(stepped, [32], [32]) == pytest.approx(1, abs=0.5)
    stepped[..., 32:] += 0.5
    assert seam_ratio(stepped, [32], [32]) > 100
