import numpy as np
import pytest
import torch

from supir_core.evaluation.degradation import (
    SETTINGS,
    blur,
    degrade,
    degrade_at_random,
    gaussian_kernel,
    jpeg,
)


@pytest.fixture(scope="module")
def photograph():
    from supir_core.command.demo import demo_photograph

    return demo_photograph()[..., :128, 128:256]


@pytest.mark.parametrize("name", SETTINGS)
def test_each_setting_shrinks_and_keeps_the_range(name, photograph):
    setting = SETTINGS[name]
    damaged = degrade(photograph, setting)
    assert damaged.shape == (1, 3, 128 // setting.factor, 128 // setting.factor)
    assert damaged.min() >= 0
    assert damaged.max() <= 1


def test_the_seed_decides_the_noise(photograph):
    first, again, other = (degrade(photograph, SETTINGS["sr4_noise"], seed) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    clean = degrade(photograph, SETTINGS["sr4"])
    # a little under 40 of 255, as what leaves the range is cut
    assert 0.09 < (first - clean).std() < 0.157
    assert not torch.equal(first, other)


def test_blur_keeps_the_mean_and_flattens(photograph):
    kernel = gaussian_kernel(2.0, 2.0, 0.0)
    assert kernel.sum().item() == pytest.approx(1, abs=1e-5)
    assert torch.allclose(kernel, kernel.T)
    smooth = blur(photograph, kernel)
    assert smooth.mean().item() == pytest.approx(photograph.mean().item(), abs=5e-3)
    assert smooth.diff(dim=3).abs().mean() < 0.5 * photograph.diff(dim=3).abs().mean()
    assert torch.allclose(blur(torch.full((1, 3, 9, 9), 0.4), kernel), torch.full((1, 3, 9, 9), 0.4))


def test_a_tilted_kernel_blurs_along_its_axis():
    flat = gaussian_kernel(3.0, 0.5, 0.0)
    assert flat.sum(0).std() < flat.sum(1).std()
    assert torch.allclose(gaussian_kernel(3.0, 0.5, np.pi / 2), flat.T, atol=1e-6)


def test_less_jpeg_quality_is_further_off(photograph):
    errors = [(jpeg(photograph, quality) - photograph).abs().mean().item() for quality in (95, 60, 20)]
    assert errors == sorted(errors)


def test_random_damage_is_decided_by_its_generator(photograph):
    first, again, other = (degrade_at_random(photograph, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first.shape == (1, 3, 32, 32)
    assert torch.equal(first, again)
    assert not torch.allclose(first, other, atol=0.02)
    for seed in range(20):
        damaged = degrade_at_random(photograph, np.random.default_rng(seed))
        assert 0 <= damaged.min() <= damaged.max() <= 1
