"""The building blocks of SDXL's UNet, with the attribute names of the checkpoints."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from .config import HEAD_WIDTH

Attention = Callable[[Tensor, Tensor, Tensor, int], Tensor]
"""``attention(q, k, v, heads)``: ``(B, N, C)`` queries over ``(B, M, C)`` keys and values -> ``(B, N, C)``."""


def attention(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """Multi-head scaled dot-product attention by PyTorch; the default of every ``attention=`` argument."""
    q, k, v = (rearrange(t, "b n (h d) -> b h n d", h=heads) for t in (q, k, v))
    return rearrange(F.scaled_dot_product_attention(q, k, v), "b h n d -> b n (h d)")


def timestep_embedding(timesteps: Tensor, width: int) -> Tensor:
    """Sinusoidal embedding, cosines before sines: ``(B,)`` -> ``(B, width)`` in float32."""
    half = width // 2
    exponents = torch.arange(half, device=timesteps.device, dtype=torch.float32) / half
    angles = timesteps.float()[:, None] * torch.exp(-math.log(10000) * exponents)
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


class ResBlock(nn.Module):
    """Residual block with the timestep embedding added in the middle."""

    def __init__(self, channels: int, emb_channels: int, out_channels: int, operations: Any = nn):
        super().__init__()
        self.in_layers = nn.Sequential(
            operations.GroupNorm(32, channels),
            nn.SiLU(),
            operations.Conv2d(channels, out_channels, 3, padding=1),
        )
        self.emb_layers = nn.Sequential(nn.SiLU(), operations.Linear(emb_channels, out_channels))
        self.out_layers = nn.Sequential(
            operations.GroupNorm(32, out_channels),
            nn.SiLU(),
            nn.Identity(),  # dropout in training; keeps the convolution's released index 3
            operations.Conv2d(out_channels, out_channels, 3, padding=1),
        )
        if channels == out_channels:
            self.skip_connection = nn.Identity()
        else:
            self.skip_connection = operations.Conv2d(channels, out_channels, 1)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        h = self.in_layers(x) + self.emb_layers(emb)[:, :, None, None]
        return self.skip_connection(x) + self.out_layers(h)


class TextContext:
    """Text tokens ``(B, T, C)``, and the keys and values that attention layers make of them.

    A layer makes them once for each TextContext: pass the same one at every step and that work is not repeated.
    """

    def __init__(self, tokens: Tensor):
        self.tokens = tokens
        self._read: dict[nn.Module, tuple[Tensor, Tensor]] = {}

    def read_by(self, layer: CrossAttention) -> tuple[Tensor, Tensor]:
        """Keys and values of ``layer``."""
        if layer not in self._read:
            self._read[layer] = layer.to_k(self.tokens), layer.to_v(self.tokens)
        return self._read[layer]

    def attended_by(self, layer: CrossAttention, q: Tensor) -> Tensor:
        """What ``layer`` takes from the text for its queries ``(B, N, C)``, before its output projection."""
        k, v = self.read_by(layer)
        return layer.attention(q, k, v, layer.heads)


class CrossAttention(nn.Module):
    """Attention over a context or a text; over the queries themselves where none is given."""

    def __init__(self, width: int, context_width: int, operations: Any = nn, attention: Attention = attention):
        super().__init__()
        self.heads = width // HEAD_WIDTH
        self.attention = attention
        self.to_q = operations.Linear(width, width, bias=False)
        self.to_k = operations.Linear(context_width, width, bias=False)
        self.to_v = operations.Linear(context_width, width, bias=False)
        self.to_out = nn.Sequential(operations.Linear(width, width))

    def forward(self, x: Tensor, context: Tensor | TextContext | None = None) -> Tensor:
        q = self.to_q(x)
        if isinstance(context, TextContext):
            return self.to_out(context.attended_by(self, q))
        context = x if context is None else context
        return self.to_out(self.attention(q, self.to_k(context), self.to_v(context), self.heads))


class GEGLU(nn.Module):
    """Linear layer whose second half gates the first."""

    def __init__(self, width: int, inner: int, operations: Any = nn):
        super().__init__()
        self.proj = operations.Linear(width, inner * 2)

    def forward(self, x: Tensor) -> Tensor:
        x, gate = self.proj(x).chunk(2, dim=-1)
        return x * F.gelu(gate)


class FeedForward(nn.Module):
    """GEGLU of four times the width, and back."""

    def __init__(self, width: int, operations: Any = nn):
        super().__init__()
        # net.1 is dropout in training; it keeps the linear layer's released index 2
        self.net = nn.Sequential(
            GEGLU(width, width * 4, operations), nn.Identity(), operations.Linear(width * 4, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class BasicTransformerBlock(nn.Module):
    """Self-attention, attention over the text, feed-forward; each with a norm before and a skip around.

    A ``context_width`` of 0 leaves the attention over the text out.
    """

    def __init__(self, width: int, context_width: int, operations: Any = nn, attention: Attention = attention):
        super().__init__()
        self.attn1 = CrossAttention(width, width, operations, attention)
        self.ff = FeedForward(width, operations)
        self.norm1 = operations.LayerNorm(width)
        self.norm3 = operations.LayerNorm(width)
        self.reads = bool(context_width)
        if self.reads:
            self.attn2 = CrossAttention(width, context_width, operations, attention)
            self.norm2 = operations.LayerNorm(width)

    def forward(self, x: Tensor, context: Tensor | TextContext | None) -> Tensor:
        x = x + self.attn1(self.norm1(x))
        if self.reads:
            x = x + self.attn2(self.norm2(x), context)
        return x + self.ff(self.norm3(x))


class SpatialTransformer(nn.Module):
    """Transformer blocks over the pixels of a feature map."""

    def __init__(
        self,
        channels: int,
        depth: int,
        context_width: int,
        operations: Any = nn,
        attention: Attention = attention,
    ):
        super().__init__()
        self.norm = operations.GroupNorm(32, channels, eps=1e-6)
        self.proj_in = operations.Linear(channels, channels)
        self.transformer_blocks = nn.ModuleList(
            BasicTransformerBlock(channels, context_width, operations, attention) for _ in range(depth)
        )
        self.proj_out = operations.Linear(channels, channels)

    def forward(self, x: Tensor, context: Tensor | TextContext | None) -> Tensor:
        h = rearrange(self.norm(x), "b c h w -> b (h w) c")
        h = self.proj_in(h)
        for block in self.transformer_blocks:
            h = block(h, context)
        return x + rearrange(self.proj_out(h), "b (h w) c -> b c h w", h=x.shape[2])


class Downsample(nn.Module):
    """Convolution of stride 2; an odd side is rounded up."""

    def __init__(self, channels: int, operations: Any = nn):
        super().__init__()
        self.op = operations.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.op(x)


class Upsample(nn.Module):
    """Nearest-neighbour enlargement to a size, then a convolution."""

    def __init__(self, channels: int, operations: Any = nn):
        super().__init__()
        self.conv = operations.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        doubled = (2 * x.shape[2], 2 * x.shape[3])
        if size == doubled and type(self.conv) is nn.Conv2d:
            return doubled_conv(x, self.conv.weight.to(x.dtype), self.conv.bias)
        return self.conv(F.interpolate(x, size=size, mode="nearest"))


def doubled_conv(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A 3x3 convolution of a picture with every pixel doubled, in under half the operations.

    Of the three taps of a row, two fall on the same pixel before the doubling, so each of the four new pixels is a 2x2
    convolution of the old ones: rows [w0, w1 + w2] for the upper, [w0 + w1, w2] for the lower, columns likewise.

    Args:
        x: ``(B, C, h, w)``.
        weight: ``(K, C, 3, 3)``.
        bias: ``(K,)``.

    Returns:
        ``(B, K, 2 h, 2 w)``.
    """
    first, second, third = weight.unbind(2)
    rows = (torch.stack([first, second + third], 2), torch.stack([first + second, third], 2))
    padded = F.pad(x, (1, 1, 1, 1))
    height, width = x.shape[2:]
    lines = []
    for top, row in enumerate(rows):
        first, second, third = row.unbind(3)
        columns = (torch.stack([first, second + third], 3), torch.stack([first + second, third], 3))
        parts = [
            F.conv2d(padded[:, :, top : top + height + 1, left : left + width + 1], kernel, bias)
            for left, kernel in enumerate(columns)
        ]
        lines.append(torch.stack(parts, dim=-1).flatten(-2))  # columns in turn
    return torch.stack(lines, dim=3).flatten(2, 3)  # rows in turn
