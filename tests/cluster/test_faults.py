"""Workers, nodes and commands that die or are told to stop: whole files only, nothing twice, nothing lost."""

import os
import random
import signal
import time

import psutil
import pytest

from supir_core.files.pictures import read_label

from ..command.test_cli import make_picture
from .stub import CALL_SECONDS, workers_of

PICTURES, SECONDS = 40, 120


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "photos").mkdir()
    for number in range(PICTURES):
        make_picture(tmp_path / "photos" / f"{number:02}.png", (24, 16))
    return tmp_path


class Watch:
    """Sees to it that no result is replaced once it is there, and that all are whole."""

    def __init__(self, out):
        self.out, self.seen, self.end = out, {}, time.monotonic() + SECONDS

    def look(self):
        for path in self.out.glob("*.png") if self.out.is_dir() else ():
            mark = (path.stat().st_ino, path.stat().st_mtime_ns)
            if path not in self.seen:
                assert read_label(path)
            assert self.seen.setdefault(path, mark) == mark
        assert time.monotonic() < self.end, "it takes too long"
        return len(self.seen)

    def until(self, process, met):
        while not met():
            self.look()
            if process.poll() is not None:
                pytest.fail(f"it has ended: {process.communicate()[1]}")
            time.sleep(0.01)


def finish(process, watch, code=0):
    said = process.communicate(timeout=SECONDS)[1]
    watch.look()
    assert process.returncode == code, said
    return said


def test_workers_killed_at_random_moments_lose_and_repeat_nothing(folder, start, cluster):
    moments, watch = random.Random(0), Watch(folder / "out")
    process = start("restore", folder / "photos", "-o", folder / "out", "--scale", "1")
    for _ in range(10):
        count = watch.look()
        watch.until(process, lambda count=count: watch.look() > count)
        time.sleep(moments.uniform(0, 0.2))
        moments.choice(workers_of(os.getpid())).kill()
    said = finish(process, watch)
    assert sorted(path.name for path in (folder / "out").iterdir()) == [
        f"{number:02}.png" for number in range(PICTURES)
    ]
    assert "restore-1: " in said
    assert "restore-2: " in said


def test_the_command_killed_and_run_again_goes_on_where_it_was(folder, start):
    moments, watch = random.Random(1), Watch(folder / "out")
    command = ("restore", folder / "photos", "-o", folder / "out", "--scale", "1")
    for _ in range(2):
        process = start(*command)
        count = watch.look()
        watch.until(process, lambda count=count: watch.look() > count)
        time.sleep(moments.uniform(0, 0.5))
        process.kill()
        process.wait()
    finish(start(*command), watch)
    assert len(list((folder / "out").iterdir())) == len(watch.seen) == PICTURES


def test_of_two_nodes_one_dies_and_the_other_does_its_pictures(folder, start, cluster):
    watch = Watch(folder / "out")
    node = cluster.add_node(num_cpus=2, object_store_memory=2**27)
    process = start("restore", folder / "photos", "-o", folder / "out", "--scale", "1", workers=4)
    watch.until(process, lambda: len(watch.seen) > 4 and len(workers_of(os.getpid())) == 4)
    cluster.remove_node(node, allow_graceful=False)
    finish(process, watch)
    assert len(list((folder / "out").iterdir())) == PICTURES


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_stops_all_workers_within_a_call(folder, start, number):
    watch = Watch(folder / "out")
    process = start("restore", folder / "photos", "-o", folder / "out", "--scale", "1")
    watch.until(process, lambda: len(watch.seen) > 1)
    watch.until(process, lambda: any(" at " in " ".join(worker.cmdline()) for worker in workers_of(os.getpid())))
    process.send_signal(number)
    said = finish(process, watch, code=130)
    assert "what is finished is kept, the same command resumes" in said
    names = {path.suffix for path in (folder / "out").iterdir()}
    assert (names, len(watch.seen) < PICTURES) == ({".png"}, True)  # no lock, nothing half-written
    time.sleep(2 * CALL_SECONDS)
    assert not [child for child in workers_of(os.getpid()) if child.status() != psutil.STATUS_ZOMBIE]


def test_a_picture_at_which_workers_die_is_tried_three_times_and_listed(tmp_path, start):
    (tmp_path / "photos").mkdir()
    for name in ("a", "deadly", "z"):
        make_picture(tmp_path / "photos" / f"{name}.png", (24, 16))
    process = start("restore", tmp_path / "photos", "-o", tmp_path / "out", worker="Mortal")
    said = process.communicate(timeout=SECONDS)[1]
    assert process.returncode == 1
    (line,) = [line for line in said.splitlines() if line.startswith("failed: ")]
    assert "deadly.png: 3 workers died at it" in line
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "z.png"]
