"""``supir doctor``: what the machine is, the plan, and a self-check that can fail."""

import pytest
import torch

from supir_core.command import cli, doctor
from supir_core.sdxl.memory import GIB

from ..simulated_gpu import simulated_gpu


def test_a_sound_machine_passes(capsys):
    assert cli.main(["doctor", "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    assert "PyTorch" in said and "4096x4096 pixels" in said
    assert said.count("passed") == 3


def test_a_machine_that_computes_wrong_numbers_fails(capsys, monkeypatch):
    right = doctor.computed
    monkeypatch.setattr(doctor, "computed", lambda *given: ((name, value * 1.1) for name, value in right(*given)))
    assert cli.main(["doctor", "--device", "cpu"]) == 1
    assert capsys.readouterr().out.count("FAILED") == 3


def test_it_checks_the_gpu_in_its_own_precision(capsys):
    with simulated_gpu():
        assert cli.main(["doctor"]) == 0
    assert "computes in float16, VAE in bfloat16" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("gib", "side", "plan"),
    [
        (24, 2048, "all networks stay on cuda; the VAE in one piece"),
        (12, 2048, "networks make room for each other; the VAE in one piece"),
        (7, 1024, "UNet and adaptor are streamed block by block; the VAE in one piece"),
        (7, 4096, "UNet and adaptor are streamed block by block; the VAE in bands, its feature maps in main memory"),
        (23, 4096, "the VAE in bands, its feature maps on cuda"),
    ],
)
def test_the_plan_is_what_is_done(gib, side, plan):
    def free(device):
        return (gib if device.type == "cuda" else 32) * GIB

    with simulated_gpu():
        assert plan in doctor.plan(side, torch.device("cuda"), torch.float16, free)
