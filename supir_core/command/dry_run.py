"""What a run would do, without the weights: sizes, tiles, calls of the networks, memory."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import prod
from typing import NamedTuple

from ..files.checkpoint import open_checkpoint
from ..files.kinds import SDXL
from ..files.pictures import read_mask, read_picture
from ..restoration.canvas import Canvas
from ..restoration.regions import find_regions, fit_mask, like_picture
from ..restoration.retry import tile_pixels
from ..restoration.sizes import AUTO, Layout
from ..restoration.tiling import count_calls
from ..sdxl.config import UNetConfig, without_prefix
from ..sdxl.memory import GIB
from ..sdxl.model import UNET, WORK_NUMBERS, min_side
from ..supir.settings import Settings
from .batch import attempt
from .costs import Load, cost_of, describe
from .output import pixel_size, result_bytes
from .plan import Job
from .report import Report
from .task import Task
from .weights import Weights


class Work(NamedTuple):
    """What a picture takes: (height, width) of the result, that at which it is worked on, tiles, calls, GiB for networks."""

    result: tuple[int, int]
    size: tuple[int, int]
    tiles: int
    plan: str
    calls: int
    memory: float


def tell_plan(jobs: Sequence[Job], task: Task, weights: Weights, report: Report) -> None:
    """Say what would be done for each picture, and in all."""
    smallest = min_side(UNetConfig.from_shapes(without_prefix(open_checkpoint(weights.files[0], SDXL).shapes, UNET)))
    in_all, loads = [], []
    for job in jobs:
        size = pixel_size(job.source, task.page)
        if size is None:
            report.say(f"{job.source} -> {job.result}: its size is not known before it is read")
            report.picture(job.source, job.result, "planned")
            continue
        work = attempt(job, report, partial(_work, job, size, task, smallest, weights))
        if work is None:
            continue
        in_all.append(work)
        written = sum(result_bytes(path, job, task) for path in job.pictures)
        loads.append(Load(work.size, work.calls, job.source.stat().st_size, written))
        report.say(
            f"{job.source} -> {job.result}: {size[1]}x{size[0]} to {work.result[1]}x{work.result[0]}, worked on at "
            f"{work.size[1]}x{work.size[0]}, {work.plan}, network calls: {work.calls}"
        )
        report.picture(job.source, job.result, "planned", tiles=work.tiles, calls=work.calls, gib=round(work.memory, 2))
    if in_all:
        report.say(
            f"pictures: {len(jobs)}, network calls: {sum(work.calls for work in in_all)}, memory on {weights.device}: about "
            f"{max(work.memory for work in in_all):.1f} GiB, less with --memory stage or stream"
        )
        report.say(describe(cost_of(loads, task.settings), len(jobs)))


def _work(job: Job, size: tuple[int, int], task: Task, smallest: int, weights: Weights) -> Work:
    """What a picture takes; one with a mask what its regions take together."""
    if job.mask is None:
        layout = _layout(job, size, task)
        return work_of(layout.inner, task, smallest, weights)._replace(result=layout.outer)
    target = task.enlarged(job, size)
    regions = find_regions(fit_mask(like_picture(read_mask(job.mask), size), target), **task.regions())
    works = [work_of(region.size, task, smallest, weights) for region in regions]
    tiles, calls = sum(work.tiles for work in works), sum(work.calls for work in works)
    memory = max((work.memory for work in works), default=0.0)
    return Work(target, target, tiles, f"regions: {len(regions)}", calls, memory)


def _layout(job: Job, size: tuple[int, int], task: Task) -> Layout:
    """What is done with a picture of some (height, width); one that is shrunk to its detail is read for that."""
    sizing = task.sizing(job)
    if sizing.shrink_first == AUTO:
        return sizing.layout(read_picture(job.source, task.page))
    return sizing.layout_for(size, float(sizing.shrink_first))


def work_of(target: tuple[int, int], task: Task, smallest: int, weights: Weights) -> Work:
    """What a result of some (height, width) takes."""
    settings = task.settings
    canvas = Canvas.plan(target, settings.min_side or smallest)
    plan = settings.plan(*canvas.latent)
    supir = isinstance(settings, Settings)
    grid = {"shifting": settings.shifting, "tiles_per_call": settings.tiles_per_call}
    rows = (2 if supir else 4) * settings.tiles_per_call
    work = rows * tile_pixels(settings, canvas.latent) * WORK_NUMBERS * weights.dtype.itemsize
    return Work(
        target,
        canvas.outer,
        prod(plan.counts(*canvas.latent)),
        plan.describe(*canvas.latent),
        count_calls(canvas.latent, plan, settings.sigmas()[:-1].tolist(), **grid),
        (weights.size + work) / GIB,
    )
