"""Negative samples: pictures made bad by the diffusion model itself (Yu et al. 2024, section 3.2).

Trained on them under the negative prompt, a model knows what guidance is to keep away from; without them that guidance
makes artefacts (their Fig. 4).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from ..command.caption_files import captioned_pictures, check_apart
from ..files.pictures import read_picture, write_picture
from ..restoration.canvas import middle_of, resize
from ..restoration.denoiser import LinearSchedule
from ..restoration.finite import require_finite
from ..restoration.noise import row_noise
from ..restoration.settings import SIDE_MULTIPLE
from ..restoration.strength import start_from
from ..restoration.transparency import opaque
from ..sdxl.model import SdxlModel
from ..supir.denoiser import GuidedDenoiser
from ..supir.sampling import ddpm_sigmas, sample_restore_edm
from .config import Negatives


def make_negatives(
    model: SdxlModel, folder: Path, output: Path, settings: Negatives, report: Callable[[str], None]
) -> None:
    """Make a bad picture, a PNG, of each picture of a folder; those that are there already are left.

    Raises:
        OSError: a folder is missing, or the disk is full.
        ValueError: a picture cannot be read, or the output lies in the folder.
    """
    check_apart({"IN": folder}, {"OUT": output})
    pictures = captioned_pictures(folder)
    for number, (path, _) in enumerate(pictures):
        target = output / f"{number:06}_{path.stem}.png"
        if not target.exists():
            clean = _fitted(opaque(read_picture(path)), settings.side)
            write_picture(target, worsened(model, clean, settings, number)[0])
            report(f"wrote {target}, {number + 1} of {len(pictures)}")


@torch.no_grad()
def worsened(model: SdxlModel, picture: Tensor, settings: Negatives, number: int = 0) -> Tensor:
    """A picture ``(1, 3, H, W)`` in [0, 1], sides multiples of 64, noised and sampled anew; of the same shape."""
    noise = row_noise(settings.seed + number, 1)
    sigmas = ddpm_sigmas(settings.steps)[-1 - max(1, round(settings.steps * settings.strength)) :]
    z = model.encode(picture.to(model.device), None)
    x = start_from(z, noise(z), sigmas)
    empty, negative = model.encode_texts(["", settings.prompt])
    cfg, control = map(LinearSchedule.of, (settings.cfg, 0.0))
    sdxl = GuidedDenoiser(model.unet, None, z, [negative], empty, cfg, control)
    with model.at_work(model.unet, wishes=[model.pixel_bytes(2) * picture.shape[2] * picture.shape[3]]):
        latent = sample_restore_edm(sdxl, x, sigmas, noise)
    return require_finite(model.decode(latent, None), "decoding").cpu()


def _fitted(picture: Tensor, side: int) -> Tensor:
    """The short side of ``side`` pixels, the long one cut in the middle to a multiple of 64, at most twice as long."""
    factor = side / min(picture.shape[2:])
    height, width = (round(length * factor) for length in picture.shape[2:])
    tall, wide = (min(length, 2 * side) // SIDE_MULTIPLE * SIDE_MULTIPLE for length in (height, width))
    return middle_of(resize(picture, (height, width)), (tall, wide))
