"""SUPIR Metrics: the numbers of the library, in the canvas."""

import sys

import pytest
import torch

from supir_core.evaluation.measures import load_metric


@pytest.fixture(scope="module")
def pictures():
    generator = torch.Generator().manual_seed(0)
    clean = torch.rand(2, 48, 64, 3, generator=generator)
    return (clean + 0.1 * torch.randn(clean.shape, generator=generator)).clamp(0, 1), clean


def test_the_numbers_are_the_librarys_means(run, pictures):
    text, first = run("SupirMetrics", image=pictures[0], reference=pictures[1], metrics="ssim, psnr")
    pairs = [[image[row : row + 1].movedim(-1, 1) for image in pictures] for row in (0, 1)]
    ssim, psnr = (sum(load_metric(name)(*pair) for pair in pairs) / 2 for name in ("ssim", "psnr"))
    assert text == f"ssim: {ssim:.4f}\npsnr: {psnr:.4f}"
    assert first == pytest.approx(ssim)


def test_a_result_is_taken_to_the_size_of_its_reference(run, pictures):
    large = pictures[1].repeat_interleave(2, 1).repeat_interleave(2, 2)
    _, first = run("SupirMetrics", image=large, reference=pictures[1], metrics="psnr")
    _, same = run("SupirMetrics", image=pictures[1], reference=pictures[1], metrics="psnr")
    assert first > 20 and same == pytest.approx(80)  # piq ends there
    with pytest.raises(ValueError, match="another shape"):
        run("SupirMetrics", image=large[:, :60], reference=pictures[1], metrics="psnr")


@pytest.mark.parametrize(
    ("metrics", "message"), [("", "metrics is empty"), ("psrn", "expected psnr"), ("musiq", "musiq: it needs pyiqa")]
)
def test_what_cannot_be_measured_is_said(run, pictures, metrics, message, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyiqa", None)
    with pytest.raises((ValueError, RuntimeError), match=message):
        run("SupirMetrics", image=pictures[0], reference=pictures[1], metrics=metrics)


def test_a_picture_too_small_for_a_metric_is_said(run, pictures):
    small = pictures[0][:, :8, :8]
    with pytest.raises(ValueError, match="ssim cannot be taken of a picture of 8x8 pixels"):
        run("SupirMetrics", image=small, reference=small, metrics="ssim")


def test_references_are_one_or_as_many(run, pictures):
    _, one = run("SupirMetrics", image=pictures[0][:1], reference=pictures[1][:1], metrics="psnr")
    _, shared = run("SupirMetrics", image=pictures[0][:1].repeat(3, 1, 1, 1), reference=pictures[1][:1], metrics="psnr")
    assert one == pytest.approx(shared)
    with pytest.raises(ValueError, match="got 2 references for 3 pictures"):
        run("SupirMetrics", image=pictures[0][:1].repeat(3, 1, 1, 1), reference=pictures[1], metrics="psnr")
