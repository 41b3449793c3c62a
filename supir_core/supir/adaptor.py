"""The adaptor: a trimmed ControlNet that reads the damaged picture (Yu et al. 2024, section 3.1)."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ..sdxl.blocks import Attention, TextContext, attention
from ..sdxl.config import UNetConfig
from ..sdxl.unet import Encoder, run_block
from .connectors import ConnectorFusion, build_connectors


class ControlEncoder(Encoder):
    """SDXL's encoder with a second input, the low-quality latent (release: GLVControl)."""

    def __init__(self, config: UNetConfig, operations: Any = nn, attention: Attention = attention):
        super().__init__(config, operations, attention)
        hint = operations.Conv2d(config.in_channels, config.widths[0], 3, padding=1)
        self.input_hint_block = nn.Sequential(hint)

    def forward(
        self, z_lq: Tensor, x: Tensor, timesteps: Tensor, context: Tensor | TextContext, y: Tensor
    ) -> list[Tensor]:
        """Read the low-quality latent beside the noisy one.

        Args:
            z_lq: low-quality latent, ``(B, 4, h, w)``, scaled.
            x: noisy latent as the UNet gets it, ``(B, 4, h, w)``.
            timesteps: training timestep indices, ``(B,)``.
            context: text tokens, ``(B, T, context_width)``, or a TextContext of them, which spares work at later calls.
            y: pooled text and sizes, ``(B, vector_width)``.

        Returns:
            Ten features: those of the nine input blocks, then the middle block's.
        """
        emb = self.embed(timesteps, y)
        h = run_block(self.input_blocks[0], x, emb, context) + self.input_hint_block(z_lq)
        features = [h]
        for block in [*self.input_blocks[1:], self.middle_block]:
            h = run_block(block, h, emb, context)
            features.append(h)
        return features


class Adaptor(nn.Module):
    """All that SUPIR adds to the UNet: the control encoder and the connectors.

    Args:
        config: sizes of the control encoder; its widths are the UNet's, its depths may be smaller (trimmed).
        operations: where the layers come from, ``torch.nn`` or the host's namespace of the same form.
        attention: the attention function.
    """

    def __init__(self, config: UNetConfig, operations: Any = nn, attention: Attention = attention):
        super().__init__()
        self.control_model = ControlEncoder(config, operations, attention)
        self.project_modules = build_connectors(config.widths, operations, attention)

    def forward(
        self,
        z_lq: Tensor,
        x: Tensor,
        timesteps: Tensor,
        context: Tensor | TextContext,
        y: Tensor,
        strength: float,
    ) -> ConnectorFusion:
        """Run the control encoder (see there) and return its features as a fusion of ``strength``."""
        return ConnectorFusion(self.project_modules, self.control_model(z_lq, x, timesteps, context, y), strength)
