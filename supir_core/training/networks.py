"""From a config to the networks of a stage: read from the files that it names, begun anew where it names none."""

from __future__ import annotations

from copy import deepcopy
from types import SimpleNamespace
from typing import Any

import torch

from ..files.checkpoint import Checkpoint, open_checkpoint
from ..files.kinds import ADAPTER, AGGREGATOR, DR_ENCODER, PREVIEWER, SDXL, SUPIR
from ..instantir.model import load_adapter, load_aggregator, load_previewer
from ..instantir.perception import load_dino
from ..instantir.resampler import ResamplerConfig
from ..instantir.starts import new_adapter, new_aggregator, new_previewer
from ..sdxl.model import load_text, load_unet, load_vae
from ..sdxl.text import load_tokenizer
from ..supir.model import load_adaptor, load_dr_encoder
from ..supir.starts import new_adaptor
from .config import TrainingConfig

F32 = torch.float32

ORDER = ("unet", "vae", "text", "dino", "dr_encoder", "adaptor", "adapter", "previewer", "aggregator")
"""Of all networks: later ones take their sizes from those before."""


def networks_of(config: TrainingConfig, names: tuple[str, ...], learner: str) -> dict[str, Any]:
    """Networks by their names, in float32 on the CPU; only the one that learns may be new.

    Raises:
        ValueError: a file that is needed is not named.
        UnsupportedCheckpointError, OSError: a file is not what it should be, or missing.
    """
    base, made = _opened(config, "sdxl", SDXL), SimpleNamespace()
    for name in filter(names.__contains__, ORDER):
        new = name == learner and not getattr(config, "supir" if name in ("adaptor", "dr_encoder") else name, "")
        setattr(made, name, _network(name, config, base, made, new))
    return vars(made)


def _network(name: str, config: TrainingConfig, base: Checkpoint, made: Any, new: bool) -> Any:
    match name:
        case "unet" | "vae":
            return (load_unet if name == "unet" else load_vae)(base, F32)
        case "text":
            return load_text(base, load_tokenizer(config.tokenizer or None), F32)
        case "dino":
            return load_dino(config.dino or None)
        case "dr_encoder":
            if new and not config.dr_encoder:
                return deepcopy(made.vae.encoder)
            named = "supir" if config.supir and not config.dr_encoder else name
            return load_dr_encoder(_opened(config, named, DR_ENCODER, SUPIR), F32)
        case "adaptor":
            share = config.depth_share
            return new_adaptor(made.unet, share) if new else load_adaptor(_opened(config, "supir", SUPIR), F32)
        case "adapter":
            if new:
                return new_adapter(made.unet.config, _resampler(config, made))
            return load_adapter(_opened(config, name, ADAPTER), made.unet.config, F32)
        case "previewer":
            sizes = made.unet.config, made.adapter.image_proj.config
            if new:
                return new_previewer(*sizes, config.rank)
            return load_previewer(_opened(config, name, PREVIEWER), *sizes, F32)
        case _:
            if new:
                return new_aggregator(made.unet)
            return load_aggregator(_opened(config, name, AGGREGATOR), made.unet.config, F32)


def _resampler(config: TrainingConfig, made: Any) -> ResamplerConfig:
    return ResamplerConfig(
        width=config.resampler_width,
        depth=config.resampler_depth,
        tokens=config.resampler_tokens,
        feature_width=made.dino.config.hidden_size,
        context_width=made.unet.config.context_width,
        inner=config.resampler_width,
        hidden=4 * config.resampler_width,
    )


def _opened(config: TrainingConfig, name: str, *kinds: str) -> Checkpoint:
    if not getattr(config, name):
        raise ValueError(f'this stage needs {" or ".join(kinds)}; name it as {name} = "FILE"')
    return open_checkpoint(getattr(config, name), *kinds)
