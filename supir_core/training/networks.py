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
from ..supir.model import check_pair, load_adaptor, load_dr_encoder
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
    match name, new:
        case "unet" | "vae", _:
            return (load_unet if name == "unet" else load_vae)(base, F32)
        case "text", _:
            return load_text(base, load_tokenizer(config.tokenizer or None), F32)
        case "dino", _:
            shapes = _opened(config, "adapter", ADAPTER).shapes if config.adapter else {}
            return load_dino(config.dino or None, F32, shapes.get("image_proj.proj_in.weight", (0, None))[1])
        case "dr_encoder", True if not config.dr_encoder:
            return deepcopy(made.vae.encoder)
        case "dr_encoder", _:
            named = "supir" if config.supir and not config.dr_encoder else name
            return load_dr_encoder(_opened(config, named, DR_ENCODER, SUPIR), F32)
        case "adaptor", True:
            return new_adaptor(made.unet, config.depth_share)
        case "adaptor", _:
            supir = _opened(config, "supir", SUPIR)
            check_pair(made.unet, adaptor := load_adaptor(supir, F32), base, supir)
            return adaptor
        case "adapter", True:
            width, seen, told = config.resampler_width, made.dino.config.hidden_size, made.unet.config.context_width
            depth, tokens = config.resampler_depth, config.resampler_tokens
            resampler = ResamplerConfig(width, depth, tokens, seen, told, inner=width, hidden=4 * width)
            return new_adapter(made.unet.config, resampler)
        case "adapter", _:
            return load_adapter(_opened(config, name, ADAPTER), made.unet.config, F32)
        case "previewer", _:
            sizes = made.unet.config, made.adapter.image_proj.config
            if new:
                return new_previewer(*sizes, config.rank)
            return load_previewer(_opened(config, name, PREVIEWER), *sizes, F32)
        case _, True:
            return new_aggregator(made.unet)
    return load_aggregator(_opened(config, name, AGGREGATOR), made.unet.config, F32)


def _opened(config: TrainingConfig, name: str, *kinds: str) -> Checkpoint:
    if not getattr(config, name):
        raise ValueError(f'this stage needs {" or ".join(kinds)}; name it as {name} = "FILE"')
    return open_checkpoint(getattr(config, name), *kinds)
