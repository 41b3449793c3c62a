"""Pictures handed out by Ray on this machine: two single-threaded workers against one, and ten thousand pictures.

- ``workers``: the demo weights on small pictures, one worker and two in turn, networks loaded before. The target is a
  throughput of two workers of at least 1.7 times that of one, each in its best round; two cores must be free.
  By the median of the time that the cores have spent it tells what two free cores would give, were no worker ever idle.
- ``many``: a worker that only makes an empty file. How long planning takes, how much memory the process that hands out
  gains between the first tenth of the pictures and the last, and how many pictures were lost. Targets: 20 s, flat, none.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import measure
import psutil
from PIL import Image

from supir_core.cluster.connection import LOCAL, Share, connected
from supir_core.cluster.pool import Outcome, Pool
from supir_core.cluster.worker import Worker
from supir_core.command.done import judge
from supir_core.command.options import add_options, settings_from, target_from
from supir_core.command.output import check_output
from supir_core.command.plan import Job, Order, make_plan
from supir_core.command.task import Task
from supir_core.instantir.settings import InstantSettings

TARGET = 1.7


class Writer:
    """Makes empty files."""

    def ready(self) -> Outcome:
        """Say that it is there."""
        return Outcome([])

    def take(self, job: Job) -> Outcome:
        """Make the result."""
        job.result.touch(exist_ok=False)
        return Outcome([])


def plan(folder: Path, out: str) -> list[Job]:
    """The pictures of a folder, with results in another one."""
    return make_plan(Order([folder / "photos"], folder / out)).jobs


def restored(pool: Pool, jobs: list[Job]) -> tuple[float, float]:
    """Pictures a second, and a second of a core."""
    jobs[0].result.parent.mkdir()
    cores, started = core_seconds(), time.perf_counter()
    for done in pool.hand_out(jobs, "take"):
        if not (done.outcome and done.outcome.says("restored")):
            raise RuntimeError(f"a picture was not restored: {done}")
    return len(jobs) / (time.perf_counter() - started), len(jobs) / (core_seconds() - cores)


def core_seconds() -> float:
    """What this process and those that it has started have had of the cores."""
    process = psutil.Process()
    return sum(sum(each.cpu_times()[:2]) for each in (process, *process.children(recursive=True)))


def measure_workers(pictures: int, rounds: int, folder: Path) -> dict[str, Any]:
    """One worker and two in turn."""
    for number in range(pictures):
        Image.effect_noise((96, 64), 64).convert("RGB").save(folder / "photos" / f"{number:02}.png")
    parser = argparse.ArgumentParser()
    add_options(parser, "supir")
    options = parser.parse_args([str(folder / "photos"), "-o", str(folder), "--demo", "--scale", "1"])
    arguments = (options, Task(settings_from(options), target_from(options)), os.getcwd())
    speeds = []
    with (
        connected(LOCAL, 3, quiet=True),
        Pool(Worker, arguments, Share(1, 1, 0), "one") as one,
        Pool(Worker, arguments, Share(2, 1, 0), "two") as two,
    ):
        for number in range(rounds + 1):
            pair = [restored(pool, plan(folder, f"{name}{number}")) for pool, name in ((one, "one"), (two, "two"))]
            if number:  # the networks are loaded in the first
                speeds.append(pair)
    one, two = (list(zip(*pool, strict=True)) for pool in zip(*speeds, strict=True))
    return {
        "pictures a second in each round, one": one[0],
        "two": two[0],
        "best of two to best of one": max(two[0]) / max(one[0]),
        "the same by the cores' time": 2 * median(two[1]) / median(one[1]),
        "target": TARGET,
    }


def measure_many(pictures: int, folder: Path) -> dict[str, Any]:
    """A worker that makes empty files."""
    for number in range(pictures):
        (folder / "photos" / f"{number:06}.png").touch()
    before, started = psutil.Process().memory_info().rss, time.perf_counter()
    jobs, task = plan(folder, "out"), Task(InstantSettings())
    jobs = [job for job in jobs if not judge(job, task).done]
    check_output(jobs, task)
    planned = time.perf_counter() - started
    sizes = []
    with connected(LOCAL, 2, quiet=True), Pool(Writer, (), Share(2, 1, 0), "many") as pool:
        started = time.perf_counter()
        for _ in pool.hand_out(jobs, "take"):
            sizes.append(psutil.Process().memory_info().rss)
        seconds = time.perf_counter() - started
    return {
        "pictures": pictures,
        "planned in, s": planned,
        "MiB for the plan": (sizes[0] - before) / 2**20,
        "handed out in, s": seconds,
        "MiB gained": (sizes[-1] - sizes[len(sizes) // 10]) / 2**20,
        "lost": pictures - len(list((folder / "out").iterdir())),
    }


def main() -> None:
    """Measure, and write the tables."""
    options = measure.arguments(__doc__, device=False).parse_args()
    pictures, rounds, many = (4, 1, 100) if options.quick else (8, 8, 10_000)
    works = {"workers": partial(measure_workers, pictures, rounds), "many": partial(measure_many, many)}
    results = {}
    for name, work in works.items():
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "photos").mkdir()
            results[name] = work(Path(folder))
        measure.print_table(name, [{"what": what, "": value} for what, value in results[name].items()])
    measure.write_results("cluster", results, options)


if __name__ == "__main__":
    main()
