"""Steps that stop and go on, that are shared by processes, and checkpoints that cannot be written."""

import json
import os
import pickle
import resource
import socket
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from supir_core.command import cli
from supir_core.training.config import TrainingConfig, as_toml
from supir_core.training.loop import Averaged, Loop
from supir_core.training.run import train

ROOT = Path(__file__).parents[2]


def silent(line):
    """Nobody is told."""


def stopping_at(step):
    """Is told of a run, and stops it after a step."""

    def report(line):
        if line.startswith(f"step {step} of"):
            raise KeyboardInterrupt

    return report


def test_a_run_that_stopped_goes_on_to_the_same_weights_bit_for_bit(config, tmp_path):
    whole = config("adaptor", output=str(tmp_path / "whole"), ema=0.9, drop_text=0.3)
    first = load_file(train("adaptor", whole, silent))
    parts = replace(whole, output=str(tmp_path / "parts"))
    with pytest.raises(KeyboardInterrupt):
        train("adaptor", parts, stopping_at(3))
    said = []
    second = load_file(train("adaptor", parts, said.append))
    assert any("going on from" in line and "step_2" in line for line in said)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_a_disk_without_room_for_the_weights_leaves_those_that_are_there(config):
    settings = config("dr-encoder", steps=1)
    path = train("dr-encoder", settings, silent)
    before = path.read_bytes()
    with (
        files_of_at_most(100_000),
        pytest.raises(OSError, match=r"dr_encoder\.safetensors: cannot be written .*make room"),
    ):
        train("dr-encoder", settings, silent)
    assert path.read_bytes() == before
    assert {file.name for file in path.parent.iterdir()} == {"checkpoints", "config.toml", "log.jsonl", path.name}


def test_an_output_that_is_something_else_is_left_alone(config, tmp_path):
    settings = config("adaptor")
    Path(settings.output).write_text("a file")
    with pytest.raises(ValueError, match="out: expected a folder as output, this is a file"):
        train("adaptor", settings, silent)
    (tmp_path / "config.toml").write_text(mine := 'output = "."\n')
    with pytest.raises(ValueError, match=r"config\.toml: expected \"# adaptor\", .* got \"output = \"\.\"\""):
        train("adaptor", replace(settings, output=str(tmp_path)), silent)
    assert (tmp_path / "config.toml").read_text() == mine


def test_a_run_goes_on_with_its_own_config_alone(config):
    settings = config("adaptor", steps=1)
    train("adaptor", settings, silent)
    with pytest.raises(ValueError, match=r"rate was 1e-05 and is 0\.1"):
        train("adaptor", replace(settings, rate=0.1), silent)
    train("adaptor", replace(settings, steps=2), silent)


def test_gradients_of_several_batches_are_those_of_a_larger_one(config, tmp_path):
    large = config("adaptor", output=str(tmp_path / "large"), batch=2, steps=2, ema=0.0)
    small = replace(large, output=str(tmp_path / "small"), batch=1, accumulate=2)
    first, second = (load_file(train("adaptor", settings, silent)) for settings in (large, small))
    assert max((first[key] - second[key]).abs().max().item() for key in first) < 1e-5


PROCESS = """
import pickle, sys
from supir_core.training.run import train
lines = []
train("adaptor", pickle.load(open(sys.argv[1], "rb")), lines.append)
sys.exit(bool(lines) != (sys.argv[2] == "0"))  # one speaks for both
"""
"""A process of its own each: PyTorch cannot learn in one that was forked from one that learned."""


def test_two_processes_equal_one_with_twice_the_batch(config, tmp_path):
    one = config("adaptor", output=str(tmp_path / "one"), batch=2, steps=2, ema=0.0)
    two = replace(one, output=str(tmp_path / "two"), batch=1)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    (file := tmp_path / "settings").write_bytes(pickle.dumps(two))
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "ACCELERATE_USE_CPU": "true"}
    shared |= {"PYTHONPATH": str(ROOT)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(file), rank],
            env={**os.environ, **shared, "RANK": rank, "LOCAL_RANK": rank},
        )
        for rank in ("0", "1")
    ]
    assert [started.wait(120) for started in processes] == [0, 0]
    train("adaptor", one, silent)
    for file in ("model.safetensors", "optimizer.bin"):
        both = [flat(Path(settings.output) / "checkpoints" / "step_2" / file) for settings in (one, two)]
        error = ((both[0] - both[1]).norm() / both[0].norm()).item()
        assert error < 1e-5, file


def flat(path):
    """All weights of a checkpoint, or all means of its gradients, in one piece."""
    if path.suffix == ".safetensors":
        return torch.cat([tensor.flatten() for _, tensor in sorted(load_file(path).items())]).double()
    states = torch.load(path, weights_only=True)["state"]
    return torch.cat([states[key]["exp_avg"].flatten() for key in sorted(states)]).double()


class Line(torch.nn.Module):
    """The smallest that learns."""

    def __init__(self, width=1):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(width))

    def forward(self, target):
        return (self.weight - target).square().mean()


def loop(tmp_path, width=1, **changes):
    small = TrainingConfig(
        **{"output": str(tmp_path), "steps": 4, "accumulate": 1, "rate": 0.1, "warmup": 0, "weight_decay": 0.0}
        | changes
    )
    made = Loop(small, silent)
    made.prepare(Line(width))
    return made


@contextmanager
def files_of_at_most(size):
    """As on a disk that is full."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limit[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)


def test_a_full_disk_leaves_the_last_whole_checkpoint(tmp_path):
    running = loop(tmp_path, width=100_000, checkpoint_every=1, ema=0.0)
    running.save(1)
    before = {path: path.read_bytes() for path in (tmp_path / "checkpoints").rglob("*") if path.is_file()}
    last = pytest.raises(OSError, match=r"could not be written.*the last whole one is .*step_1")
    with files_of_at_most(10_000), last as raised:
        running.save(2)
    assert "\n" not in str(raised.value)
    assert {path: path.read_bytes() for path in (tmp_path / "checkpoints").rglob("*") if path.is_file()} == before


def test_the_last_two_checkpoints_are_kept(tmp_path):
    running = loop(tmp_path, checkpoint_every=1)
    running.run(lambda number: torch.ones(1))
    assert [path.name for path in running.checkpoints()] == ["step_4", "step_3"]


def test_a_loss_that_is_not_finite_ends_the_run(tmp_path):
    with pytest.raises(FloatingPointError, match="loss of step 1 is nan"):
        loop(tmp_path, report_every=1).run(lambda number: torch.full((1,), float("nan")))


def test_the_log_has_the_loss_of_every_report(tmp_path):
    loop(tmp_path, report_every=2).run(lambda number: torch.ones(1))
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4]
    assert lines[0]["loss"] == pytest.approx((1 + 0.9**2) / 2, abs=1e-3)


def test_averaged_weights_take_the_place_of_the_others_for_a_while():
    line = Line()
    averaged = Averaged(line, 0.5)
    for step in range(1, 60):
        line.weight.data.fill_(step)
        averaged.update()
    with averaged.in_place():
        assert line.weight.item() == pytest.approx(58, abs=1e-3)  # the mean lags by d / (1 - d)
    assert line.weight.item() == 59


def test_the_rate_rises_and_falls():
    pace = TrainingConfig(steps=110, warmup=10, rate=1.0, schedule="cosine")
    assert [pace.rate_at(step) for step in (5, 10, 60, 110)] == pytest.approx([0.5, 1, 0.5, 0])


def test_8_bits_need_a_gpu(tmp_path):
    with pytest.raises(ValueError, match="eight_bit = true needs a GPU"):
        loop(tmp_path, eight_bit=True)


@pytest.mark.parametrize("asked", [{"ACCELERATE_USE_FSDP": "true"}, {"WORLD_SIZE": "2"}])
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_processes_and_shards_need_gpus(asked, config, tmp_path, monkeypatch, capsys):
    for name, value in asked.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "run.toml").write_text(as_toml(config("adaptor")))
    assert cli.main(["train", "adaptor", "--config", str(tmp_path / "run.toml")]) == 1
    assert "FSDP and several processes need GPUs, and there is none" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_run_goes_on_with_its_own_stage_and_its_own_steps(config):
    settings = config("dr-encoder", steps=2, rate=1e-5)
    train("dr-encoder", settings, silent)
    with pytest.raises(
        ValueError, match='expected "# adaptor", of a training of this stage, got "# dr-encoder"; name another output'
    ):
        train("adaptor", settings, silent)
    with pytest.raises(ValueError, match=r"step_2 is later than steps = 1"):
        train("dr-encoder", replace(settings, steps=1), silent)


def test_a_run_goes_on_in_a_folder_that_was_moved_and_in_another_precision(config, tmp_path):
    settings = config("dr-encoder", steps=1)
    train("dr-encoder", settings, silent)
    (tmp_path / "out").rename(tmp_path / "moved")
    path = train("dr-encoder", replace(settings, output=str(tmp_path / "moved"), save_as="float16"), silent)
    assert {tensor.dtype for tensor in load_file(path).values()} == {torch.float16}


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.bin", "custom_checkpoint_0.pkl"])
def test_a_damaged_checkpoint_is_named(name, tmp_path):
    loop(tmp_path, checkpoint_every=1).run(lambda number: torch.ones(1))
    (tmp_path / "checkpoints" / "step_4" / name).write_bytes(b"")
    with pytest.raises(OSError, match=r"step_4: a damaged checkpoint; remove it"):
        loop(tmp_path).run(lambda number: torch.ones(1))


def test_what_else_lies_among_the_checkpoints_is_left_alone(tmp_path):
    running = loop(tmp_path, checkpoint_every=1)
    (tmp_path / "checkpoints" / "step_9 copy").mkdir(parents=True)
    (tmp_path / "checkpoints" / "step_9").write_text("a file")
    running.run(lambda number: torch.ones(1))
    assert [path.name for path in running.checkpoints()] == ["step_4", "step_3"]


def test_no_checkpoint_holds_a_loss_that_is_not_finite(tmp_path):
    with pytest.raises(FloatingPointError, match=r"begin anew with a rate below 0\.1 and another output"):
        loop(tmp_path, report_every=9, checkpoint_every=2).run(lambda number: torch.full((1,), float("nan")))
    assert not (tmp_path / "checkpoints").exists()
