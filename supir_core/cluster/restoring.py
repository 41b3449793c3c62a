"""``supir restore --ray``: the pictures handed out to the workers of a cluster."""

from __future__ import annotations

import argparse
import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..command.plan import Job
from ..command.report import Report
from ..command.task import Task
from ..sdxl.memory import GIB
from .connection import Share, connected, share_out
from .pool import Outcome, Pool
from .worker import Worker


@dataclass
class Tally:
    """What a worker has done, and has found done."""

    pictures: int = 0
    done: int = 0
    seconds: float = 0.0
    peak: int = 0

    def add(self, outcome: Outcome | None) -> None:
        """Count something that was handed to it."""
        if outcome is not None:
            self.pictures += outcome.says("restored")
            self.done += outcome.says("done")
            self.seconds += outcome.seconds
            self.peak = max(self.peak, outcome.peak)


def restore_on_cluster(jobs: Sequence[Job], task: Task, options: argparse.Namespace, report: Report) -> None:
    """Describe the pictures where that is asked for, then restore them; one that fails does not stop the others.

    Raises:
        RuntimeError: Ray is not installed, or no worker can be started.
        OSError: a disk is full.
        Exception: the weights cannot be loaded.
    """
    total = len(jobs)
    arguments = (options, replace(task, models=task.models and dict), os.getcwd())
    with connected(options.ray, options.workers, options.quiet):
        share = share_out(options.workers, options.gpus_per_worker)
        report.say(f"workers: {share}")
        if task.captioned:
            jobs = _describe(jobs, arguments, share, report)
        with report.batch(len(jobs)), Pool(Worker, arguments, share, "restore") as pool:
            tallies: dict[str, Tally] = defaultdict(Tally)
            for done in pool.hand_out(jobs, "take"):
                done.tell(report)
                if done.outcome is None or done.outcome.finished:
                    report.advance()
                tallies[done.worker].add(done.outcome)
    already = sum(tally.done for tally in tallies.values())
    if already:
        report.say(f"{already} of {total} done already")
    for name, tally in sorted(tallies.items()):
        report.say(f"{name}: {tally.pictures} pictures, {tally.seconds:.1f} s, at most {tally.peak / GIB:.2f} GiB")


def _describe(jobs: Sequence[Job], arguments: Sequence[object], share: Share, report: Report) -> list[Job]:
    """A first pass with workers of its own, which are gone before the next ones start: no GPU holds both models.

    Returns:
        The jobs that did not fail, all with captions.
    """
    captioned: dict[Job, Job | None] = {job: job for job in jobs}
    waiting = [job for job in jobs if job.captions is None]
    if not waiting:
        return list(jobs)
    with report.batch(len(waiting), "captions"), Pool(Worker, arguments, share, "caption") as pool:
        for done in pool.hand_out(waiting, "caption"):
            done.tell(report)
            captioned[done.job] = done.value
            report.advance()
    return [job for job in captioned.values() if job is not None]
