"""supir degrade --ray and supir evaluate --ray: the files of one process, and what is done is kept."""

import json

import pytest

from supir_core.command import cli
from supir_core.evaluation.degradation import SECOND_ORDER

from ..command.test_cli import make_picture


@pytest.fixture
def say(cluster, capsys):
    """Run a command on two workers of the cluster; its code and what it wrote for people."""

    def say(*arguments):
        code = cli.main([str(part) for part in (*arguments, "--ray", cluster.address, "--workers", "2")])
        return code, capsys.readouterr().err

    return say


@pytest.fixture
def photos(tmp_path):
    (tmp_path / "photos").mkdir()
    for number in range(4):
        make_picture(tmp_path / "photos" / f"{number}.png", (48 + 8 * number, 40))
    return tmp_path / "photos"


def files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def times(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*.png")}


@pytest.mark.parametrize("setting", ["blur_sr4_noise_jpeg", SECOND_ORDER])
def test_degrade_on_two_workers_makes_the_files_of_one_process(run, say, photos, tmp_path, setting):
    (photos / "bad.png").write_text("no picture", encoding="utf-8")
    how = ("--setting", setting, "--seed", "3")
    assert run("degrade", photos, "-o", tmp_path / "one", *how)[0] == 1
    code, said = say("degrade", photos, "-o", tmp_path / "two", *how)
    assert (code, "workers: 2, each with 1 CPU cores and 0 GPUs" in said) == (1, True)
    assert f"failed: {photos / 'bad.png'}: not a picture" in said
    assert len(files(tmp_path / "one")) == 5
    assert files(tmp_path / "two") == files(tmp_path / "one")


def test_degrade_on_workers_keeps_what_is_done_and_does_anew_what_was_made_otherwise(say, photos, tmp_path):
    command = ("degrade", photos, "-o", tmp_path / "out", "--setting", "sr4_noise")
    assert say(*command)[0] == 0
    before = times(tmp_path / "out")
    (tmp_path / "out" / "2.png").unlink()
    assert say(*command)[0] == 0
    after = times(tmp_path / "out")
    assert {path.name for path in before if after[path] != before[path]} == {"2.png"}
    assert say(*command, "--seed", "1")[0] == 0
    assert not set(times(tmp_path / "out").items()) & set(after.items())
    entries = json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))
    assert [entry["seed"] for entry in entries] == [1] * 4


@pytest.mark.parametrize("command", ["degrade", "evaluate"])
def test_workers_without_a_cluster_are_refused_before_anything_is_done(run, photos, tmp_path, command):
    code, said = run(command, photos, "-o", tmp_path / "out", "--setting", "sr4", "--workers", "2")
    assert (code, said) == (1, "error: --workers goes with --ray; add it, or leave that out\n")
    assert not (tmp_path / "out").exists()


def test_evaluate_on_two_workers_makes_the_files_of_one_process(run, say, photos, tmp_path):
    how = ("--setting", "sr4", "--seed", "0", "--seed", "1", "--stage1", "--metric", "psnr", "--demo")
    how += ("--method", "bicubic", "--method", "supir")
    assert run("evaluate", photos, "-o", tmp_path / "one", *how)[0] == 0
    code, said = say("evaluate", photos, "-o", tmp_path / "two", *how)
    assert (code, said.count("workers: 2")) == (0, 2)
    assert files(tmp_path / "two") == files(tmp_path / "one")
    before = times(tmp_path / "two")
    code, said = say("evaluate", photos, "-o", tmp_path / "two", *how)
    assert (code, said.count("4 of 4 done already")) == (0, 2)
    assert times(tmp_path / "two") == before
