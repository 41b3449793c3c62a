"""How InstantIR's networks begin that are trained anew: nothing of them shows yet."""

from __future__ import annotations

from torch import nn

from ..sdxl.config import UNetConfig
from ..sdxl.starts import copy_encoder, zero
from ..sdxl.unet import UNet
from .aggregator import Aggregator
from .image_attention import ImageAdapter
from .previewer import LowRank, PreviewerLora
from .resampler import ResamplerConfig


def new_aggregator(unet: UNet) -> Aggregator:
    """The UNet's encoder without its text, both pictures read alike, residuals of zeros, in float32."""
    aggregator = Aggregator(unet.config)
    copy_encoder(unet, aggregator)
    aggregator.ref_conv_in.load_state_dict(unet.input_blocks[0][0].state_dict())  # type: ignore[index]
    for fuse in [*aggregator.controlnet_down_blocks, aggregator.controlnet_mid_block]:
        zero(fuse[1])  # type: ignore[index]
    return aggregator


def new_adapter(config: UNetConfig, resampler: ResamplerConfig) -> ImageAdapter:
    """An adapter whose norms do not follow time yet."""
    adapter = ImageAdapter(config, resampler)
    nn.init.normal_(adapter.image_proj.latents, std=resampler.width**-0.5)
    for layer in adapter.layers:
        zero(layer.ln_k_ip, layer.ln_v_ip)
    return adapter


def new_previewer(config: UNetConfig, resampler: ResamplerConfig, rank: int) -> PreviewerLora:
    """Branches that add nothing yet."""
    previewer = PreviewerLora(config, resampler, rank)
    zero(*(branch.up for branch in previewer.modules() if isinstance(branch, LowRank)))
    return previewer
