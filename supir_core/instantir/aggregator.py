"""The aggregator: damaged picture and preview to corrections of the UNet (Huang et al. 2024, Eq. 6)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..sdxl.blocks import Attention, attention
from ..sdxl.config import LATENT_PIXELS, UNetConfig
from ..sdxl.unet import Encoder, run_block

SFT_WIDTH = 128
"""Hidden channels of every SFT, whatever the width of the model."""

HEIGHT_MULTIPLE = 4
"""The height of a latent must be a multiple of this: both pictures are halved twice, one above the other."""


class Residuals(NamedTuple):
    """Corrections of the nine skips, in the order of the input blocks, and of the middle block's output."""

    skips: list[Tensor]
    middle: Tensor

    def scaled(self, scale: Tensor) -> Residuals:
        """All of them times a scale for each row, ``(R,)``."""
        scale = scale.to(self.middle)[:, None, None, None]
        return Residuals([skip * scale for skip in self.skips], self.middle * scale)


class ResidualFusion:
    """Residuals on their way into the UNet, for one call of it: plain additions (see ``unet.Fusion``)."""

    def __init__(self, residuals: Residuals):
        self.residuals = residuals

    def middle(self, h: Tensor) -> Tensor:
        """Correct the middle block's output."""
        return h + self.residuals.middle

    def join(self, block: int, h: Tensor, skip: Tensor) -> Tensor:
        """Correct the skip into output block ``block``; the deepest comes first."""
        return torch.cat([h, skip + self.residuals.skips[-1 - block]], dim=1)

    def before_upsample(self, block: int, h: Tensor) -> Tensor:
        """Leave the Upsample's input alone."""
        return h


class SFT(nn.Module):
    """Spatial feature transform of the preview's features p by the damaged picture's c.

    ::

        a   = SiLU(mlp_shared(c))
        out = p * (1 + mul(a)) + add(a)
    """

    def __init__(self, channels: int, operations: Any = nn):
        super().__init__()
        self.mlp_shared = nn.Sequential(operations.Conv2d(channels, SFT_WIDTH, 3, padding=1), nn.SiLU())
        self.mul = operations.Conv2d(SFT_WIDTH, channels, 3, padding=1)
        self.add = operations.Conv2d(SFT_WIDTH, channels, 3, padding=1)

    def forward(self, c: Tensor, p: Tensor) -> Tensor:
        a = self.mlp_shared(c)
        return torch.addcmul(self.add(a), p, self.mul(a) + 1)


class Aggregator(Encoder):
    """SDXL's encoder without text, over the damaged picture's latent and the preview, one above the other.

    The two meet in the convolutions at the seam, in the GroupNorms and in the self-attentions, all of which see one
    picture of twice the height, as released. Each feature is then split again and joined by an SFT and a convolution
    (release: ``aggregator.pt``).

    Args:
        config: sizes of the UNet whose features are corrected.
        operations: where the layers come from, ``torch.nn`` or the host's namespace of the same form.
        attention: the attention function.
    """

    def __init__(self, config: UNetConfig, operations: Any = nn, attention: Attention = attention):
        super().__init__(replace(config, context_width=0, output_depths=()), operations, attention)
        fine, middle, coarse = config.widths
        self.ref_conv_in = operations.Conv2d(config.in_channels, fine, 3, padding=1)
        self.controlnet_down_blocks = nn.ModuleList(
            _fuse(width, operations) for width in (*[fine] * 4, *[middle] * 3, *[coarse] * 2)
        )
        self.controlnet_mid_block = _fuse(coarse, operations)

    def forward(self, z_lq: Tensor, preview: Tensor, timesteps: Tensor, y: Tensor) -> Residuals:
        """Make the residuals.

        Args:
            z_lq: latent of the damaged picture, ``(R, 4, h, w)``, scaled; h a multiple of 4.
            preview: preview latent of the same shape.
            timesteps: training timestep indices, ``(R,)``.
            y: pooled text and sizes, ``(R, vector_width)``.

        Raises:
            ValueError: the height is not a multiple of 4.
        """
        check_height(z_lq.shape[2])
        emb = self.embed(timesteps, y)
        h = torch.cat([run_block(self.input_blocks[0], z_lq, emb, None), self.ref_conv_in(preview)], dim=2)
        skips = [_split(self.controlnet_down_blocks[0], h)]
        for block, fuse in zip(list(self.input_blocks)[1:], list(self.controlnet_down_blocks)[1:], strict=True):
            h = run_block(block, h, emb, None)
            skips.append(_split(fuse, h))
        return Residuals(skips, _split(self.controlnet_mid_block, run_block(self.middle_block, h, emb, None)))


def check_height(height: int) -> None:
    """Refuse latents that the aggregator cannot stack.

    Raises:
        ValueError: the height is not a multiple of 4.
    """
    if height % HEIGHT_MULTIPLE:
        pixels = HEIGHT_MULTIPLE * LATENT_PIXELS
        raise ValueError(
            f"InstantIR needs pictures whose height is a multiple of {pixels} pixels, got {height * LATENT_PIXELS}; "
            f"pad or resize the picture to {-(-height // HEIGHT_MULTIPLE) * pixels} pixels"
        )


def _fuse(channels: int, operations: Any) -> nn.ModuleList:
    return nn.ModuleList([SFT(channels, operations), operations.Conv2d(channels, channels, 1)])


def _split(fuse: nn.Module, h: Tensor) -> Tensor:
    """Fuse the upper half of a feature, the damaged picture's, with the lower, the preview's."""
    sft, out = fuse.children()
    return out(sft(*h.chunk(2, dim=2)))
