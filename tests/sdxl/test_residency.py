"""Networks on the device: kept while there is room, dropped without a copy back, streamed where they are too large."""

import pytest
import torch
from torch import nn

from supir_core.sdxl import streaming
from supir_core.sdxl.residency import Residency, WeightsTooLargeError, weight_bytes

from ..simulated_gpu import simulated_gpu

CUDA = torch.device("cuda")
MIB = 2**20


def network(width=256):
    return nn.Sequential(*(nn.Linear(width, width) for _ in range(4))).requires_grad_(False)  # a MiB


def residency(gpu, total=100 * MIB, mode="auto"):
    return Residency(CUDA, mode, free=lambda device: total - gpu.now)


def test_a_network_stays_and_its_weights_are_not_copied_again():
    net = network()
    before = list(net.parameters())
    with simulated_gpu() as gpu:
        here = residency(gpu)
        for _ in range(2):
            with here.at_work(net):
                assert {parameter.device.type for parameter in net.parameters()} == {"cuda"}
        assert sum(gpu.bytes_up.values()) == weight_bytes(net)
        here.drop()
        assert gpu.now == 0
        assert sum(gpu.bytes_down.values()) == 0
    assert all(ours is theirs for ours, theirs in zip(before, net.parameters(), strict=True))


def test_the_network_that_rested_longest_makes_room():
    nets = [network() for _ in range(3)]
    with simulated_gpu() as gpu:
        here = residency(gpu, total=5 * MIB // 2)
        for net in nets:
            with here.at_work(net):
                pass
        assert [next(net.parameters()).device.type for net in nets] == ["cpu", "cuda", "cuda"]
        with here.at_work(nets[1], wishes=[10 * MIB, 3 * MIB // 2]):  # the dearest wish cannot be had
            assert [next(net.parameters()).device.type for net in nets] == ["cpu", "cuda", "cpu"]


@pytest.mark.parametrize(
    ("total", "mode", "least", "room"),
    [
        (10, "auto", 1, 8),  # beside the two networks; the third one can be dropped
        (2, "auto", 1, 1),  # streamed, as nothing would be left
        (10, "stream", 1, 9),
        (2, "full", 1, 0),
    ],
)
def test_the_room_for_work_is_what_networks_leave(total, mode, least, room, monkeypatch):
    monkeypatch.setattr("supir_core.sdxl.residency.BLOCK_BYTES", MIB // 2)
    with simulated_gpu() as gpu:
        here = residency(gpu, total * MIB, mode)
        idle, *nets = (network() for _ in range(3))
        with here.at_work(idle):
            pass
        found = here.room(*nets, least=least * MIB) / MIB
    assert found == pytest.approx(room, abs=0.02)  # biases


def test_by_stage_nothing_is_left():
    net = network()
    with simulated_gpu() as gpu:
        with residency(gpu, mode="stage").at_work(net):
            assert gpu.now
        assert gpu.now == 0


@pytest.mark.parametrize("seen", [100 * MIB, 3 * MIB // 2])
def test_loading_that_runs_out_of_memory_leaves_nothing(seen):
    """Whether the free memory is overrated or not."""
    first, second = network(), network()
    with simulated_gpu(capacity=3 * MIB // 2) as gpu:
        here = Residency(CUDA, "full", free=lambda device: seen)
        with pytest.raises(WeightsTooLargeError, match="--memory stream"), here.at_work(first, second):
            pass
        here.drop()
        assert gpu.now == 0
    assert {parameter.device.type for net in (first, second) for parameter in net.parameters()} == {"cpu"}


def test_an_unknown_mode_is_refused():
    with pytest.raises(ValueError, match="auto, full, stage, stream"):
        Residency(CUDA, "some")


@pytest.mark.parametrize("mode", ["auto", "stream"])
def test_what_is_too_large_is_streamed_with_the_same_result(monkeypatch, mode):
    monkeypatch.setattr(streaming, "BLOCK_BYTES", MIB // 3)
    net, x = network(), torch.rand(2, 256)
    expected = net(x)
    with simulated_gpu() as gpu:
        here = residency(gpu, total=MIB * 7 // 8, mode=mode)
        with here.at_work(net):
            for _ in range(3):
                out = net(x.to(CUDA)).cpu()
                assert torch.equal(out, expected)
        assert gpu.peak < MIB * 7 // 8
        assert gpu.now == 0
    assert torch.equal(net(x), expected)
