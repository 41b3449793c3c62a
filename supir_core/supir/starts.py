"""How an adaptor begins that is trained anew (Yu et al. 2024, section 3.1)."""

from __future__ import annotations

import math
from dataclasses import replace

from ..sdxl.starts import copy_encoder, zero
from ..sdxl.unet import UNet
from .adaptor import Adaptor


def new_adaptor(unet: UNet, depth_share: float = 1.0) -> Adaptor:
    """The UNet's encoder with connectors of zeros, in float32; a share of each transformer's blocks, the first ones.

    As released, a ZeroSFT of zeros leaves a GroupNorm in place of the UNet's features, so the strength has to be 0 too
    for the plain UNet to remain.
    """
    config = replace(
        unet.config,
        input_depths=tuple(math.ceil(depth * depth_share) for depth in unet.config.input_depths),
        middle_depth=math.ceil(unet.config.middle_depth * depth_share),
        output_depths=(),
    )
    adaptor = Adaptor(config)
    copy_encoder(unet, adaptor.control_model)
    zero(adaptor.control_model.input_hint_block)
    for connector in adaptor.project_modules:
        if hasattr(connector, "attn"):
            zero(connector.attn.to_out)  # type: ignore[union-attr]
        else:
            zero(connector.zero_conv, connector.zero_mul, connector.zero_add)  # type: ignore[arg-type]
    return adaptor
