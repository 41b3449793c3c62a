"""Negative samples: pictures made bad by the diffusion model itself (Yu et al. 2024, section 3.2).

Trained on them under the negative prompt, a model knows what guidance is to keep away from; without them that guidance
makes artefacts (their Fig. 4).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from ..files.checkpoint import open_checkpoint
from ..files.kinds import SDXL
from ..files.pictures import write_picture
from ..restoration.canvas import resize
from ..restoration.denoiser import Denoiser
from ..restoration.finite import require_finite
from ..restoration.noise import row_noise
from ..restoration.settings import SIDE_MULTIPLE
from ..sdxl.conditioning import Conditioning
from ..sdxl.memory import vae_dtype
from ..sdxl.model import SdxlModel, defaults, load_text, load_unet, load_vae
from ..sdxl.schedule import nearest_index, training_sigmas
from ..sdxl.text import load_tokenizer
from ..supir.sampling import ddpm_sigmas, sample_restore_edm
from .config import Negatives
from .data import Pictures

LONGEST = 2
"""How many times its short side a picture may be long; the rest of it is cut off."""


def load_sdxl(
    path: str | Path, tokenizer: str | None = None, device: str | None = None, dtype: torch.dtype | None = None
) -> SdxlModel:
    """Load SDXL alone; arguments as in ``load_model``."""
    where, precision = defaults(device, dtype)
    base = open_checkpoint(path, SDXL)
    unet = load_unet(base, precision)
    vae, text = load_vae(base, vae_dtype(where, precision)), load_text(base, load_tokenizer(tokenizer), precision)
    return SdxlModel(unet, vae, text, where, (base.path,))


def make_negatives(
    model: SdxlModel, folder: Path, output: Path, settings: Negatives, report: Callable[[str], None]
) -> None:
    """Make a bad picture, a PNG, of each picture of a folder; those that are there already are left.

    Raises:
        OSError: a folder is missing, or the disk is full.
        ValueError: a picture cannot be read.
    """
    pictures = Pictures(str(folder))
    for number, path in enumerate(pictures.paths):
        target = output / f"{number:06}_{path.stem}.png"
        if not target.exists():
            write_picture(target, worsened(model, _fitted(pictures.read(number), settings.side), settings, number)[0])
            report(f"wrote {target}, {number + 1} of {len(pictures)}")


@torch.no_grad()
def worsened(model: SdxlModel, picture: Tensor, settings: Negatives, number: int = 0) -> Tensor:
    """A picture ``(1, 3, H, W)`` in [0, 1], sides multiples of 64, noised and sampled anew; of the same shape."""
    noise = row_noise(settings.seed + number, 1)
    sigmas = ddpm_sigmas(settings.steps)[-1 - max(1, round(settings.steps * settings.strength)) :]
    z = model.encode(picture.to(model.device), None)
    x = z + sigmas[0].item() * noise(z)
    empty, negative = model.encode_texts(["", settings.prompt])
    with model.at_work(model.unet, wishes=[model.pixel_bytes(2) * picture.shape[2] * picture.shape[3]]):
        latent = sample_restore_edm(
            _guided(model, Conditioning.concatenate([empty, negative]), settings.cfg), x, sigmas, noise
        )
    return require_finite(model.decode(latent, None), "decoding").cpu()


def _guided(model: SdxlModel, text: Conditioning, cfg: float) -> Denoiser:
    """SDXL's denoiser under two prompts, led from the first to the second."""
    unet = model.unet
    context, y = (t.to(model.device, unet.dtype) for t in (text.context, text.vector))

    def denoise(x: Tensor, sigma: Tensor, schedule_sigma: float) -> Tensor:
        index = nearest_index(sigma)
        level = training_sigmas(x.device)[index][:, None, None, None]
        scaled = (x / (level**2 + 1).sqrt()).to(unet.dtype)
        first, second = unet(scaled.repeat(2, 1, 1, 1), index.repeat(2), context, y).float().chunk(2)
        return x - level * (first + cfg * (second - first))

    return denoise


def _fitted(picture: Tensor, side: int) -> Tensor:
    """The short side of ``side`` pixels, the long one cut in the middle to a multiple of 64."""
    height, width = picture.shape[2:]
    short = min(height, width)
    inner = [min(round(length * side / short), LONGEST * side) for length in (height, width)]
    high, wide = (length // SIDE_MULTIPLE * SIDE_MULTIPLE for length in inner)
    cut_high, cut_wide = (min(length, round(part * short / side)) for length, part in ((height, high), (width, wide)))
    top, left = (height - cut_high) // 2, (width - cut_wide) // 2
    return resize(picture[..., top : top + cut_high, left : left + cut_wide], (high, wide))
