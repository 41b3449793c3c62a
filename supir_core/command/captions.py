"""Captions for many pictures, of stage 1: all before the first is restored, so that each has the memory to itself."""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from ..captions.protocol import Captioner, tile_pictures
from ..captions.text import fit
from ..files.pictures import read_picture
from ..restoration.canvas import plan_canvas
from ..supir.model import SupirModel
from ..supir.pipeline import read_stage1
from .batch import Batch, Job, caption_file

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Captions:
    """How the pictures are described.

    Attributes:
        model: whose stage 1 is described.
        load: gives the captioner; called where there is something to describe.
        tiles: a caption for each tile.
        save: write them beside the pictures (see ``caption_file``).
    """

    model: SupirModel
    load: Callable[[], Captioner]
    tiles: bool = False
    save: bool = False


def caption_jobs(
    jobs: Sequence[Job], batch: Batch, captions: Captions
) -> tuple[list[Job], list[tuple[Job, Exception]]]:
    """Describe the pictures that have no caption; the captioner is gone from memory afterwards.

    Returns:
        The jobs, all with captions, and those that failed.
    """
    done = [job for job in jobs if job.captions is not None]
    failures: list[tuple[Job, Exception]] = []
    if len(done) == len(jobs):
        return done, failures
    captioner = captions.load()
    for job in tqdm([job for job in jobs if job.captions is None], desc="captions", unit="picture"):
        try:
            lines = describe(stage1_of(job.source, batch, captions.model), captioner, batch, captions)
            if captions.save:
                _write(caption_file(job.source, captions.tiles), lines)
            done.append(replace(job, captions=lines))
        except (OSError, ValueError, RuntimeError) as error:
            log.debug("traceback of %s", job.source, exc_info=True)
            failures.append((job, error))
    del captioner
    gc.collect()  # accelerate's hooks and the model hold each other
    return done, failures


@torch.no_grad()
def stage1_of(source: Path, batch: Batch, model: SupirModel) -> Tensor:
    """What the degradation-robust VAE makes of a picture, at the size that is sampled, ``(1, 3, H, W)`` on the CPU."""
    picture = read_picture(source)
    canvas = plan_canvas(picture, batch.settings, batch.scale, batch.size, model.min_side)
    placed = canvas.place(picture[:, :3].to(model.device))
    stage1 = read_stage1(model, placed, batch.settings.vae_memory, center=False).picture
    return canvas.visible(stage1).float().cpu()


def describe(stage1: Tensor, captioner: Captioner, batch: Batch, captions: Captions) -> tuple[str, ...]:
    """The caption of a picture, or those of its tiles, no longer than CLIP reads."""
    pictures = tile_pictures(stage1, batch.settings.latent_tile) if captions.tiles else [stage1[0]]
    tokenizer = captions.model.text.tokenizer
    texts = (text for picture in pictures for text in captioner.caption([picture]))
    return tuple(fit(text, lambda words: len(tokenizer(words).input_ids)) for text in texts)


def _write(path: Path, lines: Sequence[str]) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
