import sys
from types import SimpleNamespace
from urllib.error import URLError

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from supir_core.evaluation.measures import MetricUnavailableError, check_metric, load_metric
from supir_core.evaluation.metrics import gmsd
from supir_core.sdxl.memory import MemoryFullError


@pytest.fixture(scope="module")
def pair():
    from supir_core.command.demo import demo_photograph

    clean = demo_photograph()[..., :300, 100:490]  # larger than 256, where piq shrinks before SSIM if it is let
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    return (clean + 0.05 * noise).clamp(0, 1), clean


def test_psnr_and_ssim_are_skimages(pair):
    picture, clean = (image[0].permute(1, 2, 0).double().numpy() for image in pair)
    psnr = peak_signal_noise_ratio(clean, picture, data_range=1)
    gauss = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    ssim = structural_similarity(clean, picture, channel_axis=2, data_range=1, **gauss)
    assert load_metric("psnr")(*pair) == pytest.approx(psnr, abs=1e-3)
    assert load_metric("ssim")(*pair) == pytest.approx(ssim, abs=2e-5)  # piq computes in float32


def test_gmsd_is_the_one_that_the_demo_tells(pair):
    assert load_metric("gmsd")(*pair) == pytest.approx(gmsd(*pair), abs=2e-4)  # the constants differ by half a percent


def test_metrics_know_which_way_is_better():
    assert [load_metric(name).smaller_is_better for name in ("psnr", "ssim", "gmsd")] == [False, False, True]


@pytest.mark.parametrize("name", ["lpips", "dists", "clipiqa"])
def test_a_metric_without_its_weights_says_so(name, monkeypatch, tmp_path):
    def refuse(*_, **__):
        raise URLError("no connection")

    monkeypatch.setattr("torch.hub.load_state_dict_from_url", refuse)
    monkeypatch.setattr("piq.feature_extractors.clip.urlopen", refuse)
    monkeypatch.setenv("HOME", str(tmp_path))  # no cache
    with pytest.raises(MetricUnavailableError, match=r"could not be loaded.*no connection"):
        load_metric(name)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError()])
def test_a_full_memory_is_no_fault_of_the_picture_or_the_metric(pair, monkeypatch, error):
    def full(*_, **__):
        raise error

    monkeypatch.setattr("piq.psnr", full)
    with pytest.raises(
        MemoryFullError, match=r"while a metric is taken\. Take it of smaller pictures, on the CPU, or close"
    ):
        load_metric("psnr")(*pair)
    monkeypatch.setattr("piq.LPIPS", type("LPIPS", (), {"__init__": full}))
    with pytest.raises(MemoryFullError, match="while weights are read"):
        load_metric("lpips")


@pytest.mark.parametrize(("name", "package"), [("psnr", "piq"), ("niqe", "pyiqa"), ("pyiqa:lpips", "pyiqa")])
def test_a_missing_package_names_its_extra(name, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MetricUnavailableError, match=f"needs {package}, of the extra .*: pip install {package}"):
        load_metric(name)


def test_pyiqas_metrics_are_asked_for_by_its_own_names(pair, monkeypatch):
    """With a stand-in of the same interface, as the package is large."""
    asked = []

    def create_metric(name, device):
        asked.append((name, device.type))
        metric = lambda *pictures: torch.tensor([float(len(pictures))])  # noqa: E731
        metric.lower_better, metric.metric_mode = name == "lpips", "FR" if name == "lpips" else "NR"
        return metric

    monkeypatch.setitem(sys.modules, "pyiqa", SimpleNamespace(create_metric=create_metric))
    distance, quality = load_metric("pyiqa:lpips"), load_metric("maniqa")
    assert asked == [("lpips", "cpu"), ("maniqa", "cpu")]
    assert (distance.smaller_is_better, distance.needs_reference, distance(*pair)) == (True, True, 2)
    assert (quality.smaller_is_better, quality.needs_reference, quality(pair[0], None)) == (False, False, 1)


def test_the_real_pyiqa_agrees_where_it_needs_no_weights_and_says_so_where_it_does(pair, monkeypatch, tmp_path):
    pytest.importorskip("pyiqa")

    def refuse(*_, **__):
        raise URLError("no connection")

    for name, theirs in (("psnr", "pyiqa:psnr"), ("ssim", "pyiqa:ssimc"), ("gmsd", "pyiqa:gmsd")):
        metric = load_metric(theirs)
        assert metric(*pair) == pytest.approx(load_metric(name)(*pair), rel=1e-3)
        assert metric[1:3] == load_metric(name)[1:3]
    monkeypatch.setattr("torch.hub.urlopen", refuse)
    monkeypatch.setattr("pyiqa.utils.download_util.DEFAULT_CACHE_DIR", str(tmp_path))  # no cache
    with pytest.raises(MetricUnavailableError, match=r"could not be loaded.*no connection"):
        load_metric("niqe")


def test_an_unknown_metric_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match=r'psnr, ssim, .* got "psrn"'):
        check_metric("psrn")


def test_numbers_are_plain(pair):
    assert isinstance(load_metric("ssim")(*pair), float) and np.isfinite(load_metric("psnr")(pair[1], pair[1]))
