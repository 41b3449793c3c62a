"""A worker of a cluster: it holds the networks on its device, and does a picture at a time."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cache, cached_property
from typing import Any

import psutil
import torch

from ..command.batch import WAIT, attempt
from ..command.captions import Captions
from ..command.done import OPEN, judge
from ..command.plan import Job
from ..command.recording import Recording
from ..command.staging import caption_anywhere, in_store, take_anywhere
from ..command.task import Task
from ..command.weights import Weights
from ..restoration.canvas import Restored
from .pool import Outcome


class Stopped(BaseException):
    """A worker was told to stop; not an error of a picture, which would be noted and the next one begun."""


class Worker:
    """Does the pictures of a command.

    Args:
        options: of the command line.
        task: what the pictures share; its labels, if there are any, get the hashes of this machine's files.
        folder: in which relative names are.
    """

    def __init__(self, options: argparse.Namespace, task: Task, folder: str):
        settle(folder, getattr(options, "verbose", False))
        self.options = options
        self.task = replace(task, models=task.models and (lambda: self.weights.hashes))
        self._told: set[Job] = set()
        self._at_work, self._stop = threading.Lock(), threading.Event()

    def ready(self) -> Outcome:
        """Say that it is there."""
        return Outcome([])

    def stop(self) -> None:
        """Stop at the next network call; called while a picture is in hand."""
        self._stop.set()

    @cached_property
    def weights(self) -> Weights:
        """The networks, loaded with the first picture that asks for them."""
        return Weights(self.options)

    def restorer(self) -> Callable[..., Restored]:
        """What restores a picture."""
        return self.weights.restorer()

    @cached_property
    def captions(self) -> Captions:
        """What describes the pictures, loaded likewise."""
        captions = Captions.of(self.options, self.weights)
        return replace(captions, load=cache(captions.load))

    def take(self, job: Job) -> Outcome:
        """Restore a picture, unless it is done or another run is at it."""
        return self._timed(job, lambda report: (self._take(job, report), None))

    def caption(self, job: Job) -> Outcome:
        """Describe a picture; the value is the job with its captions, if that succeeds."""
        return self._timed(job, lambda report: (True, self._caption(job, report)))

    def _caption(self, job: Job, report: Recording) -> Job | None:
        if not in_store(job):
            verdict = attempt(job, report, lambda: judge(job, self.task))
            if verdict is None or verdict.state not in OPEN:
                return verdict and job
        return caption_anywhere(job, self.task, self.captions, report)

    def _take(self, job: Job, report: Recording) -> bool:
        finished = take_anywhere(job, self.task, self.restorer, report, told=job in self._told)
        if not finished:
            self._told.add(job)
            time.sleep(WAIT)
        return finished

    @contextmanager
    def _until_stopped(self, _: str) -> Iterator[Callable[[Any], None]]:
        def go_on(_: Any) -> None:
            if self._stop.is_set():
                raise Stopped

        yield go_on

    def _timed(self, job: Job, work: Callable[[Recording], tuple[bool, Any]]) -> Outcome:
        report = Recording(self._until_stopped)
        with self._at_work:  # a worker that was out of reach for a while may still be at the picture before
            show(f"at {job.source.name}")
            started = time.perf_counter()
            try:
                finished, value = work(report)
            except Stopped:
                finished, value = False, None
            return Outcome(report.events, finished, value, time.perf_counter() - started, peak_memory())


def settle(folder: str, verbose: bool = False) -> None:
    """Make this process like the command's: what it logs, and the folder in which relative names are."""
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    logging.getLogger(__name__.partition(".")[0]).setLevel(logging.DEBUG if verbose else logging.WARNING)
    with suppress(OSError):  # it may be the command's machine's own, and nothing in it be asked for
        os.chdir(folder)


def show(what: str) -> None:
    """Say in the title of the process, which Ray's dashboard shows, what a worker does.

    Ray's public way, a name for each call, makes the command remember every name.
    """
    with suppress(ImportError):
        from ray import get_runtime_context
        from ray._raylet import setproctitle  # type: ignore[attr-defined]

        setproctitle(f"ray::{get_runtime_context().get_actor_name()} {what}")


def peak_memory() -> int:
    """The most bytes that this process has had: on its GPU, where it has one, else in main memory."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
