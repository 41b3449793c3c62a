"""How nodes speak to each other: the keys that they leave in a model's options, and what is read from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ..supir_core.restoration.tiling import crop_tiles
from ..supir_core.sdxl.config import check_latent
from .host import KEY

SIGMA, CHURNED, LEVELS = "supir_sigma", "supir_churned", "supir_levels"
"""Numbers: a step's noise level before churn, after it, and all levels of the run. SUPIR's samplers tell the first and the
last, ``with_levels`` what a sampler has not told."""

Z_LQ, Z_CENTER = "supir_z_lq", "supir_z_center"
"""SUPIR's latents on the device, for one sampling."""

SUPIR_CALL, INSTANTIR_CALL = "supir_call", "instantir_call"
"""What one call of the UNet needs to know, of either method."""

INSTANTIR_RUN = "instantir_run"
"""What InstantIR keeps from call to call of one sampling."""

PREVIEWS = "instantir_previews"
"""Where InstantIR Sampler asks for the previews."""

PROMPT, PROMPTS = "instantir_prompt", "instantir_prompts"
"""The guider's name for the prompt that an entry of a CONDITIONING is of, and those of the prompts of a call, by number."""

TILES = "supir_tiles"
"""Which tiles the rows of a call are of."""

TILE = "supir_tile"
"""Marks the entry of a CONDITIONING that belongs to one tile, by its number."""

TILE_KEY = KEY + "_tiles"
"""Under which SUPIR Tiles' wrappers stand."""


def with_levels(model_options: dict[str, Any], timestep: Tensor) -> dict[str, Any]:
    """Options of a step with its noise levels as numbers.

    Where no sampler has told them they are read from the GPU. That waits for it, so it is done once a step, for all
    that ask at its calls.
    """
    options = model_options.get("transformer_options", {})
    if SIGMA in options:
        return model_options
    sigma, *levels = torch.cat([timestep.flatten()[:1], options["sample_sigmas"].to(timestep)]).tolist()
    read = {SIGMA: sigma, CHURNED: sigma, LEVELS: tuple(levels)}
    return {**model_options, "transformer_options": {**options, **read}}


def schedule_sigma(options: Mapping[str, Any], timestep: Tensor) -> float:
    """The noise level that schedules follow: before churn where the sampler tells it."""
    return options[SIGMA] if SIGMA in options else timestep.flatten()[0].item()


def scaled_latent(model: ModelPatcher, latent: Tensor, name: str) -> Tensor:
    """A latent as ComfyUI has it, in the scale that the UNet works in.

    Raises:
        ValueError: it is not one of SDXL's.
    """
    check_latent(latent.shape, name)
    return model.model.process_latent_in(latent)


def rows_for(z_lq: Tensor, x: Tensor, options: Mapping[str, Any]) -> Tensor:
    """The rows of z_lq that go with the rows of ``x``: prompts, then tiles, then pictures.

    Raises:
        ValueError: the sizes do not go together.
    """
    tiles = options.get(TILES)
    batch = len(x) // len(options["cond_or_uncond"]) // (len(tiles) if tiles else 1)
    if len(z_lq) not in (1, batch):
        raise ValueError(
            f"z_lq holds {len(z_lq)} pictures but {batch} are sampled; encode as many as are sampled, or one for all"
        )
    z_lq = z_lq.expand(batch, -1, -1, -1)
    if tiles:
        z_lq = crop_tiles(z_lq, tiles)
    if z_lq.shape[2:] != x.shape[2:]:
        (height, width), (ours, theirs) = ([8 * side for side in t.shape[2:]] for t in (z_lq, x))
        raise ValueError(
            f"z_lq is of a picture of {width}x{height} pixels but one of {theirs}x{ours} is sampled. Sample a latent of "
            "z_lq's size: the `empty` one of SUPIR Encode, or InstantIR Apply's z_lq itself. In place of areas and of nodes "
            "that tile, such as Ultimate SD Upscale, use SUPIR Tiles. In place of detailers, and inpaint crop and stitch, "
            "crop the picture first and give the crop to SUPIR Encode or InstantIR Apply"
        )
    return z_lq.repeat(len(x) // len(z_lq), 1, 1, 1)
