"""From a config to the networks of a stage: read from the files that it names, made where it names none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..files.checkpoint import Checkpoint, open_checkpoint
from ..files.kinds import ADAPTER, AGGREGATOR, PREVIEWER, SDXL, SUPIR
from ..instantir import settings as instantir
from ..instantir.image_attention import ImageAdapter
from ..instantir.model import load_adapter, load_aggregator, load_previewer
from ..instantir.perception import load_dino
from ..instantir.resampler import ResamplerConfig
from ..sdxl.config import VAEConfig
from ..sdxl.model import load_text, load_unet, load_vae
from ..sdxl.text import load_tokenizer
from ..sdxl.vae import VAE, Encoder
from ..supir import settings as supir
from ..supir.model import load_adaptor
from .config import TrainingConfig
from .data import Prompts
from .instantir_stages import AggregatorStage, DCPStage, PreviewerStage
from .stages import AdaptorStage, DREncoderStage, Stage
from .starts import new_adapter, new_adaptor, new_aggregator, new_previewer

F32 = torch.float32


def prompts_of(name: str) -> Prompts:
    """The quality words of a stage's method."""
    method = instantir if name.startswith("instantir") else supir
    return Prompts(method.POSITIVE_PROMPT, method.NEGATIVE_PROMPT)


def build_stage(name: str, config: TrainingConfig) -> Stage:
    """The networks of a stage, in float32 on the CPU.

    Raises:
        ValueError: a file that the stage needs is not named.
        UnsupportedCheckpointError: a file is not what it should be.
        OSError: a file is missing.
    """
    return STAGES[name](config)


def _dr_encoder_stage(config: TrainingConfig) -> Stage:
    vae = load_vae(_opened(config, "sdxl", SDXL), F32)
    others: dict[str, Tensor] = {}
    if config.supir:
        checkpoint = _opened(config, "supir", SUPIR)
        keys = [key for key in checkpoint.shapes if not key.startswith("denoise_encoder.")]
        others = {_published(key): tensor for key, tensor in checkpoint.tensors(keys).items()}
    encoder = Encoder(_sizes_of(vae))
    source = config.dr_encoder or config.supir
    encoder.load_state_dict(read_encoder(source) if source else vae.encoder.state_dict())
    return DREncoderStage(config, encoder, vae, others)


def _adaptor_stage(config: TrainingConfig) -> Stage:
    base = _opened(config, "sdxl", SDXL)
    unet, vae = load_unet(base, F32), load_vae(base, F32)
    source = config.dr_encoder or config.supir
    if not source:
        raise ValueError(
            "an adaptor learns to read what the degradation-robust encoder sees: train that first (dr-encoder) and name "
            'its file as dr_encoder, or name SUPIR weights to begin from as supir = "FILE"'
        )
    dr_encoder = Encoder(_sizes_of(vae))
    dr_encoder.load_state_dict(read_encoder(source))
    new = not config.supir
    adaptor = new_adaptor(unet, config.depth_share) if new else load_adaptor(_opened(config, "supir", SUPIR), F32)
    return AdaptorStage(config, adaptor, unet, vae, dr_encoder, _text(config, base), new)


def _instantir(config: TrainingConfig) -> dict[str, Any]:
    base = _opened(config, "sdxl", SDXL)
    unet = load_unet(base, F32)
    return {
        "unet": unet,
        "vae": load_vae(base, F32),
        "text": _text(config, base),
        "dino": load_dino(config.dino or None),
    }


def _dcp_stage(config: TrainingConfig) -> Stage:
    parts = _instantir(config)
    unet = parts["unet"].config
    if config.adapter:
        return DCPStage(config, _adapter(config, parts), **parts)
    width = config.resampler_width
    sizes = ResamplerConfig(
        width=width,
        depth=config.resampler_depth,
        tokens=config.resampler_tokens,
        feature_width=parts["dino"].config.hidden_size,
        context_width=unet.context_width,
        inner=width,
        hidden=4 * width,
    )
    return DCPStage(config, new_adapter(unet, sizes), **parts)


def _previewer_stage(config: TrainingConfig) -> Stage:
    parts = _instantir(config)
    unet, adapter = parts["unet"].config, _adapter(config, parts)
    sizes = adapter.image_proj.config
    if config.previewer:
        previewer = load_previewer(_opened(config, "previewer", PREVIEWER), unet, sizes, F32)
    else:
        previewer = new_previewer(unet, sizes, config.rank)
    return PreviewerStage(config, previewer, adapter, **parts)


def _aggregator_stage(config: TrainingConfig) -> Stage:
    parts = _instantir(config)
    unet, adapter = parts["unet"], _adapter(config, parts)
    previewer = load_previewer(_opened(config, "previewer", PREVIEWER), unet.config, adapter.image_proj.config, F32)
    if config.aggregator:
        aggregator = load_aggregator(_opened(config, "aggregator", AGGREGATOR), unet.config, F32)
    else:
        aggregator = new_aggregator(unet)
    return AggregatorStage(config, aggregator, previewer, adapter, **parts)


STAGES: dict[str, Callable[[TrainingConfig], Stage]] = {
    "dr-encoder": _dr_encoder_stage,
    "adaptor": _adaptor_stage,
    "instantir-dcp": _dcp_stage,
    "instantir-previewer": _previewer_stage,
    "instantir-aggregator": _aggregator_stage,
}


def read_encoder(path: str | Path) -> dict[str, Tensor]:
    """A degradation-robust encoder's weights, from SUPIR weights or from a file of them alone, in float32.

    Raises:
        ValueError: there is none in the file.
    """
    checkpoint = open_checkpoint(path)
    keys = {key: key.rpartition("denoise_encoder.")[2] for key in checkpoint.shapes if "denoise_encoder." in key}
    if not keys:
        raise ValueError(
            f"{path}: expected a degradation-robust encoder (denoise_encoder.*), this is {checkpoint.kind}"
        )
    return {keys[key]: tensor for key, tensor in checkpoint.tensors(keys, F32).items()}


def _adapter(config: TrainingConfig, parts: dict[str, Any]) -> ImageAdapter:
    return load_adapter(_opened(config, "adapter", ADAPTER), parts["unet"].config, F32)


def _text(config: TrainingConfig, base: Checkpoint) -> Any:
    return load_text(base, load_tokenizer(config.tokenizer or None), F32)


def _opened(config: TrainingConfig, name: str, kind: str) -> Checkpoint:
    path = getattr(config, name)
    if not path:
        raise ValueError(f'this stage needs {kind}; name it as {name} = "FILE"')
    return open_checkpoint(path, kind)


def _sizes_of(vae: VAE) -> VAEConfig:
    return VAEConfig.from_shapes({key: tuple(tensor.shape) for key, tensor in vae.state_dict().items()})


def _published(key: str) -> str:
    """The published key of a tensor of SUPIR weights, from its name here."""
    return f"model.diffusion_model.{key}" if key.startswith("project_modules.") else f"model.{key}"
