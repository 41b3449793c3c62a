"""Guidance that follows the noise level: linear CFG and restoration guidance, for any sampler."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any

from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP
from comfy_api.latest import io
from torch import Tensor

from ..supir_core.restoration.denoiser import LinearSchedule
from ..supir_core.supir.denoiser import UNGUIDED
from ..supir_core.supir.sampling import restore_towards
from .host import CATEGORY, KEY
from .inputs import check_setting, schedule_inputs, setting_input
from .notices import warn
from .options import CHURNED, LEVELS, SIGMA, Z_CENTER, scaled_latent, with_levels
from .prediction import watch_prediction
from .wrappers import on_device, replace_wrappers

GUIDANCE_KEY, CENTER_KEY = KEY + "_guidance", KEY + "_center"


@dataclass(frozen=True)
class LinearCfg:
    """PREDICT_NOISE wrapper: the sampler's CFG scale is replaced for each call."""

    cfg: LinearSchedule

    def __call__(
        self,
        executor: Any,
        x: Tensor,
        timestep: Tensor,
        model_options: dict[str, Any] | None = None,
        seed: int | None = None,
    ) -> Tensor:
        """As released, the scale follows the noise level after churn."""
        guider, told = executor.class_obj, with_levels(model_options or {}, timestep)
        if not has_one_scale(guider):
            return executor(x, timestep, told, seed)
        scale = self.scale(told["transformer_options"], timestep)
        if guider.conds.get("negative") is None and scale != 1:
            raise ValueError(
                "SUPIR Guidance needs a negative prompt, and this guider has none; use CFGGuider, or CFG 1 to 1"
            )
        before = guider.cfg
        guider.cfg = scale
        try:
            return executor(x, timestep, told, seed)
        finally:
            guider.cfg = before

    def scale(self, options: dict[str, Any], timestep: Tensor) -> float:
        """The scale of a step; its noise level is read from the GPU only where that is not known as a number."""
        if self.cfg.start == self.cfg.end:
            return self.cfg.end
        return self.cfg.at(options[CHURNED] if CHURNED in options else timestep.flatten()[0].item())

    def begin(self, executor: Any, *given: Any, **more: Any) -> Tensor:
        """An OUTER_SAMPLE wrapper that warns where the scale cannot act."""
        guider = executor.class_obj
        if self.cfg != UNGUIDED and not has_one_scale(guider):
            warn(
                f"the CFG of SUPIR Guidance does not act: {type(guider).__name__} has scales of its own, set those; "
                "or use CFGGuider"
            )
        return executor(*given, **more)


def has_one_scale(guider: Any) -> bool:
    """Whether a guider has one CFG scale; DualCFGGuider's, for one, has two."""
    return "cfg" in signature(guider.set_cfg).parameters


@dataclass(frozen=True, eq=False)
class Restoration:
    """Post-CFG function: pull the prediction towards stage 1 (Yu et al. 2024, Algorithm 1).

    Attributes:
        scale: exponent; larger pulls less, 0 is off.
    """

    scale: float

    def __call__(self, arguments: dict[str, Any]) -> Tensor:
        """See ``restore_towards``; z_center, the scaled latent of stage 1, ``(B, 4, h, w)``, is in the options."""
        denoised, options = arguments["denoised"], arguments["model_options"]["transformer_options"]
        z_center, sigma = options[Z_CENTER], options[SIGMA]
        if z_center.shape[2:] != denoised.shape[2:] or len(z_center) not in (1, len(denoised)):
            raise ValueError(
                f"z_center is {tuple(z_center.shape)} but {tuple(denoised.shape)} is sampled; "
                "encode the same pictures at the same size"
            )
        return restore_towards(denoised, z_center.to(denoised), self.scale, sigma, next_level(options[LEVELS], sigma))


def next_level(levels: Sequence[float], sigma: float) -> float:
    """The level after ``sigma`` in the sampler's schedule, 0 where there is none."""
    return max((level for level in levels if level < sigma * (1 - 1e-5)), default=0.0)


def apply_guidance(
    model: ModelPatcher, cfg: LinearSchedule, restoration_scale: float, z_center: Tensor | None
) -> ModelPatcher:
    """A MODEL with guidance, in place of guidance given earlier; ``z_center`` is a latent as ComfyUI has it."""
    if restoration_scale > 0 and z_center is None:
        raise ValueError(
            "restoration guidance needs z_center: connect that of SUPIR Encode, or set restoration_scale to 0"
        )
    changed = model.clone()
    watch_prediction(changed, GUIDANCE_KEY, "SUPIR Guidance")
    restoring = restoration_scale > 0 and z_center is not None
    latents = {Z_CENTER: scaled_latent(model, z_center, "z_center")} if restoring else {}
    linear = LinearCfg(cfg)
    replace_wrappers(changed, GUIDANCE_KEY, {WrappersMP.OUTER_SAMPLE: linear.begin, WrappersMP.PREDICT_NOISE: linear})
    replace_wrappers(changed, CENTER_KEY, {WrappersMP.OUTER_SAMPLE: on_device(latents)})
    functions = changed.model_options.get("sampler_post_cfg_function", [])
    kept = [function for function in functions if not isinstance(function, Restoration)]
    if restoring:
        kept.append(Restoration(restoration_scale))
    changed.model_options["sampler_post_cfg_function"] = kept
    return changed


class SupirGuidance(io.ComfyNode):
    """Linear CFG and restoration guidance."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SupirGuidance",
            display_name="SUPIR Guidance",
            category=CATEGORY,
            description="CFG that changes linearly with the noise level, in place of the sampler's own number, and the "
            "paper's restoration guidance. Works with KSampler, CFGGuider and any sampler.",
            search_aliases=["linear cfg", "restore cfg", "restoration guidance", "supir cfg"],
            inputs=[
                io.Model.Input("model", tooltip="From SUPIR Denoiser."),
                *schedule_inputs("cfg"),
                setting_input("restoration_scale"),
                io.Latent.Input(
                    "z_center",
                    optional=True,
                    tooltip="From SUPIR Encode; needed where restoration_scale is above 0.",
                ),
            ],
            outputs=[io.Model.Output(display_name="model", tooltip="The model, guided.")],
        )

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        cfg_start: float,
        cfg_end: float,
        restoration_scale: float,
        z_center: dict[str, Tensor] | None = None,
    ) -> io.NodeOutput:
        cfg, center = LinearSchedule(cfg_start, cfg_end), z_center["samples"] if z_center else None
        check_setting("cfg", cfg)
        check_setting("restoration_scale", restoration_scale)
        return io.NodeOutput(apply_guidance(model, cfg, restoration_scale, center))
