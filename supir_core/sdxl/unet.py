"""SDXL's UNet, and the encoder half that it shares with the adaptor."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from .blocks import (
    Attention,
    Downsample,
    ResBlock,
    SpatialTransformer,
    TextContext,
    Upsample,
    attention,
    timestep_embedding,
)
from .config import UNetConfig


class Fusion(Protocol):
    """What may act on the UNet's features; ComfyUI offers the same three places as patches."""

    def middle(self, h: Tensor) -> Tensor:
        """Replace the middle block's output."""
        ...

    def join(self, block: int, h: Tensor, skip: Tensor) -> Tensor:
        """Join decoder features and skip into the input of output block ``block``."""
        ...

    def before_upsample(self, block: int, h: Tensor) -> Tensor:
        """Replace the input of the Upsample in output block ``block``."""
        ...


class PlainFusion:
    """SDXL as it is: skips are concatenated."""

    def middle(self, h: Tensor) -> Tensor:
        """Leave the middle block's output alone."""
        return h

    def join(self, block: int, h: Tensor, skip: Tensor) -> Tensor:
        """Concatenate, decoder channels first."""
        return torch.cat([h, skip], dim=1)

    def before_upsample(self, block: int, h: Tensor) -> Tensor:
        """Leave the Upsample's input alone."""
        return h


class Encoder(nn.Module):
    """Embeddings, nine input blocks and the middle block of an SDXL UNet."""

    def __init__(self, config: UNetConfig, operations: Any = nn, attention: Attention = attention):
        super().__init__()
        self.config = config
        width, emb = config.widths[0], config.embedding_width
        self.time_embed = nn.Sequential(operations.Linear(width, emb), nn.SiLU(), operations.Linear(emb, emb))
        self.label_emb = nn.Sequential(
            nn.Sequential(operations.Linear(config.vector_width, emb), nn.SiLU(), operations.Linear(emb, emb))
        )
        self.input_blocks = nn.ModuleList(_input_blocks(config, operations, attention))
        last = config.widths[2]
        self.middle_block = nn.ModuleList(
            [
                ResBlock(last, emb, last, operations),
                *_transformer(config, 2, config.middle_depth, operations, attention),
                ResBlock(last, emb, last, operations),
            ]
        )

    @property
    def dtype(self) -> torch.dtype:
        """Precision to compute in: that of the norms, as other weights may be kept in fewer bits."""
        return next(p.dtype for p in self.parameters() if p.ndim == 1)

    def embed(self, timesteps: Tensor, y: Tensor) -> Tensor:
        """Sum of the timestep's and the vector's embedding, ``(B, 4 * widths[0])``."""
        sinusoid = timestep_embedding(timesteps, self.config.widths[0]).to(y.dtype)
        return self.time_embed(sinusoid) + self.label_emb(y)


class UNet(Encoder):
    """SDXL's UNet; ``fusion`` may replace how encoder and decoder meet."""

    def __init__(self, config: UNetConfig, operations: Any = nn, attention: Attention = attention):
        super().__init__(config, operations, attention)
        self.output_blocks = nn.ModuleList(_output_blocks(config, operations, attention))
        width = config.widths[0]
        self.out = nn.Sequential(
            operations.GroupNorm(32, width),
            nn.SiLU(),
            operations.Conv2d(width, config.in_channels, 3, padding=1),
        )

    def forward(
        self,
        x: Tensor,
        timesteps: Tensor,
        context: Tensor | TextContext,
        y: Tensor,
        fusion: Fusion | None = None,
    ) -> Tensor:
        """Predict the noise in ``x``.

        Args:
            x: scaled noisy latent, ``(B, 4, h, w)``, any size.
            timesteps: training timestep indices, ``(B,)``.
            context: text tokens, ``(B, T, context_width)``, or a TextContext of them, which spares work at later calls.
            y: pooled text and sizes, ``(B, vector_width)``.
            fusion: what acts between encoder and decoder; plain SDXL where none is given.
        """
        fusion = fusion or PlainFusion()
        emb = self.embed(timesteps, y)
        skips: list[Tensor] = []
        h = x
        for block in self.input_blocks:
            h = run_block(block, h, emb, context)
            skips.append(h)
        h = fusion.middle(run_block(self.middle_block, h, emb, context))
        for index, block in enumerate(self.output_blocks):
            h = fusion.join(index, h, skips.pop())
            for layer in block.children():
                if isinstance(layer, Upsample):
                    height, width = skips[-1].shape[2:]
                    h = layer(fusion.before_upsample(index, h), (height, width))
                else:
                    h = run_layer(layer, h, emb, context)
        return self.out(h)


def run_block(block: nn.Module, h: Tensor, emb: Tensor, context: Tensor | TextContext | None) -> Tensor:
    """Run the layers of one block, each with the inputs of its kind."""
    for layer in block.children():
        h = run_layer(layer, h, emb, context)
    return h


def run_layer(layer: nn.Module, h: Tensor, emb: Tensor, context: Tensor | TextContext | None) -> Tensor:
    """Run one layer of a block."""
    if isinstance(layer, ResBlock):
        return layer(h, emb)
    if isinstance(layer, SpatialTransformer):
        return layer(h, context)
    return layer(h)


def _transformer(config: UNetConfig, level: int, depth: int, operations: Any, attention: Attention) -> list[nn.Module]:
    if not depth:
        return []
    return [SpatialTransformer(config.widths[level], depth, config.context_width, operations, attention)]


def _input_blocks(config: UNetConfig, operations: Any, attention: Attention) -> list[nn.Module]:
    """Blocks 0 (convolution), 1-2, 3 (down), 4-5, 6 (down), 7-8."""
    blocks = [nn.ModuleList([operations.Conv2d(config.in_channels, config.widths[0], 3, padding=1)])]
    channels = config.widths[0]
    for level, width in enumerate(config.widths):
        if level:
            blocks.append(nn.ModuleList([Downsample(channels, operations)]))
        for _ in range(2):
            depth = config.input_depths[len(blocks)]
            residual = ResBlock(channels, config.embedding_width, width, operations)
            blocks.append(nn.ModuleList([residual, *_transformer(config, level, depth, operations, attention)]))
            channels = width
    return list(blocks)


def _output_blocks(config: UNetConfig, operations: Any, attention: Attention) -> list[nn.Module]:
    """Three blocks a level, coarsest first; an Upsample ends each level but the finest."""
    first, second, third = config.widths
    skips = [first, first, first, first, second, second, second, third, third]
    channels = third
    blocks: list[nn.Module] = []
    for level in (2, 1, 0):
        for position in range(3):
            width = config.widths[level]
            depth = config.output_depths[len(blocks)]
            residual = ResBlock(channels + skips.pop(), config.embedding_width, width, operations)
            layers = [residual, *_transformer(config, level, depth, operations, attention)]
            if position == 2 and level:
                layers.append(Upsample(width, operations))
            blocks.append(nn.ModuleList(layers))
            channels = width
    return blocks
