"""The connectors between adaptor and UNet: ZeroSFT and ZeroCrossAttn (Yu et al. 2024, section 3.1, Fig. 3)."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from einops import rearrange
from torch import Tensor, nn

from ..sdxl.blocks import Attention, CrossAttention, attention

SFT_WIDTH = 128
"""Hidden channels of every ZeroSFT, whatever the width of the model."""


class ZeroSFT(nn.Module):
    """Spatial feature transform of [decoder ; skip] by an adaptor feature.

    With strength k, decoder feature d, skip s and adaptor feature c::

        v      = [d ; s + zero_conv(c)]
        a      = SiLU(mlp_shared(c))
        out    = GroupNorm(v) * (1 + zero_mul(a)) + zero_add(a)
        result = k * out + (1 - k) * [d ; s]

    As released, zeroed convolutions leave the GroupNorm, not the identity.
    """

    def __init__(self, control: int, skip: int, decoder: int, operations: Any = nn):
        super().__init__()
        joined = skip + decoder
        self.zero_conv = operations.Conv2d(control, skip, 1)
        self.param_free_norm = operations.GroupNorm(32, joined)
        self.mlp_shared = nn.Sequential(operations.Conv2d(control, SFT_WIDTH, 3, padding=1), nn.SiLU())
        self.zero_mul = operations.Conv2d(SFT_WIDTH, joined, 3, padding=1)
        self.zero_add = operations.Conv2d(SFT_WIDTH, joined, 3, padding=1)

    def forward(self, control: Tensor, skip: Tensor, decoder: Tensor | None, strength: float) -> Tensor:
        """Transform.

        Args:
            control: adaptor feature, ``(B, C, h, w)``.
            skip: skip of the UNet's encoder, or the middle block's output, ``(B, S, h, w)``.
            decoder: decoder feature, ``(B, D, h, w)``, none at the middle block.
            strength: 1 full, 0 the plain concatenation.

        Returns:
            ``(B, D + S, h, w)``.
        """
        v = _concatenate(decoder, skip + self.zero_conv(control))
        hidden = self.mlp_shared(control)
        out = torch.addcmul(self.zero_add(hidden), self.param_free_norm(v), self.zero_mul(hidden).add_(1))
        if strength == 1:
            return out
        raw = _concatenate(decoder, skip).to(out.dtype)  # which is float32 after a norm in mixed precision
        return torch.lerp(raw, out, strength)


class ZeroCrossAttn(nn.Module):
    """Attention of decoder features over an adaptor feature: x + k * attention(norm1(x), norm2(c))."""

    def __init__(self, query: int, context: int, operations: Any = nn, attention: Attention = attention):
        super().__init__()
        self.attn = CrossAttention(query, context, operations, attention)
        self.norm1 = operations.GroupNorm(32, query)
        self.norm2 = operations.GroupNorm(32, context)

    def forward(self, x: Tensor, context: Tensor, strength: float) -> Tensor:
        """Attend from ``x`` ``(B, C, h, w)`` to ``context`` ``(B, K, h', w')``; the shape of ``x`` is kept."""
        tokens = rearrange(self.norm1(x), "b c h w -> b (h w) c")
        out = self.attn(tokens, rearrange(self.norm2(context), "b c h w -> b (h w) c"))
        return x + strength * rearrange(out, "b (h w) c -> b c h w", h=x.shape[2])


class ConnectorSlot(NamedTuple):
    """Which connector of ``project_modules`` takes which adaptor feature."""

    connector: int
    feature: int


MIDDLE = ConnectorSlot(11, 9)
JOINS = (
    ConnectorSlot(10, 8),
    ConnectorSlot(9, 7),
    ConnectorSlot(8, 6),
    ConnectorSlot(6, 5),
    ConnectorSlot(5, 4),
    ConnectorSlot(4, 3),
    ConnectorSlot(2, 2),
    ConnectorSlot(1, 1),
    ConnectorSlot(0, 0),
)
"""One ZeroSFT for each output block."""
BEFORE_UPSAMPLE = {2: ConnectorSlot(7, 6), 5: ConnectorSlot(3, 3)}
"""ZeroCrossAttn before the Upsample of output blocks 2 and 5."""


def build_connectors(
    widths: tuple[int, int, int], operations: Any = nn, attention: Attention = attention
) -> nn.ModuleList:
    """Build the twelve connectors of a model with these level widths, in their released order."""
    fine, middle, coarse = widths

    def sft(control: int, decoder: int) -> ZeroSFT:
        return ZeroSFT(control, control, decoder, operations)

    def cross(query: int, context: int) -> ZeroCrossAttn:
        return ZeroCrossAttn(query, context, operations, attention)

    return nn.ModuleList(
        [
            sft(fine, fine),
            sft(fine, fine),
            sft(fine, middle),
            cross(middle, fine),
            sft(fine, middle),
            sft(middle, middle),
            sft(middle, coarse),
            cross(coarse, middle),
            sft(middle, coarse),
            sft(coarse, coarse),
            sft(coarse, coarse),
            sft(coarse, 0),
        ]
    )


class ConnectorFusion:
    """Adaptor features on their way into the UNet, for one call of it (see ``unet.Fusion``)."""

    def __init__(self, connectors: nn.ModuleList, features: list[Tensor], strength: float):
        self.connectors = connectors
        self.features = features
        self.strength = strength

    def middle(self, h: Tensor) -> Tensor:
        """ZeroSFT of the middle block's output."""
        return self.connectors[MIDDLE.connector](self.features[MIDDLE.feature], h, None, self.strength)

    def join(self, block: int, h: Tensor, skip: Tensor) -> Tensor:
        """ZeroSFT in place of the concatenation before output block ``block``."""
        slot = JOINS[block]
        return self.connectors[slot.connector](self.features[slot.feature], skip, h, self.strength)

    def before_upsample(self, block: int, h: Tensor) -> Tensor:
        """ZeroCrossAttn before the Upsample of output block ``block``."""
        slot = BEFORE_UPSAMPLE[block]
        return self.connectors[slot.connector](h, self.features[slot.feature], self.strength)


def _concatenate(decoder: Tensor | None, skip: Tensor) -> Tensor:
    return skip if decoder is None else torch.cat([decoder, skip], dim=1)
