"""Pictures restored one after the other; several runs that do so in one folder share the work."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from ..files.pictures import Picture, open_picture, read_mask, write_picture
from ..restoration.canvas import Restored
from ..restoration.regions import restore_masked
from .done import OPEN, State, judge
from .lock import claim, remove_leftovers
from .plan import Job
from .report import Report
from .task import Task

WAIT = 0.5
"""Seconds until it is looked again whether other runs are through with their pictures."""

NO_ROOM = (errno.ENOSPC, errno.EDQUOT)

Restore = Callable[..., Restored]
T = TypeVar("T")


def run_batch(
    jobs: Sequence[Job], task: Task, load: Callable[[], Restore], report: Report, do: Callable[..., bool]
) -> None:
    """Do the jobs; one that fails does not stop the others.

    Pictures that other runs have in hand are left to them, and looked at again in the end.

    Args:
        jobs: with their captions.
        task: what they share.
        load: gives what restores a picture, as ``pipeline.restore`` with a model does; called once there is one to restore.
        report: told what becomes of each.
        do: ``take``, or the like.

    Raises:
        OSError: the disk is full.
        Exception: the weights cannot be loaded.
    """
    waiting, told = list(jobs), False
    with report.batch(len(jobs)):
        while waiting:
            left = [job for job in waiting if not do(job, task, load, report, told)]
            if len(left) == len(waiting):
                time.sleep(WAIT)
            waiting, told = left, True


def attempt(job: Job, report: Report, work: Callable[[], T]) -> T | None:
    """Do something for a picture, and note it if that fails, whatever the error is.

    Raises:
        OSError: the disk is full, so that the next picture would fail too.
    """
    try:
        return work()
    except Exception as error:
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            raise
        report.failed(job.source, job.result, error)
        return None


def take(job: Job, task: Task, load: Callable[[], Restore], report: Report, told: bool = False) -> bool:
    """Do a picture, unless another run is at it, of which is told once; says whether there is nothing left to do."""
    with claim(job.result) as owner:
        if owner is not None:
            if not told:
                report.say(f"{job.result}: left to another run ({owner})")
            return False
        remove_leftovers(*job.pictures)
        if _is_open(job, task, report):
            picture = attempt(job, report, lambda: open_picture(job.source, task.page))
            if picture is not None:
                restore = load()
                attempt(job, report, lambda: _restore(job, task, picture, restore, report))
    report.advance()
    return True


def _is_open(job: Job, task: Task, report: Report) -> bool:
    """Whether the picture is to be restored; another run may have done it meanwhile."""
    verdict = attempt(job, report, lambda: judge(job, task))
    if verdict is None:
        return False
    if verdict.done:
        report.picture(job.source, job.result, "done")
    elif verdict.state is State.FOREIGN:
        report.failed(job.source, job.result, verdict.why)
    return verdict.state in OPEN


def _restore(job: Job, task: Task, picture: Picture, restore: Restore, report: Report) -> None:
    started = time.perf_counter()
    label = task.label(job)
    sizing, tensor = task.sizing(job), picture.tensor
    with report.progress(job.source.name) as callback:
        given = {"caption": job.captions or "", "callback": callback}
        if job.mask is None:
            layout = sizing.layout(tensor)
            if layout.shrinks:
                report.say(f"{job.source}: {layout.shrinks}")
            restored = layout.restore(restore, tensor, task.settings, **given)
        else:
            given |= {"size": task.enlarged(job, (tensor.shape[2], tensor.shape[3])), **task.regions()}
            restored = restore_masked(restore, tensor, read_mask(job.mask), task.settings, **given)
    form = {"bits": picture.bits, "quality": task.quality, "exif": None if task.strip else picture.exif}
    if job.stage1 is not None:
        write_picture(job.stage1, restored.stage1[0], label, **form)
    write_picture(job.result, restored.image[0], label, **form)
    seconds = time.perf_counter() - started
    report.say(f"restored {job.result} ({seconds:.1f} s)")
    how = {**sizing.described(), "caption": "\n".join(job.captions or ()), **task.described()}
    report.picture(job.source, job.result, "restored", round(seconds, 3), how)
