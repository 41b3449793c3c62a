"""What the last two stages of the training see: the crops as latents, and the encoded prompts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from supir_core.restoration.prompts import full_prompt
from supir_core.sdxl.conditioning import Conditioning
from supir_core.sdxl.text import TextEncoders
from supir_core.sdxl.vae import VAE, Encoder, from_unit
from supir_core.supir.settings import NEGATIVE_PROMPT, POSITIVE_PROMPT

from .demo_data import Pool, damage
from .demo_weights import CAPTIONS

NEGATIVE_SHARE, PLAIN_SHARE, EMPTY_SHARE = 0.15, 0.4, 0.1
"""Shares of rows: a damaged target under the negative prompt; quality words alone; no text at all."""


@dataclass(frozen=True)
class Latents:
    """The crops as the UNet and the adaptor get them.

    Attributes:
        target: ``(N, 4, h, w)``, clean, or damaged in the rows of the negative prompt.
        z_lq: ``(N, 4, h, w)``, what the degradation-robust encoder makes of the damaged crop.
        negative: ``(N,)``, which rows are the negative prompt's.
        captions: ``(N,)``, index into ``CAPTIONS``.
    """

    target: Tensor
    z_lq: Tensor
    negative: Tensor
    captions: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, pool: Pool, vae: VAE, dr_encoder: Encoder, seed: int) -> Latents:
        """Damage and encode all crops, once."""
        random = np.random.default_rng(seed)
        count = len(pool.clean)
        negative = torch.arange(count) < count * NEGATIVE_SHARE
        target, z_lq = [], []
        for rows in torch.arange(count).split(8):
            clean = pool.clean[rows].float() / 255
            damaged = damage(clean, random)
            shown = torch.where(negative[rows][:, None, None, None], damaged, clean)
            target.append(vae.encode(from_unit(shown).to(pool.device)).float())
            z_lq.append(vae.encode(from_unit(damaged).to(pool.device), dr_encoder).float())
        return cls(torch.cat(target), torch.cat(z_lq), negative, pool.captions)

    def batch(self, random: np.random.Generator, size: int, side: int) -> tuple[Tensor, Tensor, Tensor]:
        """Windows of ``side`` latent pixels: ``target``, ``z_lq``, and the row of ``Prompts`` that goes with each."""
        device = self.target.device
        rows = torch.from_numpy(random.integers(len(self.target), size=size)).to(device)
        top, left = random.integers(self.target.shape[-1] - side + 1, size=2)
        window = (slice(None), slice(top, top + side), slice(left, left + side))
        draws = torch.from_numpy(random.random(size)).to(device)
        prompts = torch.where(draws < PLAIN_SHARE, Prompts.PLAIN, self.captions[rows])
        prompts = torch.where(self.negative[rows], Prompts.NEGATIVE, prompts)
        prompts = torch.where(draws > 1 - EMPTY_SHARE, Prompts.EMPTY, prompts)
        return self.target[(rows, *window)], self.z_lq[(rows, *window)], prompts


class Prompts:
    """The encoded prompts: one for each caption, the quality words alone, the negative prompt, and none."""

    PLAIN, NEGATIVE, EMPTY = (len(CAPTIONS) + i for i in range(3))

    def __init__(self, text: TextEncoders, device: torch.device):
        texts = [full_prompt(caption, POSITIVE_PROMPT) for caption in CAPTIONS.values()]
        encoded = Conditioning.concatenate(text.encode([*texts, full_prompt("", POSITIVE_PROMPT), NEGATIVE_PROMPT, ""]))
        self.context, self.vector = encoded.context.to(device), encoded.vector.to(device)

    def rows(self, rows: Tensor) -> Conditioning:
        """The prompts of a batch."""
        return Conditioning(self.context[rows], self.vector[rows])
