"""All the networks of InstantIR, loaded from an SDXL checkpoint, its three files and DINOv2."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..files.checkpoint import Checkpoint, open_checkpoint
from ..files.kinds import ADAPTER, AGGREGATOR, PREVIEWER, SDXL
from ..sdxl.config import UNetConfig, without_prefix
from ..sdxl.memory import defaults, vae_dtype
from ..sdxl.model import SdxlModel, build, load_text, load_unet, load_vae, open_vae, seams_for
from ..sdxl.text import load_tokenizer
from .aggregator import Aggregator
from .denoiser import Networks
from .image_attention import ImageAdapter
from .keys import diffusers_path, lora_name
from .perception import load_dino
from .previewer import PreviewerLora
from .resampler import ResamplerConfig


@dataclass(frozen=True)
class InstantIRModel(SdxlModel):
    """Everything that restores a picture with InstantIR.

    Attributes:
        adapter: what lets the UNet read image features.
        previewer: low-rank branches beside UNet and adapter.
        aggregator: what corrects the UNet.
        dino: DINOv2.
    """

    adapter: ImageAdapter
    previewer: PreviewerLora
    aggregator: Aggregator
    dino: nn.Module

    @property
    def networks(self) -> Networks:
        """What works at every step."""
        return Networks(self.unet, self.adapter, self.previewer, self.aggregator)


InstantModel = InstantIRModel
"""Its earlier name."""


def load_instantir(
    sdxl: str | Path,
    adapter: str | Path,
    aggregator: str | Path,
    previewer: str | Path,
    dino: str | Path | None = None,
    tokenizer: str | Path | None = None,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
    memory: str = "auto",
    weights: str = "same",
    vae: str | Path | None = None,
) -> InstantIRModel:
    """Load InstantIR.

    Args:
        sdxl: SDXL checkpoint, a single file or a folder in diffusers' layout.
        adapter: ``adapter.pt``.
        aggregator: ``aggregator.pt``.
        previewer: ``previewer_lora_weights.bin``.
        dino: folder with DINOv2-L in transformers' layout, or a hub id; the hub's by default.
        tokenizer: folder with the CLIP tokenizer's files, or a hub id; the hub's standard one by default.
        device: where to compute; a GPU if there is one.
        dtype: precision; see ``load_model``.
        memory: how networks share the device; see ``load_model``.
        weights: ``"float8"`` keeps the weights of UNet and aggregator in 8 bits.
        vae: file with SDXL's VAE, in place of the checkpoint's.

    Raises:
        ValueError: there is no such device, precision, ``memory`` or ``weights``.
        UnsupportedCheckpointError: a file is not what it should be, or does not fit the SDXL model.
        FileNotFoundError: a file is missing.
        OSError: the tokenizer or DINOv2 is missing.
    """
    device, dtype = defaults(device, dtype)
    seams = seams_for(weights, memory)
    paths, kinds = (sdxl, adapter, aggregator, previewer), (SDXL, ADAPTER, AGGREGATOR, PREVIEWER)
    opened = [open_checkpoint(path, kind) for path, kind in zip(paths, kinds, strict=True)]
    base = opened[0]
    autoencoder = open_vae(vae, base)
    unet = load_unet(base, dtype, **seams)
    image = load_adapter(opened[1], unet.config, dtype)
    return InstantIRModel(
        unet=unet,
        vae=load_vae(autoencoder, vae_dtype(device, dtype)),
        text=load_text(base, load_tokenizer(tokenizer), dtype),
        device=device,
        files=tuple(checkpoint.path for checkpoint in (*opened, *([autoencoder] if vae else []))),
        memory=memory,
        adapter=image,
        previewer=load_previewer(opened[3], unet.config, image.image_proj.config, dtype),
        aggregator=load_aggregator(opened[2], unet.config, dtype, **seams),
        dino=load_dino(dino, dtype, image.image_proj.config.feature_width),
    )


def load_adapter(
    checkpoint: Checkpoint, config: UNetConfig, dtype: torch.dtype | None = None, **seams: Any
) -> ImageAdapter:
    """Build the adapter.

    Args:
        checkpoint: an InstantIR adapter.
        config: sizes of the UNet.
        dtype: of the weights; the file's own where none is given.
        seams: ``operations`` and ``attention`` of the modules.
    """

    def make(**given: Any) -> ImageAdapter:
        shapes = without_prefix(checkpoint.shapes, "image_proj.")
        return ImageAdapter(config, ResamplerConfig.from_shapes(shapes), **given)

    return build(checkpoint, make, lambda _: checkpoint.tensors(checkpoint.shapes, dtype), **seams)


def load_aggregator(
    checkpoint: Checkpoint, config: UNetConfig, dtype: torch.dtype | None = None, **seams: Any
) -> Aggregator:
    """Build the aggregator; arguments as in ``load_adapter``."""

    def state(plain: Aggregator) -> dict[str, Tensor]:
        return _renamed(checkpoint.tensors(checkpoint.shapes, dtype), plain, diffusers_path)

    return build(checkpoint, lambda **given: Aggregator(config, **given), state, **seams)


def load_previewer(
    checkpoint: Checkpoint,
    config: UNetConfig,
    resampler: ResamplerConfig,
    dtype: torch.dtype | None = None,
    **seams: Any,
) -> PreviewerLora:
    """Build the previewer's branches; other arguments as in ``load_adapter``, ``operations`` alone among the seams.

    A layer without a branch in the file gets one of zeros. Alphas, of which the release has none, are taken as 1 where
    they are missing.
    """
    rank = next(shape[0] for key, shape in checkpoint.shapes.items() if key.endswith(".down.weight"))

    def state(plain: PreviewerLora) -> dict[str, Tensor]:
        tensors = _with_alphas(checkpoint.tensors(checkpoint.shapes, dtype))
        found = _renamed(tensors, plain, lambda key: lora_name(key, config))
        return _whole(found, plain, next(iter(tensors.values())).dtype)

    return build(checkpoint, lambda **given: PreviewerLora(config, resampler, rank, **given), state, **seams)


def _renamed(tensors: dict[str, Tensor], module: nn.Module, name: Callable[[str], str]) -> dict[str, Tensor]:
    """The tensors under the keys of ``module``, given the name in the file of each; others stay."""
    ours = {name(key): key for key in module.state_dict()}
    return {ours.get(key, key): tensor for key, tensor in tensors.items()}


def _with_alphas(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Alphas multiplied into the upper halves of their branches."""
    for key in [key for key in tensors if key.endswith(".alpha")]:
        up = key.removesuffix("alpha") + "up.weight"
        if up in tensors and tensors[key].numel() == 1:  # else it stays, and is named as unexpected
            tensors[up] = tensors[up] * tensors.pop(key).item()
    return tensors


def _whole(tensors: dict[str, Tensor], module: nn.Module, dtype: torch.dtype) -> dict[str, Tensor]:
    """Zeros for the branches of which neither half is there."""
    given = {key.rsplit(".", 2)[0] for key in tensors}
    absent = {key: t.shape for key, t in module.state_dict().items() if key.rsplit(".", 2)[0] not in given}
    return tensors | {key: torch.zeros(shape, dtype=dtype) for key, shape in absent.items()}
