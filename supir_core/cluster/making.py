"""``supir degrade --ray``: pictures that need no networks, made by the workers of a cluster."""

from __future__ import annotations

import argparse
import os
from collections.abc import Generator, Sequence
from contextlib import nullcontext
from functools import partial

from ..command.batch import attempt
from ..command.making import Made, Make
from ..command.plan import Job
from ..command.recording import Recording
from ..command.report import Report
from .connection import connected, share_cores
from .pool import Outcome, Pool
from .worker import settle, show


class Maker:
    """A worker of a cluster that makes pictures on a core.

    Args:
        make: makes one.
        folder: in which relative names are.
    """

    def __init__(self, make: Make, folder: str):
        settle(folder)
        self._make = make

    def ready(self) -> Outcome:
        """Say that it is there."""
        return Outcome([])

    def stop(self) -> None:
        """Nothing to do: a picture takes no longer than a network call, and is finished."""

    def take(self, job: Job) -> Outcome:
        """Make a picture; the value is what is to be known of it, if that succeeds."""
        show(f"at {job.source.name}")
        report = Recording(nullcontext)
        made = attempt(job, report, partial(self._make, job))
        return Outcome(report.events, value=made)


def make_on_cluster(
    options: argparse.Namespace, jobs: Sequence[Job], make: Make, report: Report
) -> Generator[Made, None, None]:
    """Make pictures as ``make_here`` does, many at a time and in any order.

    Raises:
        RuntimeError: Ray is not installed, or no worker can be started.
        OSError: a disk is full.
    """
    with connected(options.ray, options.workers, options.quiet):
        share = share_cores(options.workers)
        report.say(f"workers: {share}")
        with Pool(Maker, (make, os.getcwd()), share, "degrade") as pool:
            for done in pool.hand_out(jobs, "take"):
                done.tell(report)
                yield Made(done.job, done.value)
