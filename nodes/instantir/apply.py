"""InstantIR on a MODEL: at every step the UNet first previews the picture, then is corrected by the preview.

Wrappers as for SUPIR (see ../denoiser.py), and one more, which opens a Run for each sampling: what is kept from call to
call lives and dies with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, NamedTuple

import comfy.ldm.modules.diffusionmodules.openaimodel as openaimodel
import torch
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ...supir_core.instantir.adaptive import Adaptive
from ...supir_core.instantir.aggregator import Residuals, check_height
from ...supir_core.instantir.correction import Correction, Rows
from ...supir_core.instantir.image_attention import AttentionSite, KeyValue, attention_sites, image_rows
from ...supir_core.instantir.sampling import Control
from ..denoiser import check_model
from ..host import attention
from ..options import INSTANTIR_CALL, INSTANTIR_RUN, PREVIEWS, PROMPT, TILES, rows_for, scaled_latent, schedule_sigma
from ..prediction import watch_prediction
from ..wrappers import Options, UNetInputs, before_model, before_unet, replace_wrappers, reserving, tell_levels
from ..wrong_crop import warn_of_crops
from .loader import InstantIRNetworks, InstantIRWeights
from .prompts import of_none, prompts_of, size_condition, tell_prompts

KEY = "instantir"
POSITIVE = "positive"
"""What every guider calls the prompt that the preview is of."""

AGGREGATOR_SHARE = 2.0
"""Memory of a call against the UNet's alone: the aggregator's encoder sees two pictures, one above the other."""

Patch = Callable[[Tensor, Tensor, Tensor, dict[str, Any]], Tensor]


class Previews:
    """The preview of each step of a run, for who looks at them: no list, as ComfyUI copies those in options."""

    def __init__(self) -> None:
        self.steps: list[Tensor] = []


class Run:
    """What one sampling keeps from call to call.

    Args:
        correction: how residuals are made.
        z_lq: latent of the damaged picture on the device, scaled, ``(B, 4, h, w)``.
        previews: where the preview of each step is kept, if somebody wants them.
    """

    def __init__(self, correction: Correction, z_lq: Tensor, previews: Previews | None):
        self.correction = correction
        self.z_lq = z_lq
        self.previews = previews
        self._read: dict[bool, tuple[list[KeyValue], ...]] = {}

    def read(
        self, networks: InstantIRNetworks, features: Sequence[Tensor], branched: bool, like: Tensor
    ) -> tuple[list[KeyValue], ...]:
        """Keys and values of all layers for each of the features, made once, where ``like`` is."""
        if branched not in self._read:
            self._read[branched] = tuple(networks.adapter.read(some.to(like)) for some in features)
        return self._read[branched]


class Call(NamedTuple):
    """What one call of the UNet needs to know."""

    networks: InstantIRNetworks
    z_lq: Tensor
    sigma: Tensor


@dataclass(frozen=True, eq=False)
class InstantIRWrappers:
    """The wrappers of one application.

    Attributes:
        z_lq: latent of the damaged picture, scaled, ``(B, 4, h, w)``.
        features: DINOv2 features of the pictures, ``(B, 257, width)``, and of none, ``(1, 257, width)``.
        control: how strongly and when the picture is followed.
        adaptive: mode of adaptive restoration.
    """

    z_lq: Tensor
    features: tuple[Tensor, Tensor]
    control: Control
    adaptive: str

    def register(self, model: ModelPatcher) -> None:
        """Add the wrappers to a model, in place of those of an earlier application."""
        wrappers = {
            WrappersMP.OUTER_SAMPLE: self.open_run,
            WrappersMP.PREPARE_SAMPLING: reserving(AGGREGATOR_SHARE),
            WrappersMP.PREDICT_NOISE: tell_levels,
            WrappersMP.CALC_COND_BATCH: tell_prompts,
            WrappersMP.APPLY_MODEL: before_model(self.prepare),
            WrappersMP.DIFFUSION_MODEL: before_unet(self.steer),
        }
        replace_wrappers(model, KEY, wrappers)
        others = model.model_options.get("sampler_post_cfg_function", [])
        kept = [function for function in others if function is not end_step]
        model.model_options["sampler_post_cfg_function"] = [*kept, end_step]

    def open_run(
        self,
        executor: Any,
        noise: Tensor,
        latent: Tensor,
        sampler: Any,
        sigmas: Tensor,
        *rest: Any,
        **more: Any,
    ) -> Tensor:
        """Begin a sampling with nothing kept, the prompts under the size of what the networks see at once, each with its name."""
        guider = executor.class_obj
        sizes = size_condition(guider.model_patcher, latent)
        guider.conds = {
            name: [{**entry, **sizes, PROMPT: name} for entry in some] for name, some in guider.conds.items()
        }
        options = guider.model_options["transformer_options"]
        correction = Correction(self.control, Adaptive(self.adaptive), sigmas.cpu())
        options[INSTANTIR_RUN] = Run(correction, self.z_lq.to(guider.model_patcher.load_device), options.get(PREVIEWS))
        try:
            return executor(noise, latent, sampler, sigmas, *rest, **more)
        finally:
            del options[INSTANTIR_RUN]

    def prepare(self, model: Any, x: Tensor, sigma: Tensor, options: Mapping[str, Any]) -> tuple[Tensor, Options]:
        """Leave the call's needs in its options."""
        networks = model.current_patcher.get_additional_models_with_key(KEY)[0].model
        call = Call(networks, rows_for(options[INSTANTIR_RUN].z_lq, x, options), sigma)
        return sigma, {**options, INSTANTIR_CALL: call}

    @torch.compiler.disable  # the previewer's branches come and go: all would be compiled anew each time
    def steer(
        self,
        executor: Any,
        given: UNetInputs,
        control: Any,
        transformer_options: Options,
        rest: Options,
    ) -> tuple[Any, Options]:
        """Preview, and what the UNet gets besides its inputs: control, to which the residuals are added, and options.

        Other ControlNets act in the corrected call only.
        """
        x, timesteps, _, y = given
        call, run, unet = (
            transformer_options[INSTANTIR_CALL],
            transformer_options[INSTANTIR_RUN],
            executor.class_obj,
        )
        embedding = unet_embedding(unet, timesteps, y, x.dtype)

        def options(branched: bool) -> dict[str, Any]:
            previewer = call.networks.previewer
            with previewer.applied_to(adapter=call.networks.adapter) if branched else nullcontext():
                image = self.image_rows(run, call.networks, embedding, transformer_options, branched)
            return with_image(transformer_options, attention_sites(call.networks.config), image)

        def predict() -> Tensor:
            with call.networks.previewer.applied_to(unet):
                # the bare UNet: caches among the wrappers would take this for a step of its own
                return executor.original(*given, None, options(True), **rest)

        residuals = run.correction.residuals(
            call.networks.aggregator,
            rows_of(call, x, timesteps, y, prompts_of(transformer_options)),
            schedule_sigma(transformer_options, call.sigma),
            predict,
            transformer_options.get(TILES, ()),
        )
        return with_residuals(control, residuals) if residuals else control, options(False)

    def image_rows(
        self,
        run: Run,
        networks: InstantIRNetworks,
        embedding: Tensor,
        options: Mapping[str, Any],
        branched: bool,
    ) -> list[KeyValue]:
        """Keys and values of the image tokens for the rows of a call: prompts, then tiles, then pictures."""
        prompts, tiles = [of_none(name) for name in prompts_of(options)], len(options.get(TILES, ())) or 1
        read = run.read(networks, self.features, branched, embedding)
        pictures = len(embedding) // len(prompts) // tiles
        return image_rows(read, networks.adapter.modulations(embedding), prompts, pictures, tiles)


def rows_of(call: Call, x: Tensor, timesteps: Tensor, y: Tensor, prompts: Sequence[str | None]) -> Rows:
    """The rows of a call as the library has them."""
    positive = prompts.index(POSITIVE) if POSITIVE in prompts else None
    return Rows(x[:, :4], call.sigma, timesteps, y, call.z_lq.to(x), len(prompts), positive)


def unet_embedding(unet: Any, timesteps: Tensor, y: Tensor, dtype: torch.dtype) -> Tensor:
    """The UNet's own embedding of time and vector, ``(R, width)``, which it does not give out."""
    time = openaimodel.timestep_embedding(timesteps, unet.model_channels, repeat_only=False).to(dtype)
    return unet.time_embed(time) + unet.label_emb(y.to(dtype))


def with_image(options: dict[str, Any], layers: Sequence[AttentionSite], image: Sequence[KeyValue]) -> dict[str, Any]:
    """Options for one call, in which every attention over the text reads the image tokens too."""
    replaced = {name: dict(some) for name, some in options.get("patches_replace", {}).items()}
    attn2 = replaced.setdefault("attn2", {})
    for site, kv in zip(layers, image, strict=True):
        key = (site.kind, site.number, site.depth)
        attn2[key] = image_patch(kv, attn2.get(key, attn2.get(key[:2])))
    return {**options, "patches_replace": replaced}


def image_patch(image: KeyValue, before: Patch | None) -> Patch:
    """A patch that adds the attention over the image tokens to what the text gives, or to what another patch does."""

    def patch(q: Tensor, k: Tensor, v: Tensor, options: dict[str, Any]) -> Tensor:
        heads = options["n_heads"]
        text = before(q, k, v, options) if before else attention(q, k, v, heads)
        return text + attention(q, image.k.to(q), image.v.to(q), heads)

    return patch


def with_residuals(control: dict[str, list[Any]] | None, residuals: Residuals) -> dict[str, list[Any]]:
    """ComfyUI's control of a call with the residuals added; it takes from the ends of the lists."""
    theirs = {name: list(some) for name, some in (control or {}).items()}
    for name, ours in (("output", residuals.skips), ("middle", [residuals.middle])):
        pairs = zip_longest(reversed(ours), reversed(theirs.get(name, [])))
        theirs[name] = [_sum(*pair) for pair in pairs][::-1]
    return theirs


def _sum(ours: Tensor | None, theirs: Tensor | None) -> Tensor | None:
    if ours is None or theirs is None:
        return theirs if ours is None else ours
    return ours + theirs.to(ours)


def end_step(arguments: dict[str, Any]) -> Tensor:
    """Post-CFG function: the step's guided prediction is known, its preview is whole."""
    denoised = arguments["denoised"]
    run: Run = arguments["model_options"]["transformer_options"][INSTANTIR_RUN]
    preview = run.correction.end_step(denoised)
    if preview is not None and run.previews is not None:
        run.previews.steps.append(preview)
    return denoised


def apply_instantir(
    model: ModelPatcher,
    weights: InstantIRWeights,
    z_lq: Tensor,
    features: tuple[Tensor, Tensor],
    control: Control,
    adaptive: str,
) -> ModelPatcher:
    """A MODEL that restores ``z_lq``, a latent as ComfyUI has it."""
    check_model(model, weights.config, "InstantIR", weights.name)
    scaled = scaled_latent(model, z_lq, "z_lq")
    check_height(z_lq.shape[2])
    changed = model.clone()
    watch_prediction(changed, KEY, "InstantIR")
    changed.set_additional_models(KEY, [weights.networks.clone()])
    InstantIRWrappers(scaled, features, control, adaptive).register(changed)
    warn_of_crops(changed, KEY, z_lq, "InstantIR Apply")
    return changed
