"""Held-out pictures: damaged once, restored as the training goes, measured, and shown beside each other."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..evaluation.degradation import SETTINGS, degrade
from ..evaluation.metrics import gmsd, psnr
from ..files.pictures import write_picture
from ..instantir.model import InstantIRModel
from ..instantir.pipeline import restore_instantir
from ..instantir.settings import InstantSettings
from ..restoration.canvas import resize
from ..sdxl.vae import from_unit, to_unit
from ..supir.model import SupirModel
from ..supir.pipeline import restore
from ..supir.settings import PRESETS
from .config import TrainingConfig
from .data import Batch, Pictures
from .instantir_stages import AggregatorStage, DCPStage, PreviewerStage
from .losses import noised
from .stages import AdaptorStage, DREncoderStage, Stage, decode, encode

LEVEL = 500
"""Training noise level from which the networks that do not restore alone have to find the picture."""


class HeldOut:
    """The middles of pictures that are never learnt.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: one cannot be read.
    """

    def __init__(self, config: TrainingConfig):
        self.config = config
        pictures = Pictures(config.held_out)
        self.captions = pictures.captions
        self.originals = [_middle(pictures.read(number), config.side) for number in range(len(pictures))]
        setting = SETTINGS[config.held_out_damage]
        self.damaged = [degrade(original, setting, seed) for seed, original in enumerate(self.originals)]

    @torch.no_grad()
    def measure(self, loop: Any, step: int) -> None:
        """Restore all on the main process, log the distances, and write a sheet: enlarged, restored, original."""
        accelerator, side = loop.accelerator, self.config.side
        if not accelerator.is_main_process:
            return
        rows = []
        distances: dict[str, list[float]] = {"psnr": [], "gmsd": [], "psnr_bicubic": []}
        with accelerator.autocast():
            for original, damaged, caption in zip(self.originals, self.damaged, self.captions, strict=True):
                restored = restored_by(loop.module, damaged, original, caption, accelerator.device)
                enlarged = resize(damaged, (side, side))
                distances["psnr"].append(psnr(restored, original))
                distances["gmsd"].append(gmsd(restored, original))
                distances["psnr_bicubic"].append(psnr(enlarged, original))
                rows.append(torch.cat([enlarged, restored, original], dim=3))
        sheet = torch.cat(rows, dim=2)[0]
        write_picture(loop.folder / "held_out" / f"step_{step:06}.png", sheet)
        means = {f"held_out_{name}": float(np.mean(values)) for name, values in distances.items()}
        loop.log(step, **means)
        loop.report(f"step {step}, held out: " + ", ".join(f"{name} {value:.3f}" for name, value in means.items()))
        for tracker in accelerator.trackers:
            tracker.log_images({"held_out": sheet[None].numpy()}, step=step)


def restored_by(stage: Stage, damaged: Tensor, original: Tensor, caption: str, device: torch.device) -> Tensor:
    """What a stage makes of a picture, ``(1, 3, side, side)`` in [0, 1].

    The adaptor and the aggregator restore, the encoder's latent is decoded. The adapter and the previewer are shown the
    original at a middle noise level, as the picture is not theirs to place.
    """
    side, frozen = original.shape[-1], stage.frozen
    enlarged = (resize(damaged, (side, side)) * 255).round() / 255
    if isinstance(stage, DREncoderStage):
        z = encode(frozen.vae, from_unit(enlarged.to(device)), stage.encoder)
        return to_unit(decode(frozen.vae, z)).cpu()
    if isinstance(stage, AdaptorStage):
        settings = replace(PRESETS[stage.config.held_out_preset], steps=stage.config.held_out_steps, min_side=side)
        parts = {"unet": frozen.unet, "vae": frozen.vae, "text": frozen.text, "dr_encoder": frozen.dr_encoder}
        model = SupirModel(**parts, adaptor=stage.adaptor, device=device, files=(), memory="full")
        return restore(model, damaged, settings, scale=1.0, size=(side, side), caption=caption).image
    if isinstance(stage, AggregatorStage):
        parts = {name: getattr(frozen, name) for name in ("unet", "vae", "text", "adapter", "previewer", "dino")}
        model = InstantIRModel(**parts, aggregator=stage.aggregator, device=device, files=(), memory="full")
        settings = InstantSettings(steps=stage.config.held_out_steps, min_side=side)
        return restore_instantir(model, damaged, settings, size=(side, side), caption=caption).image
    assert isinstance(stage, (DCPStage, PreviewerStage))
    return to_unit(decode(frozen.vae, found_again(stage, enlarged, original, device))).cpu()


def found_again(stage: DCPStage | PreviewerStage, enlarged: Tensor, original: Tensor, device: torch.device) -> Tensor:
    """The latent that a stage finds in noise, of a picture whose damaged form DINOv2 sees."""
    tensors = {"clean": original.to(device), "damaged": enlarged.to(device)}
    batch = Batch(
        0, tensors, [""], [0], torch.tensor([LEVEL], device=device), torch.ones(1, dtype=torch.bool, device=device)
    )
    z = stage.encoded(batch)
    x, sigma = noised(z["target"], batch.index, batch.noise(z["target"]))
    features, text = stage.perceived(batch, z), stage.conditions(batch, z)
    if isinstance(stage, PreviewerStage):
        return stage.preview(x, batch.index, features, text)
    eps = stage.predict(stage.frozen.unet, stage.adapter, x, batch.index, features, text)
    return x * (1 + sigma**2).sqrt() - sigma * eps.float()


def _middle(picture: Tensor, side: int) -> Tensor:
    """The square in the middle, resized to a side."""
    height, width = picture.shape[2:]
    short = min(height, width)
    top, left = (height - short) // 2, (width - short) // 2
    return resize(picture[..., top : top + short, left : left + short], (side, side))
