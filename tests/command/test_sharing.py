"""Runs that are killed, interrupted, or at work in one folder at once: whole files only, nothing twice, nothing lost."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest
from PIL import Image

from supir_core.command.lock import claim, lock_file
from supir_core.files.pictures import read_label

from .stub import CONTEXT, start
from .test_cli import FAST, make_picture

PICTURES = 12
forks = pytest.mark.skipif(CONTEXT is None, reason="needs fork")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "photos").mkdir()
    for number in range(PICTURES):
        make_picture(tmp_path / "photos" / f"{number:02}.png")
    return tmp_path


def marks(out):
    """What tells a file from another that has taken its place."""
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in out.glob("*.png")}


@forks
@pytest.mark.parametrize("processes", [1, 2])
def test_killed_at_any_moment_and_run_again_every_picture_is_whole_and_done_once(folder, processes):
    moments, out = random.Random(processes), folder / "out"
    out.mkdir()
    command = ("restore", folder / "photos", "-o", out, "--demo", "--scale", "1", "--stage1", "--quiet")
    done = {}
    for _ in range(20):
        running = [start(*command) for _ in range(processes)]
        for process in running:
            time.sleep(moments.uniform(0, 0.15))
            os.kill(process.pid, signal.SIGKILL)
        for process in running:
            process.join()
        now = marks(out)
        for path, mark in done.items():
            if path.name.removesuffix(".png").isdigit():
                assert now[path] == mark
        for path in now:
            assert read_label(path)
        done = now
    running = [start(*command) for _ in range(processes)]
    for process in running:
        process.join()
        assert process.exitcode == 0
    names = [f"{number:02}{part}.png" for number in range(PICTURES) for part in ("", "_stage1")]
    assert sorted(path.name for path in out.iterdir()) == sorted(names)
    assert all(marks(out)[path] == mark for path, mark in done.items() if "_stage1" not in path.name)


@forks
def test_two_runs_share_the_work(folder):
    started = time.monotonic()
    out = folder / "out"
    running = [start("restore", folder / "photos", "-o", out, "--demo", "--scale", "1", "--json") for _ in range(2)]
    seen = {}
    while any(process.is_alive() for process in running):
        for path, mark in (marks(out) if out.is_dir() else {}).items():
            assert seen.setdefault(path, mark) == mark
        time.sleep(0.005)
        assert time.monotonic() - started < 60
    assert [process.exitcode for process in running] == [0, 0]
    assert len(seen) == PICTURES
    assert len(list(out.iterdir())) == PICTURES


def test_a_picture_that_another_run_has_in_hand_is_waited_for(run, tmp_path, monkeypatch):
    source, result = make_picture(tmp_path / "a.png"), tmp_path / "out" / "a.png"
    result.parent.mkdir()
    other = claim(result)
    assert other.__enter__() is None
    monkeypatch.setattr("supir_core.command.batch.time.sleep", lambda _: other.__exit__(None, None, None))
    code, said = run("restore", source, "-o", tmp_path / "out", "--demo", *FAST)
    assert code == 0
    assert f"left to another run (process {os.getpid()} on " in said
    assert [path.name for path in result.parent.iterdir()] == ["a.png"]


def test_what_a_killed_run_left_behind_is_taken_over_at_once(run, tmp_path):
    source, out = make_picture(tmp_path / "a.png"), tmp_path / "out"
    out.mkdir()
    lock_file(out / "a.png").write_text("process 1 on another machine", encoding="utf-8")
    lock_file(out / "a.png").with_name(lock_file(out / "a.png").name.replace(".lock", "-00.part")).write_bytes(b"half")
    assert run("restore", source, "-o", out, "--demo", *FAST)[0] == 0
    assert [path.name for path in out.iterdir()] == ["a.png"]
    lock_file(out / "a.png").touch()  # killed between the result and the end of its lock
    code, said = run("restore", source, "-o", out, "--demo", *FAST)
    assert (code, "1 of 1 done already" in said) == (0, True)
    assert [path.name for path in out.iterdir()] == ["a.png"]


@forks
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_a_batch_with_whole_files(folder, number, capfd):
    out = folder / "out"
    process = start("restore", folder / "photos", "-o", out, "--demo", "--scale", "1", "--quiet")
    while not (out.is_dir() and marks(out)):
        time.sleep(0.01)
    os.kill(process.pid, number)
    process.join()
    assert process.exitcode == 130
    assert capfd.readouterr().err == "stopped; what is finished is kept, the same command resumes\n"
    assert 0 < len(list(out.iterdir())) < PICTURES
    for path in out.iterdir():
        assert path.suffix == ".png"
        Image.open(path).load()


def test_an_interrupt_while_pytorch_is_imported_is_one_line(tmp_path):
    (tmp_path / "torch.py").write_text("import time\nopen('here', 'w').close()\ntime.sleep(60)\n", encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.getcwd()])}
    command = [sys.executable, "-m", "supir_core", "restore", "a.png", "-o", "out"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, cwd=tmp_path, env=environment, text=True) as process:
        while not (tmp_path / "here").exists():
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        assert process.communicate()[1] == "stopped before anything was done\n"
    assert process.returncode == 130
