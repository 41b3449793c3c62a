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

from ..supir_core.restoration.finite import require_finite
from ..supir_core.restoration.noise import Noise, row_noise
from ..supir_core.sdxl.config import check_latent
from ..supir_core.supir.sampling import published_sampler, schedule
from .conditioning import Conditioning
from .host import CATEGORY
from .inputs import setting_input
from .options import LEVELS, SIGMA

Sampling = Callable[..., Tensor]


def sampler_object(name: str, s_churn: float, s_noise: float) -> comfy.samplers.KSAMPLER:
    """A SAMPLER; ``name`` is ``"edm"`` or ``"dpmpp_2m_sde"``."""
    return comfy.samplers.KSAMPLER(supir_sampler, {"sampling": published_sampler(name, s_churn, s_noise)})


def run_sampler(
    model: ModelPatcher,
    positive: Conditioning,
    negative: Conditioning,
    latent: Tensor,
    sampler: comfy.samplers.KSAMPLER,
    sigmas: Tensor,
    cfg: float,
    seed: int,
    mask: Tensor | None = None,
) -> Tensor:
    """Sample from a latent as ComfyUI has it, under noise whose row i has the seed ``seed + i``.

    Where ``mask`` is 0 the latent stays as it is, where it is 1 it is sampled; of any size, ``None`` is 1 throughout.

    Raises:
        NotFiniteError: the networks give values that are not finite.
        ValueError: it is not one of SDXL's latents.
    """
    check_latent(latent.shape, "the latent")
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(positive, negative)
    guider.set_cfg(cfg)
    latent = guider.sample(
        row_noise(seed, len(latent))(latent.cpu().float()),
        latent,
        sampler,
        sigmas,
        denoise_mask=mask,
        callback=latent_preview.prepare_callback(model, len(sigmas) - 1),
        disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
        seed=seed,
    )
    return require_finite(latent, "sampling")


def supir_sampler(
    model: Any,
    x: Tensor,
    sigmas: Tensor,
    extra_args: dict[str, Any] | None = None,
    callback: Callable[[dict[str, Any]], None] | None = None,
    disable: bool | None = None,
    *,
    sampling: Sampling,
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

    return sampling(denoiser, x, sigmas, churn_noise(extra_args.get("seed"), x), callback=report)


def churn_noise(seed: int | None, x: Tensor) -> Noise:
    """Noise that goes on where the start latent's noise of the same seed ended."""
    noise = row_noise(seed or 0, len(x))
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
        return io.NodeOutput(sampler_object(sampler, s_churn, s_noise))


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
        return io.NodeOutput(schedule(steps, sampler))
