"""All the networks of SUPIR, loaded from an SDXL checkpoint and a SUPIR file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..files.checkpoint import Checkpoint, open_checkpoint
from ..files.errors import UnsupportedCheckpointError
from ..files.kinds import SDXL, SUPIR
from ..sdxl.config import UNetConfig, VAEConfig, without_prefix
from ..sdxl.memory import defaults, vae_dtype
from ..sdxl.model import (
    FIRST_STAGE,
    SDXL_WIDTH,
    UNET,
    SdxlModel,
    build,
    load_text,
    load_unet,
    load_vae,
    open_vae,
    seams_for,
)
from ..sdxl.text import load_tokenizer
from ..sdxl.unet import UNet
from ..sdxl.vae import Encoder
from .adaptor import Adaptor
from .settings import DEFAULT_PRESET

PUBLISHED = {"control_model": "model.", "project_modules": UNET, "denoise_encoder": FIRST_STAGE}
"""What stands before the parts of SUPIR weights in the published files."""


@dataclass(frozen=True)
class SupirModel(SdxlModel):
    """Everything that restores a picture with SUPIR.

    Attributes:
        adaptor: SUPIR's adaptor and connectors.
        dr_encoder: SUPIR's degradation-robust encoder.
    """

    adaptor: Adaptor
    dr_encoder: Encoder

    def compile(self) -> None:
        """Compile the networks that sample (``torch.compile``); they must stay on the device, as ``memory="full"`` keeps them."""
        for network in (self.unet, self.adaptor):
            network.compile(fullgraph=True)


def load_model(
    sdxl: str | Path,
    supir: str | Path,
    tokenizer: str | Path | None = None,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
    memory: str = "auto",
    weights: str = "same",
    vae: str | Path | None = None,
) -> SupirModel:
    """Load SUPIR.

    Args:
        sdxl: SDXL checkpoint, a single file or a folder in diffusers' layout.
        supir: SUPIR weights, published or pruned.
        tokenizer: folder with the CLIP tokenizer's files, or a hub id; the hub's standard one by default.
        device: where to compute; a GPU if there is one.
        dtype: precision, float16 on a GPU, float32 on a CPU by default. The VAE overflows in float16: beside it and beside
            bfloat16 it has bfloat16 where the device can, else float32.
        memory: how networks share the device: ``"auto"`` keeps them there while there is room, ``"full"`` always,
            ``"stage"`` drops each after its work, ``"stream"`` fetches those that sample block by block.
        weights: ``"float8"`` keeps the weights of UNet and adaptor in 8 bits; they are computed with in ``dtype``.
        vae: file with SDXL's VAE, in place of the checkpoint's.

    Raises:
        ValueError: there is no such device, precision, ``memory`` or ``weights``.
        UnsupportedCheckpointError: a file is not what it should be, or the two do not fit each other.
        FileNotFoundError: a file or the tokenizer is missing.
    """
    device, dtype = defaults(device, dtype)
    seams = seams_for(weights, memory)
    base, control = open_checkpoint(sdxl, SDXL), open_checkpoint(supir, SUPIR)
    autoencoder = open_vae(vae, base)
    unet = load_unet(base, dtype, **seams)
    adaptor = load_adaptor(control, dtype, **seams)
    check_pair(unet, adaptor, base, control)
    return SupirModel(
        unet=unet,
        vae=load_vae(autoencoder, vae_dtype(device, dtype)),
        text=load_text(base, load_tokenizer(tokenizer), dtype),
        adaptor=adaptor,
        dr_encoder=load_dr_encoder(control, vae_dtype(device, dtype)),
        device=device,
        files=(base.path, control.path, *([autoencoder.path] if vae else [])),
        memory=memory,
    )


def preset_for(config: UNetConfig) -> str:
    """The preset that suits weights of these sizes: that of the demo for small ones."""
    return DEFAULT_PRESET if config.widths[0] >= SDXL_WIDTH else "demo"


def load_adaptor(checkpoint: Checkpoint, dtype: torch.dtype | None = None, **seams: Any) -> Adaptor:
    """Build SUPIR's adaptor and connectors; arguments as in ``load_unet``, but from SUPIR weights."""
    keys = [key for key in checkpoint.shapes if not key.startswith("denoise_encoder.")]
    return build(
        checkpoint,
        lambda **given: Adaptor(UNetConfig.from_shapes(without_prefix(checkpoint.shapes, "control_model.")), **given),
        lambda _: checkpoint.tensors(keys, dtype),
        **seams,
    )


def load_dr_encoder(checkpoint: Checkpoint, dtype: torch.dtype | None = None, **seams: Any) -> Encoder:
    """Build SUPIR's degradation-robust encoder; arguments as in ``load_adaptor``."""
    return build(
        checkpoint,
        lambda **given: Encoder(VAEConfig.from_shapes(checkpoint.shapes, "denoise_encoder"), **given),
        lambda _: checkpoint.under("denoise_encoder.", dtype),
        **seams,
    )


def published_weights(adaptor: Mapping[str, Tensor], dr_encoder: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """State dicts of adaptor and degradation-robust encoder as a SUPIR file has them, by its published keys."""
    whole = {**adaptor, **{f"denoise_encoder.{key}": tensor for key, tensor in dr_encoder.items()}}
    return {PUBLISHED[key.partition(".")[0]] + key: tensor for key, tensor in whole.items()}


def check_pair(unet: UNet, adaptor: Adaptor, base: Checkpoint, control: Checkpoint) -> None:
    """Refuse an adaptor that is not of the UNet's widths."""
    theirs, ours = unet.config, adaptor.control_model.config
    for name in ("widths", "context_width", "vector_width"):
        if getattr(theirs, name) != getattr(ours, name):
            raise UnsupportedCheckpointError(
                f"{base.path.name} and {control.path.name} do not belong together: {name.replace('_', ' ')} "
                f"{getattr(theirs, name)} against {getattr(ours, name)}"
            )
