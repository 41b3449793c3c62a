"""Everything between encode and decode in one node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import comfy.sampler_helpers
import torch
from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io
from torch import Tensor

from ..supir_core.restoration.denoiser import LinearSchedule
from ..supir_core.restoration.frames import ALONE, Frame
from ..supir_core.supir.sampling import published_sampler
from ..supir_core.supir.settings import DEFAULT_PRESET, PRESETS, Settings
from ..supir_core.supir.settings import preset as settings_of_preset
from .conditioning import Conditioning
from .denoiser import apply_supir
from .guidance import apply_guidance
from .host import CATEGORY, SupirModelType
from .inputs import same_noise_input, schedule_inputs, seed_input, setting_input, tile_inputs
from .loader import SupirWeights
from .sampling import run_sampler, sampler_inputs
from .tiles import apply_tiles

CUSTOM = "custom"


def sample(
    model: ModelPatcher,
    weights: SupirWeights,
    positive: Conditioning,
    negative: Conditioning,
    z_lq: Tensor,
    z_center: Tensor | None,
    settings: Settings,
    mask: Tensor | None = None,
    node: str | None = None,
    frame: Frame = ALONE,
) -> Tensor:
    """Restore ``z_lq``, which is ``frame`` of a batch or a batch itself; latents are as ComfyUI has them.

    Where ``mask`` is 0 the result is ``z_lq`` itself. The node of the id ``node`` shows the tiles.
    """
    model = apply_supir(model, weights, z_lq, settings.control)
    model = apply_guidance(model, settings.cfg, settings.restoration_scale, z_center)
    model = apply_tiles(model, settings, node)
    sampling = published_sampler(settings.sampler, settings.s_churn, settings.s_noise)
    start = start_latent(z_lq, mask) if settings.strength == 1 else z_lq
    return run_sampler(model, positive, negative, start, sampling, settings, settings.cfg.start, mask, frame)


def start_latent(z_lq: Tensor, mask: Tensor | None) -> Tensor:
    """Empty where all is sampled, as published, and ``z_lq`` where any of it stays."""
    empty = z_lq.new_zeros(z_lq.shape)
    if mask is None:
        return empty
    sampled = comfy.sampler_helpers.prepare_mask(mask, z_lq.shape, z_lq.device)
    return torch.where(sampled < 1, z_lq, empty)


def preset_input(options: Sequence[str], default: str, more: str) -> io.Combo.Input:
    """Which preset; ``more`` says what the options do that are none."""
    return io.Combo.Input(
        "preset",
        options=list(options),
        default=default,
        tooltip="quality: heavy damage, SUPIR-v0Q, 50 steps. fidelity: light damage, SUPIR-v0F, 50 steps. paper: "
        f"as in its tables, 100 steps. lightning: 8 steps, with a Lightning SDXL checkpoint. demo: for the demo weights. {more}",
    )


class SupirSampler(io.ComfyNode):
    """Denoiser, guidance, tiles and sampler in one."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SupirSampler",
            display_name="SUPIR Sampler",
            category=CATEGORY,
            description="The tiled, restoration-guided sampler in one node: SUPIR Denoiser, Guidance, Tiles, Scheduler and "
            "SamplerCustomAdvanced together.",
            search_aliases=["supir sample", "SUPIR_sample", "restore"],
            inputs=[
                io.Model.Input("model", tooltip="An SDXL model, with or without LoRA and other patches."),
                SupirModelType.Input("supir_model", tooltip="From SUPIR Load Model."),
                io.Conditioning.Input("positive", tooltip="From SUPIR Conditioning."),
                io.Conditioning.Input("negative", tooltip="From SUPIR Conditioning."),
                io.Latent.Input(
                    "z_lq", tooltip="From SUPIR Encode. Where a noise mask leaves it out, it stays as it is."
                ),
                preset_input((*PRESETS, CUSTOM), DEFAULT_PRESET, "custom: the numbers below."),
                seed_input(),
                *tile_inputs(),
                *(
                    _custom(given)
                    for given in (
                        setting_input("steps"),
                        *schedule_inputs("cfg"),
                        *schedule_inputs("strength", "control"),
                        setting_input("restoration_scale"),
                        *sampler_inputs(),
                    )
                ),
                io.Latent.Input(
                    "z_center",
                    optional=True,
                    tooltip="From SUPIR Encode; needed by the presets demo and paper and where restoration_scale is above 0.",
                ),
                same_noise_input(),
            ],
            outputs=[io.Latent.Output(display_name="latent", tooltip="The restored latent, for VAE Decode.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        supir_model: SupirWeights,
        positive: Conditioning,
        negative: Conditioning,
        z_lq: dict[str, Tensor],
        preset: str,
        seed: int,
        tile: int,
        overlap: int,
        z_center: dict[str, Tensor] | None = None,
        same_noise: bool = False,
        **custom: Any,
    ) -> io.NodeOutput:
        settings = settings_of(custom) if preset == CUSTOM else settings_of_preset(preset)
        settings = replace(settings, seed=seed, tile=tile, overlap=overlap, same_noise=same_noise)
        center = z_center["samples"] if z_center else None
        mask, node = z_lq.get("noise_mask"), cls.hidden.unique_id
        latent = sample(model, supir_model, positive, negative, z_lq["samples"], center, settings, mask, node)
        return io.NodeOutput({**z_lq, "samples": latent})


def settings_of(custom: dict[str, Any]) -> Settings:
    """Settings from the numbers of the node."""
    numbers = dict(custom)
    cfg = LinearSchedule(numbers.pop("cfg_start"), numbers.pop("cfg_end"))
    control = LinearSchedule(numbers.pop("strength_start"), numbers.pop("strength_end"))
    return Settings(cfg=cfg, control=control, **numbers)


def _custom(given: io.Input) -> io.Input:
    """An input that counts only where the preset is custom."""
    given.advanced = True
    given.tooltip = f"With preset custom. {given.tooltip}"
    return given
