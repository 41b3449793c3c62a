"""The resampler: DINOv2 features of the damaged picture to a few tokens that the UNet can read.

A perceiver (Jaegle et al. 2021; Huang et al. 2024, InstantIR).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..sdxl.blocks import Attention, attention
from ..sdxl.config import HEAD_WIDTH, Shapes


@dataclass(frozen=True)
class ResamplerConfig:
    """Sizes of a resampler.

    Attributes:
        width: channels of the latents, released 1280.
        depth: layers, released 4.
        tokens: how many tokens come out, released 64.
        feature_width: channels of the features that are read, DINOv2-L 1024.
        context_width: channels of the tokens, SDXL 2048.
        inner: channels of all heads together, released 1280.
        hidden: channels inside the feed-forward layers, released 5120.
        head_width: channels of a head; no shape tells it, released 64.
    """

    width: int
    depth: int
    tokens: int
    feature_width: int
    context_width: int
    inner: int
    hidden: int
    head_width: int = HEAD_WIDTH

    @classmethod
    def from_shapes(cls, shapes: Shapes) -> ResamplerConfig:
        """Read the sizes from the shapes of a resampler's state dict.

        Raises:
            KeyError: a key that every resampler has is missing.
        """
        depth = 0
        while f"layers.{depth}.0.to_q.weight" in shapes:
            depth += 1
        return cls(
            width=shapes["latents"][2],
            depth=depth,
            tokens=shapes["latents"][1],
            feature_width=shapes["proj_in.weight"][1],
            context_width=shapes["proj_out.weight"][0],
            inner=shapes["layers.0.0.to_q.weight"][0],
            hidden=shapes["layers.0.1.1.weight"][0],
        )


class PerceiverAttention(nn.Module):
    """Attention of the latents over the features and themselves.

    ::

        k, v = to_kv([norm1(x) ; norm2(latents)])
        out  = to_out(attention(to_q(norm2(latents)), k, v))
    """

    def __init__(self, config: ResamplerConfig, operations: Any = nn, attention: Attention = attention):
        super().__init__()
        self.heads = config.inner // config.head_width
        self.attention = attention
        self.norm1 = operations.LayerNorm(config.width)
        self.norm2 = operations.LayerNorm(config.width)
        self.to_q = operations.Linear(config.width, config.inner, bias=False)
        self.to_kv = operations.Linear(config.width, 2 * config.inner, bias=False)
        self.to_out = operations.Linear(config.inner, config.width, bias=False)

    def forward(self, x: Tensor, latents: Tensor) -> Tensor:
        latents = self.norm2(latents)
        k, v = self.to_kv(torch.cat([self.norm1(x), latents], dim=1)).chunk(2, dim=-1)
        return self.to_out(self.attention(self.to_q(latents), k, v, self.heads))


class Resampler(nn.Module):
    """Features to tokens (release: ``image_proj``).

    The features are projected once and read by every layer; only the latents change. There is no time input, so the
    tokens of a picture hold for a whole sampling run.
    """

    def __init__(self, config: ResamplerConfig, operations: Any = nn, attention: Attention = attention):
        super().__init__()
        self.config = config
        self.latents = nn.Parameter(torch.empty(1, config.tokens, config.width))
        self.proj_in = operations.Linear(config.feature_width, config.width)
        self.layers = nn.ModuleList(
            nn.ModuleList([PerceiverAttention(config, operations, attention), _feed_forward(config, operations)])
            for _ in range(config.depth)
        )
        self.proj_out = operations.Linear(config.width, config.context_width)
        self.norm_out = operations.LayerNorm(config.context_width)

    def forward(self, features: Tensor) -> Tensor:
        """Read features ``(B, 257, feature_width)``: ``(B, tokens, context_width)``."""
        x = self.proj_in(features)
        latents = self.latents.to(x).expand(len(x), -1, -1)
        for attend, feed_forward in self.layers:  # type: ignore[misc]
            latents = latents + attend(x, latents)
            latents = latents + feed_forward(latents)
        return self.norm_out(self.proj_out(latents))


def _feed_forward(config: ResamplerConfig, operations: Any) -> nn.Sequential:
    return nn.Sequential(
        operations.LayerNorm(config.width),
        operations.Linear(config.width, config.hidden, bias=False),
        nn.GELU(),
        operations.Linear(config.hidden, config.width, bias=False),
    )
