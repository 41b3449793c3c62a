"""Pictures made of pictures: what is there and was made so is kept, and a manifest says how each was made."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from functools import partial
from typing import NamedTuple

from torch import Tensor

from ..evaluation.manifest import Facts, Manifest
from ..files.checkpoint import sha256
from ..files.pictures import read_picture, write_picture
from .batch import attempt
from .plan import Job
from .report import Report

Make = Callable[[Job], Facts]
"""Writes a picture, and gives what is to be known of it."""


class Made(NamedTuple):
    """A picture, and what is to be known of it: nothing, where it failed."""

    job: Job
    facts: Facts | None


MakeAll = Callable[[Sequence[Job], Make, Report], Generator[Made, None, None]]
"""Makes pictures; one that fails does not stop the others."""


def make_here(jobs: Sequence[Job], make: Make, report: Report) -> Generator[Made, None, None]:
    """Make pictures in this process, one after the other."""
    for job in jobs:
        yield Made(job, attempt(job, report, partial(make, job)))


def write_pictures(
    jobs: Sequence[Job],
    work: Callable[[Tensor, Job], Tensor],
    how: Callable[[Job], Facts],
    manifest: Manifest,
    report: Report,
    page: int | None = None,
    make_all: MakeAll = make_here,
) -> list[Job]:
    """Write what ``work`` makes of each picture, where it is not there yet; gives the jobs that did not fail.

    Args:
        jobs: pictures, and where what is made of them goes.
        work: takes a picture ``(1, C, H, W)`` in [0, 1] and its job, and gives another.
        how: says how that is: a picture that was made in another way is made anew.
        manifest: knows what is there.
        report: told what becomes of each.
        page: of files with several.
        make_all: ``make_here``, or the like elsewhere.
    """
    manifest.expect({job.result: {**how(job), "source": job.source.name} for job in jobs})

    def make(job: Job) -> Facts:
        facts = {**how(job), "source": job.source.name, "input": sha256(job.source)}
        if not manifest.holds(job.result, facts):
            write_picture(job.result, work(read_picture(job.source, page), job)[0])
        return facts

    done = []
    with report.batch(len(jobs)), closing(make_all(jobs, make, report)) as all_made:
        for job, facts in all_made:
            if facts is not None:
                manifest.add(job.result, facts)
                done.append(job)
            report.advance()
    return done
