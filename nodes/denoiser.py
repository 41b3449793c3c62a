"""SUPIR on a MODEL: adaptor and connectors act on every call of its UNet, whatever samples it.

Stateless wrappers: two spare the calls work that a sampling or a step does once, one tells ComfyUI the memory, one
prepares a call (which rows of z_lq, how strong, which copy of the adaptor), one runs the adaptor and hands its features to
the UNet's own patch points for that call alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import comfy.model_base
import comfy.model_sampling
from comfy.ldm.modules.diffusionmodules.openaimodel import Upsample
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP
from comfy_api.latest import io
from torch import Tensor

from ..supir_core.restoration.denoiser import LinearSchedule
from ..supir_core.sdxl.config import UNetConfig
from ..supir_core.sdxl.schedule import nearest_index
from ..supir_core.supir.adaptor import Adaptor
from ..supir_core.supir.connectors import ConnectorFusion
from .host import CATEGORY, KEY, SupirModelType
from .inputs import check_setting, schedule_inputs
from .loader import SupirWeights
from .options import SUPIR_CALL, TILE, TILE_KEY, Z_LQ, rows_for, scaled_latent, schedule_sigma
from .prediction import watch_prediction
from .wrappers import (
    Options,
    UNetInputs,
    before_model,
    before_unet,
    on_device,
    replace_wrappers,
    reserving,
    tell_levels,
)
from .wrong_crop import warn_of_crops

FEATURE_SHARE = 1.2
"""Memory of a call against the UNet's alone.

The adaptor's features are kept while the UNet runs: 1640 numbers a latent pixel, a fifth of what ComfyUI reckons
for SDXL's own work. The adaptor's other activations are gone by then.
"""


class Call(NamedTuple):
    """What one call of the UNet needs to know."""

    adaptor: Adaptor
    z_lq: Tensor
    strength: float


@dataclass(frozen=True, eq=False)
class AdaptorWrappers:
    """The wrappers of one application.

    Attributes:
        z_lq: low-quality latent, scaled, ``(B, 4, h, w)``.
        strength: of the adaptor.
    """

    z_lq: Tensor
    strength: LinearSchedule

    def register(self, model: ModelPatcher) -> None:
        """Add the wrappers to a model, in place of those of an earlier application."""
        wrappers = {
            WrappersMP.OUTER_SAMPLE: on_device({Z_LQ: self.z_lq}),
            WrappersMP.PREPARE_SAMPLING: prepare_sampling,
            WrappersMP.PREDICT_NOISE: tell_levels,
            WrappersMP.APPLY_MODEL: before_model(self.prepare),
            WrappersMP.DIFFUSION_MODEL: before_unet(run_adaptor),
        }
        replace_wrappers(model, KEY, wrappers)

    def prepare(self, model: Any, x: Tensor, sigma: Tensor, options: Mapping[str, Any]) -> tuple[Tensor, Options]:
        """Snap the noise level as released, and leave the call's needs in its options."""
        adaptor = model.current_patcher.get_additional_models_with_key(KEY)[0].model
        strength = self.strength.at(schedule_sigma(options, sigma))
        call = Call(adaptor, rows_for(options[Z_LQ], x, options), strength)
        return snap(model.model_sampling, sigma), {**options, SUPIR_CALL: call}


def snap(model_sampling: comfy.model_sampling.ModelSamplingDiscrete, sigma: Tensor) -> Tensor:
    """As released, the nearest training noise level, by linear distance."""
    table = model_sampling.sigmas.to(sigma)
    return table[nearest_index(sigma, table)]


def run_adaptor(executor: Any, given: UNetInputs, control: Any, options: Options, rest: Options) -> tuple[Any, Options]:
    """Read z_lq, and put the connectors into the UNet's patch points."""
    adaptor, z_lq, strength = options[SUPIR_CALL]
    if strength:
        x, timesteps, context, y = given
        fusion = adaptor(z_lq.to(x), x[:, :4], timesteps, context, y, strength)
        options = with_connectors(options, fusion)
    return control, options


def with_connectors(options: dict[str, Any], fusion: ConnectorFusion) -> dict[str, Any]:
    """Options for one call, in which the connectors come after all other patches."""

    def middle(arguments: dict[str, Any]) -> dict[str, Tensor]:
        check_size(arguments["h"], fusion.features[-1])
        return {"h": fusion.middle(arguments["h"])}

    def join(h: Tensor, skip: Tensor | None, now: dict[str, Any]) -> tuple[Tensor, None]:
        if skip is None:
            raise ValueError(
                "another node has joined the UNet's skips already, probably ComfyUI's SUPIRApply; "
                "use either that or SUPIR Denoiser"
            )
        return fusion.join(now["block"][1], h, skip), None

    def upsample(
        layer: Upsample, h: Tensor, emb: Tensor, context: Tensor, now: dict[str, Any], shape: Any, *_: Any
    ) -> Tensor:
        return layer(fusion.before_upsample(now["block"][1], h), output_shape=shape)

    patches: dict[str, list[Any]] = {name: list(some) for name, some in options.get("patches", {}).items()}
    patches.setdefault("middle_block_after_patch", []).append(middle)
    patches.setdefault("output_block_patch", []).append(join)
    patches.setdefault("forward_timestep_embed_patch", []).insert(0, (Upsample, upsample))
    return {**options, "patches": patches}


def check_size(h: Tensor, feature: Tensor) -> None:
    """Raise ValueError where another patch has changed the resolution within the UNet."""
    if h.shape[2:] != feature.shape[2:]:
        raise ValueError(
            f"another node changed the UNet's inner size to {tuple(h.shape[2:])}, where SUPIR has "
            f"{tuple(feature.shape[2:])}; remove nodes such as PatchModelAddDownscale (Kohya Deep Shrink)"
        )


def prepare_sampling(
    executor: Any,
    model: ModelPatcher,
    noise_shape: Any,
    conds: dict[str, list[Options]],
    *rest: Any,
    **more: Any,
) -> Any:
    """Tell ComfyUI of the memory beside the UNet's.

    Raises:
        ValueError: there are captions for tiles, but no tiles.
    """
    tiled = model.get_wrappers(WrappersMP.CALC_COND_BATCH, TILE_KEY)
    if not tiled and any(TILE in entry for entries in conds.values() for entry in entries):
        raise ValueError(
            "got a caption for each tile, but the model has no tiles; add SUPIR Tiles, or give one caption"
        )
    return reserving(FEATURE_SHARE)(executor, model, noise_shape, conds, *rest, **more)


def apply_supir(model: ModelPatcher, weights: SupirWeights, z_lq: Tensor, strength: LinearSchedule) -> ModelPatcher:
    """A MODEL that restores ``z_lq``, a latent as ComfyUI has it."""
    check_model(model, weights.config, "SUPIR", weights.name)
    changed = model.clone()
    watch_prediction(changed, KEY, "SUPIR")
    changed.set_additional_models(KEY, [weights.adaptor.clone()])
    AdaptorWrappers(scaled_latent(model, z_lq, "z_lq"), strength).register(changed)
    warn_of_crops(changed, KEY, z_lq, "SUPIR Encode")
    return changed


def check_model(model: ModelPatcher, config: UNetConfig, method: str, name: str) -> None:
    """Raise ValueError unless the model is an SDXL of the sizes that a method's weights, of that name, were made for."""
    base = model.model
    if not isinstance(base, comfy.model_base.SDXL):
        raise ValueError(
            f"{method} needs an SDXL model, got {type(base).__name__}; load an SDXL base checkpoint "
            "(not SD 1.5, the SDXL refiner or Flux)"
        )
    sizes = base.model_config.unet_config
    widths = tuple(sizes["model_channels"] * factor for factor in sizes["channel_mult"])
    theirs = (widths, sizes["context_dim"], sizes["adm_in_channels"])
    ours = (config.widths, config.context_width, config.vector_width)
    if theirs != ours:
        raise ValueError(
            f"the model and {name} do not belong together: (widths, text, vector) are {theirs} in the model and {ours} in "
            f"{name}; use {method}'s weights with SDXL and the demo's with the demo's"
        )


class SupirDenoiser(io.ComfyNode):
    """Patch a MODEL with SUPIR."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SupirDenoiser",
            display_name="SUPIR Denoiser (ZeroSFT)",
            category=CATEGORY,
            description="Lets an SDXL model follow the damaged picture. Works with any sampler, LoRA, FreeU, ControlNet "
            "and other patches; applied twice, the last one counts.",
            search_aliases=["supir apply", "zerosft", "SUPIRApply", "SUPIR_sample"],
            inputs=[
                io.Model.Input("model", tooltip="An SDXL model, with or without LoRA and other patches."),
                SupirModelType.Input("supir_model", tooltip="From SUPIR Load Model."),
                io.Latent.Input("z_lq", tooltip="From SUPIR Encode."),
                *schedule_inputs("strength", "control"),
            ],
            outputs=[io.Model.Output(display_name="model", tooltip="The model, held to the damaged picture.")],
        )

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        supir_model: SupirWeights,
        z_lq: dict[str, Tensor],
        strength_start: float,
        strength_end: float,
    ) -> io.NodeOutput:
        strength = LinearSchedule(strength_start, strength_end)
        check_setting("strength", strength, "control")
        return io.NodeOutput(apply_supir(model, supir_model, z_lq["samples"], strength))
