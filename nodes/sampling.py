"""SUPIR's samplers and schedules in ComfyUI's form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import comfy.samplers
import comfy.utils
import latent_preview
from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io
from torch import Tensor

from ..supir_core.instantir.settings import InstantSettings
from ..supir_core.restoration.finite import require_finite
from ..supir_core.restoration.frames import ALONE, Frame
from ..supir_core.restoration.noise import Noise, row_noise
from ..supir_core.sdxl.config import check_latent
from ..supir_core.sdxl.memory import memory_for
from ..supir_core.supir.sampling import published_sampler, schedule
from ..supir_core.supir.settings import Settings
from .conditioning import Conditioning
from .host import CATEGORY
from .inputs import check_setting, setting_input
from .options import LEVELS, SIGMA

Sampling = Callable[..., Tensor]


def sampler_object(name: str, s_churn: float, s_noise: float) -> comfy.samplers.KSAMPLER:
    """A SAMPLER; ``name`` is ``"edm"`` or ``"dpmpp_2m_sde"``."""
    return comfy.samplers.KSAMPLER(supir_sampler, {"sampling": published_sampler(name, s_churn, s_noise)})


@memory_for("sampling", "Use SUPIR Tiles with a smaller tile, such as 768")
def run_sampler(
    model: ModelPatcher,
    positive: Conditioning,
    negative: Conditioning,
    latent: Tensor,
    sampling: Sampling,
    settings: Settings | InstantSettings,
    cfg: float,
    mask: Tensor | None = None,
    frame: Frame = ALONE,
) -> Tensor:
    """Sample from a latent as ComfyUI has it, by a sampler of ours under the noise of the settings.

    Where ``mask`` is 0 the latent stays as it is, where it is 1 it is sampled; of any size, ``None`` is 1 throughout.
    Progress is told as that of ``frame`` among all pictures.

    Raises:
        NotFiniteError: the networks give values that are not finite.
        ValueError: it is not one of SDXL's latents.
    """
    check_latent(latent.shape, "the latent")
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(positive, negative)
    guider.set_cfg(cfg)
    seed, same, sigmas = settings.seed, settings.same_noise, settings.sigmas()
    latent = guider.sample(
        row_noise(seed, len(latent), same)(latent.cpu().float()),
        latent,
        comfy.samplers.KSAMPLER(supir_sampler, {"sampling": sampling, "same_noise": same}),
        sigmas,
        denoise_mask=mask,
        callback=_as_part(latent_preview.prepare_callback(model, len(sigmas) - 1), frame),
        disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
        seed=seed,
    )
    return require_finite(latent, "sampling")


def _as_part(tell: Callable[..., None], frame: Frame) -> Callable[..., None]:
    """ComfyUI's callback, told of the steps of one picture as part of those of all."""

    def callback(step: int, denoised: Tensor, x: Tensor, steps: int) -> None:
        tell(frame.number * steps + step, denoised, x, frame.total * steps)

    return callback


def supir_sampler(
    model: Any,
    x: Tensor,
    sigmas: Tensor,
    extra_args: dict[str, Any] | None = None,
    callback: Callable[[dict[str, Any]], None] | None = None,
    disable: bool | None = None,
    *,
    sampling: Sampling,
    same_noise: bool = False,
) -> Tensor:
    """A sampler of ours as ComfyUI's function; restoration guidance is the model's (see guidance.py)."""
    extra_args = extra_args or {}
    model_options = extra_args.get("model_options", {})
    sigmas = sigmas.cpu()
    transformer_options = {**model_options.get("transformer_options", {}), LEVELS: tuple(sigmas.tolist())}

    def denoiser(x: Tensor, sigma: Tensor, schedule_sigma: float) -> Tensor:
        told = {
            **model_options,
            "transformer_options": {**transformer_options, SIGMA: schedule_sigma},
        }
        return model(x, sigma, **{**extra_args, "model_options": told})

    def report(step: int, denoised: Tensor) -> None:
        if callback:
            callback({"x": x, "i": step, "sigma": sigmas[step], "sigma_hat": sigmas[step], "denoised": denoised})

    return sampling(denoiser, x, sigmas, churn_noise(extra_args.get("seed"), x, same_noise), callback=report)


def churn_noise(seed: int | None, x: Tensor, same: bool) -> Noise:
    """Noise that goes on where the start latent's noise of the same seed ended, in ``row_noise``'s way."""
    noise = row_noise(seed or 0, len(x), same)
    noise(x)
    return noise


def sampler_inputs() -> list[io.Input]:
    """The sampler and its noise."""
    return [
        setting_input("sampler"),
        setting_input("s_churn", advanced=True),
        setting_input("s_noise", advanced=True),
    ]


class SupirSamplerSelect(io.ComfyNode):
    """SUPIR's samplers for SamplerCustomAdvanced."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SupirSamplerSelect",
            display_name="SUPIR Sampler Select",
            category=CATEGORY,
            description="The published samplers as a SAMPLER, for SamplerCustomAdvanced.",
            search_aliases=["restore edm", "supir sampler", "RestoreEDMSampler", "s_churn"],
            inputs=sampler_inputs(),
            outputs=[io.Sampler.Output(display_name="sampler", tooltip="For SamplerCustomAdvanced.")],
        )

    @classmethod
    def execute(cls, sampler: str, s_churn: float, s_noise: float) -> io.NodeOutput:
        settings = Settings(sampler=sampler, s_churn=s_churn, s_noise=s_noise)
        return io.NodeOutput(sampler_object(settings.sampler, settings.s_churn, settings.s_noise))


class SupirScheduler(io.ComfyNode):
    """SUPIR's noise levels for SamplerCustomAdvanced."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SupirScheduler",
            display_name="SUPIR Scheduler",
            category=CATEGORY,
            description="The noise levels that SUPIR was published with, as SIGMAS.",
            search_aliases=["supir sigmas", "legacy ddpm"],
            inputs=[
                setting_input("steps"),
                setting_input(
                    "sampler",
                    tooltip="Evenly spaced training levels for edm, Karras levels between the same ends for dpmpp_2m_sde.",
                ),
            ],
            outputs=[io.Sigmas.Output(display_name="sigmas", tooltip="For SamplerCustomAdvanced.")],
        )

    @classmethod
    def execute(cls, steps: int, sampler: str) -> io.NodeOutput:
        check_setting("sampler", sampler)
        return io.NodeOutput(schedule(steps, sampler))
