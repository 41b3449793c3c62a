"""Text and size conditions of the UNet, and the paper's quality prompts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .blocks import timestep_embedding
from .memory import upload

SIZE_CONDITION = (1024, 1024, 0, 0, 1024, 1024)
"""SDXL's original size, crop and target size: as released always these, whatever the picture's size."""

SIZE_WIDTH = 256
"""Channels of the sinusoid of each of its numbers."""


@dataclass(frozen=True, eq=False)
class Conditioning:
    """What the UNet knows besides the latent.

    Attributes:
        context: text tokens, ``(B, T, context_width)``.
        vector: pooled text, then the sizes as sinusoids, ``(B, vector_width)``.
    """

    context: Tensor
    vector: Tensor

    @classmethod
    def from_text(cls, context: Tensor, pooled: Tensor, sizes: Sequence[float] = SIZE_CONDITION) -> Conditioning:
        """Add the size condition to encoded text; ``pooled`` is ``(B, pooled_width)``."""
        sinusoids = timestep_embedding(upload(torch.tensor(sizes), pooled.device), SIZE_WIDTH).flatten()
        return cls(context, torch.cat([pooled, sinusoids.to(pooled).expand(len(pooled), -1)], dim=1))

    @classmethod
    def concatenate(cls, parts: Sequence[Conditioning]) -> Conditioning:
        """Rows of all the parts, in order.

        Shorter contexts are repeated to the length of the longer ones, which changes nothing of what attention takes from
        them.
        """
        length = math.lcm(*(part.context.shape[1] for part in parts))
        contexts = [part.context.repeat(1, length // part.context.shape[1], 1) for part in parts]
        return cls(torch.cat(contexts), torch.cat([part.vector for part in parts]))

    def with_sizes(self, sizes: Sequence[float]) -> Conditioning:
        """The same text under another size condition."""
        pooled = self.vector[:, : -SIZE_WIDTH * len(SIZE_CONDITION)]
        return Conditioning.from_text(self.context, pooled, sizes)

    def rows(self, count: int) -> Conditioning:
        """The same conditions for ``count`` rows, the given ones over and over."""
        repeats = count // len(self.context)
        return Conditioning(self.context.repeat(repeats, 1, 1), self.vector.repeat(repeats, 1))
