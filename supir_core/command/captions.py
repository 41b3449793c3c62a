"""Captions for many pictures, of stage 1: all before the first is restored, so that each has the memory to itself."""

from __future__ import annotations

import argparse
import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial

import torch
from torch import Tensor
from tqdm import tqdm

from ..captions.models import load_captioner
from ..captions.protocol import Captioner, tile_pictures
from ..files.pictures import read_picture
from ..restoration.canvas import plan_canvas
from ..restoration.settings import CommonSettings
from ..supir.model import SupirModel
from ..supir.pipeline import read_stage1
from .batch import attempt
from .caption_files import write_captions
from .plan import Job
from .report import Report
from .task import Task
from .weights import Weights


@dataclass(frozen=True)
class Captions:
    """How the pictures are described.

    Attributes:
        model: gives the model whose stage 1 is described.
        load: gives the captioner. Both are called where there is something to describe.
        tiles: a caption for each tile.
    """

    model: Callable[[], SupirModel]
    load: Callable[[], Captioner]
    tiles: bool = False

    @classmethod
    def of(cls, options: argparse.Namespace, weights: Weights) -> Captions:
        """As a command line asks for them."""
        device = options.caption_device or options.device or ("cpu" if options.demo else None)
        load = partial(load_captioner, options.captioner, options.caption_precision, device)
        return cls(lambda: weights.model, load, options.caption_tiles)  # type: ignore[arg-type, return-value]


def caption_jobs(
    jobs: Sequence[Job],
    task: Task,
    captions: Captions,
    report: Report,
    do: Callable[[Job, Task, Captions, Report], Job | None] | None = None,
) -> list[Job]:
    """Describe the pictures that have no caption; the captioner is gone from memory afterwards.

    Returns:
        The jobs that did not fail, all with captions.
    """
    once = replace(captions, load=cache(captions.load))
    bar = tqdm(jobs, desc="captions", unit="picture", disable=report.quiet or None)
    captioned = [job if job.captions is not None else (do or caption_job)(job, task, once, report) for job in bar]
    del once
    gc.collect()  # accelerate's hooks and the model hold each other
    return [job for job in captioned if job is not None]


def caption_job(job: Job, task: Task, captions: Captions, report: Report) -> Job | None:
    """The job with what a model says of its picture; nothing where that fails."""
    picture = attempt(job, report, lambda: read_picture(job.source, task.page))
    if picture is None:
        return None
    model, captioner = captions.model(), captions.load()

    def work() -> Job:
        tiles = task.settings if captions.tiles else None
        lines = describe(stage1_of(picture, job, task, model), captioner, tiles)
        if job.caption_file is not None:
            write_captions(job.caption_file, lines)
        return replace(job, captions=lines)

    return attempt(job, report, work)


@torch.no_grad()
def stage1_of(picture: Tensor, job: Job, task: Task, model: SupirModel) -> Tensor:
    """What the degradation-robust VAE makes of a picture, at the size that is sampled, ``(1, 3, H, W)`` on the CPU."""
    layout = task.sizing(job).layout(picture)
    prepared = layout.prepare(picture)
    canvas = plan_canvas(prepared, task.settings, 1.0, layout.inner, model.min_side)
    placed = canvas.place(prepared.to(model.device))
    stage1 = read_stage1(model, placed, task.settings.vae_memory, center=False).picture
    return canvas.visible(stage1).float().cpu()


def describe(stage1: Tensor, captioner: Captioner, tiles: CommonSettings | None) -> tuple[str, ...]:
    """The caption of a picture, or those of the tiles that some settings cut it into."""
    pictures = tile_pictures(stage1, tiles) if tiles else [stage1[0]]
    return tuple(text for picture in pictures for text in captioner.caption([picture]))
