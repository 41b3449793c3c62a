"""Where networks begin that are not fine-tuned: as copies of the UNet's encoder, nothing of which shows yet."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint

from ..instantir.aggregator import Aggregator
from ..instantir.image_attention import ImageAdapter
from ..instantir.previewer import LowRank, PreviewerLora
from ..instantir.resampler import ResamplerConfig
from ..sdxl.blocks import BasicTransformerBlock, ResBlock
from ..sdxl.config import UNetConfig
from ..sdxl.unet import Encoder, UNet
from ..sdxl.vae import ResnetBlock
from ..supir.adaptor import Adaptor


def new_adaptor(unet: UNet, depth_share: float = 1.0) -> Adaptor:
    """The UNet's encoder with connectors of zeros, in float32; a share of each transformer's blocks, the first ones."""
    config = replace(
        unet.config,
        input_depths=tuple(math.ceil(depth * depth_share) for depth in unet.config.input_depths),
        middle_depth=math.ceil(unet.config.middle_depth * depth_share),
        output_depths=(),
    )
    adaptor = Adaptor(config)
    copy_encoder(unet, adaptor.control_model)
    zero(adaptor.control_model.input_hint_block)
    zero_connectors(adaptor)
    return adaptor


def zero_connectors(adaptor: Adaptor) -> None:
    """Let the adaptor say nothing.

    As released, a ZeroSFT of zeros leaves a GroupNorm in place of the UNet's features, so the strength has to be 0 too
    for the plain UNet to remain.
    """
    for connector in adaptor.project_modules:
        if hasattr(connector, "attn"):
            zero(connector.attn.to_out)  # type: ignore[union-attr]
        else:
            zero(connector.zero_conv, connector.zero_mul, connector.zero_add)  # type: ignore[arg-type]


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
    for branch in previewer.modules():
        if isinstance(branch, LowRank):
            zero(branch.up)
    return previewer


def copy_encoder(unet: UNet, encoder: Encoder) -> None:
    """Copy what both have from the UNet."""
    theirs = unet.state_dict()
    shared = {key: theirs[key] for key in encoder.state_dict() if key in theirs}
    encoder.load_state_dict(shared, strict=False)


def zero(*modules: nn.Module) -> None:
    """Zeros for all weights."""
    for module in modules:
        for parameter in module.parameters():
            nn.init.zeros_(parameter)


def checkpointed(*networks: nn.Module) -> None:
    """Let every block keep its input alone, and compute the rest again in the backward pass (Chen et al. 2016)."""
    for network in networks:
        for module in network.modules():
            if isinstance(module, (ResBlock, BasicTransformerBlock, ResnetBlock)):
                forward: Any = partial(checkpoint, module.forward, use_reentrant=False, preserve_rng_state=False)
                module.forward = forward
