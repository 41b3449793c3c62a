"""``supir restore``: from the options to the files."""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Sequence
from functools import partial

from tqdm.contrib.logging import logging_redirect_tqdm

from ..cluster.options import for_driver
from ..cluster.restoring import restore_on_cluster
from ..files.objects import Address, check_store
from ..files.pictures import KNOWN_SUFFIXES, read_mask
from ..files.writing import FORMATS, format_of
from ..restoration.regions import CONTEXT, FEATHER
from .batch import attempt, run_batch
from .batch_page import write_batch_page
from .captions import Captions, caption_jobs
from .done import State, Verdict, judge
from .dry_run import tell_plan
from .lock import lock_file
from .options import settings_from, target_from
from .output import check_output
from .plan import Job, Order, make_plan
from .report import Report
from .staging import caption_anywhere, in_store, take_anywhere
from .task import Task
from .weights import Weights

log = logging.getLogger(__name__)


def restore_pictures(options: argparse.Namespace) -> int:
    """Run ``supir restore``; gives the exit code.

    Raises:
        Exception: nothing can be done at all: of the options, the inputs, the output, the weights.
    """
    report = Report(options.quiet, options.json)
    _check(options)
    weights = Weights(for_driver(options))
    task = _task(options, weights)
    plan = make_plan(_order(options))
    plan.tell(report)
    try:
        restore_jobs(plan.jobs, task, weights, options, report)
        if options.report and not options.dry_run:
            folder = options.output if options.output.is_dir() else options.output.parent
            write_batch_page(folder, plan.jobs, options.page, report)
    finally:
        code = report.close()
    return code


def _check(options: argparse.Namespace) -> None:
    """Say at once what is wrong with options that nothing else looks at before there is a picture to restore."""
    CONTEXT.check("context", options.context)
    FEATHER.check("feather", options.feather)
    if options.save_captions and not options.captioner:
        raise ValueError("--save-captions keeps what a model writes; name one with --captioner, or leave it out")
    if options.report and isinstance(options.output, Address):
        raise ValueError("--report writes a page beside results on a disk; leave it out for those in a store")
    if options.mask is not None:
        if not options.mask.is_file():
            raise FileNotFoundError(f"--mask {options.mask}: expected a picture, but there is no such file")
        read_mask(options.mask)


@logging_redirect_tqdm()
def restore_jobs(
    jobs: Sequence[Job], task: Task, weights: Weights, options: argparse.Namespace, report: Report
) -> None:
    """Restore what is not done yet, with captions where the options ask a model for them."""
    handed_out = options.ray is not None and not options.dry_run
    if not handed_out:
        jobs = _open_jobs(jobs, task, report)
    if options.dry_run:
        tell_plan(jobs, task, weights, report)
        return
    if not jobs:
        return
    if handed_out:  # workers look themselves what is done, all at once
        _check_places([job for job in jobs if not os.path.exists(job.result)], task)
        on_workers = argparse.Namespace(**{**vars(weights.options), "device": options.device})
        restore_on_cluster(jobs, task, on_workers, report)
        return
    _check_places(jobs, task)
    if task.captioned:
        jobs = caption_jobs(jobs, task, Captions.of(options, weights), report, caption_anywhere)
    run_batch(jobs, task, weights.restorer, report, take_anywhere)


def _check_places(jobs: Sequence[Job], task: Task) -> None:
    """Try to write where the results go, and see whether there is room."""
    check_output([job for job in jobs if not isinstance(job.result, Address)], task)
    for folder in {job.result.parent for job in jobs if isinstance(job.result, Address)}:
        check_store(folder)


def _open_jobs(jobs: Sequence[Job], task: Task, report: Report) -> list[Job]:
    """The pictures that are not done; says what is done, what is not any more, and what is in the way."""
    stored = [job for job in jobs if in_store(job)]  # whoever does them looks whether they are done
    judged = [(job, attempt(job, report, partial(judge, job, task))) for job in jobs if not in_store(job)]
    verdicts: list[tuple[Job, Verdict]] = [(job, verdict) for job, verdict in judged if verdict is not None]
    done = [job for job, verdict in verdicts if verdict.done]
    if done:
        report.say(f"{len(done)} of {len(jobs)} done already")
    unlabelled = sum(verdict.state is State.UNLABELLED for _, verdict in verdicts)
    if unlabelled:
        report.say(f"{unlabelled} of them carry no label that tells how they were made; --overwrite makes them anew")
    left = stored
    for job, verdict in verdicts:
        if verdict.done and not lock_file(job.result).exists():  # else another run may be at it, or was killed
            report.picture(job.source, job.result, "done")
        elif verdict.state is State.FOREIGN:
            report.failed(job.source, job.result, verdict.why)
        else:
            left.append(job)
            if verdict.state is State.DIFFERS:
                report.say(f"{job.source}: done anew, as {verdict.why}")
    return left


def _task(options: argparse.Namespace, weights: Weights) -> Task:
    return Task(
        settings=settings_from(options),
        target=target_from(options),
        models=None if options.no_metadata else lambda: weights.hashes,
        page=options.page,
        quality=options.quality,
        strip=options.strip,
        overwrite=options.overwrite,
        captioned=bool(options.captioner),
        context=options.context,
        feather=options.feather,
        caption_tiles=options.caption_tiles,
    )


def _order(options: argparse.Namespace) -> Order:
    return Order(
        inputs=options.inputs,
        output=options.output,
        recursive=options.recursive,
        suffix=FORMATS[_format(options)],
        stage1=options.stage1,
        caption=options.caption,
        caption_tiles=options.caption_tiles,
        save_captions=options.save_captions,
        metadata=not options.no_metadata,
        mask=options.mask,
    )


def _format(options: argparse.Namespace) -> str:
    """The format of the results, of which the name of a single one may speak too."""
    output = options.output
    named = format_of(output) if output.suffix.lower() in KNOWN_SUFFIXES and not output.is_dir() else None
    if named and options.format not in (None, named):
        raise ValueError(
            f"{output} is not a name for --format {options.format}; name a file of {FORMATS[options.format]}"
        )
    chosen = options.format or named or "png"
    if options.quality is not None and chosen not in ("jpeg", "webp"):
        raise ValueError(f"--quality is for --format jpeg and webp; {chosen} keeps every pixel as it is")
    return chosen
