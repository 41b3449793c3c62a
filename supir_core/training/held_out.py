"""Held-out pictures: damaged once, restored as the training goes, measured, and shown beside each other."""

from __future__ import annotations

import numpy as np
import torch

from ..command.caption_files import captioned_pictures
from ..evaluation.degradation import damage, enlarged
from ..evaluation.metrics import gmsd, psnr
from ..files.pictures import read_picture, write_picture
from ..restoration.canvas import middle, resize
from ..restoration.transparency import opaque
from .config import TrainingConfig
from .data import Batch, latent_noise
from .loop import Loop
from .stages import Stage

LEVEL = 500
"""Training noise level from which the networks that do not restore alone have to find the picture."""


class HeldOut:
    """The middles of pictures that are never learnt.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: one cannot be read.
    """

    def __init__(self, config: TrainingConfig):
        side, self.batches = config.side, []
        for number, (path, caption) in enumerate(captioned_pictures(config.held_out)):
            picture = opaque(read_picture(path))
            short = min(picture.shape[2:])
            clean = resize(middle(picture, (short, short)), (side, side))
            damaged = enlarged(damage(clean, config.held_out_damage, number), (side, side))
            told = [caption], latent_noise(number, side)[None], torch.tensor([LEVEL]), torch.tensor([True])
            self.batches.append(Batch({"clean": clean, "damaged": damaged}, *told, step=config.steps))

    @torch.no_grad()
    def measure(self, stage: Stage, loop: Loop, step: int) -> None:
        """Restore all on the main process, log the distances, and write a sheet: enlarged, restored, original."""
        from accelerate.utils import send_to_device

        accelerator = loop.accelerator
        if not accelerator.is_main_process:
            return
        rows, distances = [], []
        for batch in self.batches:
            clean, damaged = batch.tensors["clean"], batch.tensors["damaged"]
            with accelerator.autocast():
                restored = stage.restored(send_to_device(batch, accelerator.device)).cpu()
            distances.append((psnr(restored, clean), gmsd(restored, clean), psnr(damaged, clean)))
            rows.append(torch.cat([damaged, restored, clean], dim=3))
        sheet = torch.cat(rows, dim=2)[0]
        write_picture(loop.folder / "held_out" / f"step_{step:06}.png", sheet)
        names = ("held_out_psnr", "held_out_gmsd", "held_out_psnr_bicubic")
        means = dict(zip(names, np.mean(distances, axis=0).tolist(), strict=True))
        loop.log(step, **means)
        loop.report(f"step {step}: " + ", ".join(f"{name} {value:.3f}" for name, value in means.items()))
        for tracker in accelerator.trackers:
            tracker.log_images({"held_out": sheet[None].numpy()}, step=step)
