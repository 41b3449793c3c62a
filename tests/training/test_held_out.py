"""Held-out pictures on the way, bad pictures made on purpose, and what training one picture by heart gives."""

import json

import pytest
import torch

from supir_core.command import cli
from supir_core.evaluation.metrics import psnr
from supir_core.files.pictures import read_picture
from supir_core.training.config import Negatives
from supir_core.training.negatives import worsened
from supir_core.training.run import train

from .conftest import learn


@pytest.mark.parametrize(
    "name", ["dr-encoder", "adaptor", "instantir-dcp", "instantir-previewer", "instantir-aggregator"]
)
def test_held_out_pictures_are_restored_and_shown(name, config, pictures, tmp_path):
    train(name, config(name, held_out=str(pictures), held_out_every=1, steps=1), lambda line: None)
    sheet = read_picture(tmp_path / "out" / "held_out" / "step_000001.png")
    assert sheet.shape == (1, 3, 2 * 64, 3 * 64)
    lines = [json.loads(line) for line in (tmp_path / "out" / "log.jsonl").read_text().splitlines()]
    assert lines[-1].keys() == {"step", "held_out_psnr", "held_out_gmsd", "held_out_psnr_bicubic"}


def test_negative_samples_are_other_pictures_of_the_same_size(demo_model):
    picture = torch.rand(1, 3, 64, 128)
    settings = Negatives(steps=4, cfg=2.0)
    worse, other = (worsened(demo_model, picture, settings, number) for number in (0, 1))
    assert worse.shape == picture.shape
    assert worse.min() >= 0 and worse.max() <= 1
    assert not torch.equal(worse, other)
    slight = worsened(demo_model, picture, Negatives(steps=100, strength=0.01, cfg=1.0))
    plain = demo_model.decode(demo_model.encode(picture, None), None)
    assert (slight - plain).square().mean() < (worse - plain).square().mean()


def test_the_command_makes_a_bad_picture_of_each(pictures, tmp_path, demo_model, capsys):
    given = ["negatives", pictures, "-o", tmp_path, "--sdxl", demo_model.files[0], "--side", 64, "--steps", 2]
    given += ["--tokenizer", demo_model.files[0].parent / "tokenizer", "--device", "cpu"]
    assert cli.main([str(argument) for argument in given]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000000_coffee.png", "000001_rocket.png"]
    assert read_picture(tmp_path / "000000_coffee.png").shape == (1, 3, 64, 64)
    before = (tmp_path / "000000_coffee.png").stat().st_mtime_ns
    assert cli.main([str(argument) for argument in given]) == 0
    assert (tmp_path / "000000_coffee.png").stat().st_mtime_ns == before
    given[given.index("-o") + 1] = pictures / "bad"
    assert cli.main([str(argument) for argument in given]) == 1
    assert "OUT lies in IN, where every picture is read; name a folder outside of it" in capsys.readouterr().err


def test_one_picture_is_learnt_by_heart(built):
    """The encoder learns one damaged picture until its decode is 3 dB closer than bicubic enlargement."""
    rare = {"report_every": 24, "checkpoint_every": 24}
    stage, samples = built("dr-encoder", rate=1e-3, steps=24, ema=0.0, negative_share=0.0, **rare)
    batch = samples.batch(0)
    clean, damaged = batch.tensors["clean"], batch.tensors["damaged"]
    before = stage(batch).item()
    learn(stage, lambda number: batch)
    with torch.no_grad():
        decoded = stage.restored(batch)
        after = stage(batch).item()
    assert psnr(decoded, clean) >= psnr(damaged, clean) + 3
    assert after < 0.6 * before
