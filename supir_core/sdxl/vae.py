"""SDXL's VAE, with the attribute names of the checkpoints.

The degradation-robust encoder (Yu et al. 2024, section 3.1) is a second ``Encoder`` of the same form,
fine-tuned to see through damage; decoder and quantisation layers are shared.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from .attention import SCORES
from .blocks import Attention, attention
from .config import LATENT_PIXELS, LATENT_SCALE, VAEConfig
from .large_vae import run_decoder, run_encoder

EPS = 1e-6


class ResnetBlock(nn.Module):
    """Residual block without an embedding."""

    def __init__(self, channels: int, out_channels: int, operations: Any = nn):
        super().__init__()
        self.norm1 = operations.GroupNorm(32, channels, eps=EPS)
        self.conv1 = operations.Conv2d(channels, out_channels, 3, padding=1)
        self.norm2 = operations.GroupNorm(32, out_channels, eps=EPS)
        self.conv2 = operations.Conv2d(out_channels, out_channels, 3, padding=1)
        if channels != out_channels:
            self.nin_shortcut = operations.Conv2d(channels, out_channels, 1)

    def shortcut(self, x: Tensor) -> Tensor:
        """The input at the output's width."""
        return self.nin_shortcut(x) if hasattr(self, "nin_shortcut") else x

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        return self.shortcut(x) + self.conv2(F.silu(self.norm2(h)))


class AttnBlock(nn.Module):
    """Self-attention of one head over all pixels."""

    def __init__(self, channels: int, operations: Any = nn, attention: Attention = attention):
        super().__init__()
        self.norm = operations.GroupNorm(32, channels, eps=EPS)
        self.q = operations.Conv2d(channels, channels, 1)
        self.k = operations.Conv2d(channels, channels, 1)
        self.v = operations.Conv2d(channels, channels, 1)
        self.proj_out = operations.Conv2d(channels, channels, 1)
        self.attention = attention

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        # in rows: of columns PyTorch's kernels write all the scores down, on the CPU twice
        q, k, v = (rearrange(layer(h), "b c h w -> b (h w) c").contiguous() for layer in (self.q, self.k, self.v))
        # on a GPU a head this wide may take such a kernel all the same
        block = q.shape[1] if x.device.type == "cpu" else max(1, SCORES // k.shape[1])
        out = torch.cat([self.attention(queries, k, v, 1) for queries in q.split(block, dim=1)], dim=1)
        out = rearrange(out, "b (h w) c -> b c h w", h=x.shape[2])
        return x + self.proj_out(out)


class Downsample(nn.Module):
    """Convolution of stride 2, padded at the right and the bottom only."""

    def __init__(self, channels: int, operations: Any = nn):
        super().__init__()
        self.conv = operations.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Nearest-neighbour enlargement by two, then a convolution."""

    def __init__(self, channels: int, operations: Any = nn):
        super().__init__()
        self.conv = operations.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class Middle(nn.Module):
    """Residual, attention, residual at the coarsest level."""

    def __init__(self, channels: int, operations: Any = nn, attention: Attention = attention):
        super().__init__()
        self.block_1 = ResnetBlock(channels, channels, operations)
        self.attn_1 = AttnBlock(channels, operations, attention)
        self.block_2 = ResnetBlock(channels, channels, operations)

    def forward(self, x: Tensor) -> Tensor:
        return self.block_2(self.attn_1(self.block_1(x)))


class Encoder(nn.Module):
    """Picture ``(B, 3, H, W)`` in [-1, 1] -> moments ``(B, 8, H/8, W/8)`` before the quantisation layer."""

    def __init__(self, config: VAEConfig, operations: Any = nn, attention: Attention = attention):
        super().__init__()
        channels = config.stem
        self.conv_in = operations.Conv2d(3, channels, 3, padding=1)
        self.down = nn.ModuleList()
        for index, width in enumerate(config.widths):
            level = nn.Module()
            level.block = nn.ModuleList()
            for _ in range(config.blocks):
                level.block.append(ResnetBlock(channels, width, operations))
                channels = width
            if index < len(config.widths) - 1:
                level.downsample = Downsample(channels, operations)
            self.down.append(level)
        self.mid = Middle(channels, operations, attention)
        self.norm_out = operations.GroupNorm(32, channels, eps=EPS)
        self.conv_out = operations.Conv2d(channels, 2 * config.latent_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv_in(x)
        for level in self.down:
            for layer in level.children():
                h = _run(layer, h)
        return self.conv_out(F.silu(self.norm_out(self.mid(h))))


class Decoder(nn.Module):
    """Latent ``(B, 4, h, w)`` after the quantisation layer -> picture ``(B, 3, 8h, 8w)``."""

    def __init__(self, config: VAEConfig, operations: Any = nn, attention: Attention = attention):
        super().__init__()
        channels = config.widths[-1]
        self.conv_in = operations.Conv2d(config.latent_channels, channels, 3, padding=1)
        self.mid = Middle(channels, operations, attention)
        levels: list[nn.Module] = []
        for index, width in reversed(list(enumerate(config.widths))):
            level = nn.Module()
            level.block = nn.ModuleList()
            for _ in range(config.blocks + 1):
                level.block.append(ResnetBlock(channels, width, operations))
                channels = width
            if index:
                level.upsample = Upsample(channels, operations)
            levels.insert(0, level)
        self.up = nn.ModuleList(levels)
        self.norm_out = operations.GroupNorm(32, channels, eps=EPS)
        self.conv_out = operations.Conv2d(channels, 3, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        h = self.mid(self.conv_in(z))
        for level in reversed(self.up):
            for layer in level.children():
                h = _run(layer, h)
        return self.conv_out(F.silu(self.norm_out(h)))


class VAE(nn.Module):
    """Encoder, decoder and the two quantisation layers of an SDXL checkpoint (``first_stage_model.*``)."""

    def __init__(self, config: VAEConfig, operations: Any = nn, attention: Attention = attention):
        super().__init__()
        channels = config.latent_channels
        self.encoder = Encoder(config, operations, attention)
        self.decoder = Decoder(config, operations, attention)
        self.quant_conv = operations.Conv2d(2 * channels, 2 * channels, 1)
        self.post_quant_conv = operations.Conv2d(channels, channels, 1)

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the weights."""
        return self.quant_conv.weight.dtype

    def encode(self, image: Tensor, encoder: Encoder | None = None, side: int | None = None) -> Tensor:
        """Encode to the mode of the posterior, times 0.13025.

        Args:
            image: ``(B, 3, H, W)`` in [-1, 1], both sides multiples of 8.
            encoder: the degradation-robust encoder; SDXL's own where none is given.
            side: largest picture, as the side of a square in pixels, that is encoded in one piece (see ``run_encoder``);
                the result is the same. ``None``: what fits the free memory.

        Returns:
            ``(B, 4, H/8, W/8)``, scaled latent units.

        Raises:
            ValueError: a side is not a multiple of 8.
        """
        height, width = image.shape[2:]
        if height % LATENT_PIXELS or width % LATENT_PIXELS:
            raise ValueError(
                f"the picture must have sides that are multiples of {LATENT_PIXELS}, got {width}x{height}; "
                "pad or crop it first"
            )
        moments = run_encoder(encoder or self.encoder, image, side)
        return self.quant_conv(moments).chunk(2, dim=1)[0] * LATENT_SCALE

    def decode(self, latent: Tensor, side: int | None = None) -> Tensor:
        """Decode scaled latents ``(B, 4, h, w)`` to pictures ``(B, 3, 8h, 8w)``, about [-1, 1], not clamped.

        ``side`` is as in :meth:`encode`.
        """
        return run_decoder(self.decoder, self.post_quant_conv(latent / LATENT_SCALE), side)


def _run(layer: nn.Module, h: Tensor) -> Tensor:
    """Run a sampler layer, or the residual blocks of a level one after the other."""
    if isinstance(layer, nn.ModuleList):
        for block in layer:
            h = block(h)
        return h
    return layer(h)


def to_unit(image: Tensor) -> Tensor:
    """[-1, 1] -> [0, 1], clamped, float32."""
    return (image.float() * 0.5 + 0.5).clamp_(0, 1)


def from_unit(image: Tensor) -> Tensor:
    """[0, 1] -> [-1, 1]."""
    return torch.add(image * 2, -1)
