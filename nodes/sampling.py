"""SUPIR's samplers and schedules in ComfyUI's form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import comfy.samplers
from comfy_api.latest import io
from torch import Tensor

from ..supir_core.restoration.noise import Noise, seeded_noise
from ..supir_core.restoration.settings import CHOICES
from ..supir_core.supir.sampling import sample_restore_dpmpp_2m_sde, sample_restore_edm, schedule
from .host import CATEGORY, advanced
from .options import SIGMA

Sampling = Callable[..., Tensor]


def sampler_object(name: str, s_churn: float, s_noise: float) -> comfy.samplers.KSAMPLER:
    """A SAMPLER; ``name`` is ``"edm"`` or ``"dpmpp_2m_sde"``."""
    options: dict[str, Any] = {"sampling": sample_restore_dpmpp_2m_sde, "s_noise": s_noise}
    if name == "edm":
        options = {"sampling": sample_restore_edm, "s_noise": s_noise, "s_churn": s_churn}
    return comfy.samplers.KSAMPLER(supir_sampler, options)


def supir_sampler(
    model: Any,
    x: Tensor,
    sigmas: Tensor,
    extra_args: dict[str, Any] | None = None,
    callback: Callable[[dict[str, Any]], None] | None = None,
    disable: bool | None = None,
    *,
    sampling: Sampling,
    **options: float,
) -> Tensor:
    """A sampler of ours as ComfyUI's function; restoration guidance is the model's (see guidance.py)."""
    extra_args = extra_args or {}
    model_options = extra_args.get("model_options", {})
    transformer_options = model_options.get("transformer_options", {})

    def denoiser(x: Tensor, sigma: Tensor, schedule_sigma: float) -> Tensor:
        told = {
            **model_options,
            "transformer_options": {**transformer_options, SIGMA: schedule_sigma},
        }
        return model(x, sigma, **{**extra_args, "model_options": told})

    def report(step: int, denoised: Tensor) -> None:
        if callback:
            callback(
                {"x": x, "i": step, "sigma": sigmas[step], "sigma_hat": sigmas[step], "denoised": denoised}
            )

    return sampling(denoiser, x, sigmas, churn_noise(extra_args.get("seed"), x), callback=report, **options)


def churn_noise(seed: int | None, x: Tensor) -> Noise:
    """Noise that goes on where the start latent's noise of the same seed ended."""
    noise = seeded_noise([(seed or 0) + row for row in range(len(x))])
    noise(x)
    return noise


def sampler_inputs() -> list[io.Input]:
    """The sampler and its noise."""
    return [
        io.Combo.Input(
            "sampler",
            options=list(CHOICES["sampler"]),
            default="edm",
            tooltip="edm: the paper's, about 50 steps. dpmpp_2m_sde: 8 to 10 steps with a Lightning checkpoint.",
        ),
        io.Float.Input(
            "s_churn",
            default=5.0,
            min=0.0,
            max=40.0,
            step=0.1,
            **advanced(tooltip="Fresh noise over all steps (edm only). 5 as published, 0 for none."),
        ),
        io.Float.Input(
            "s_noise",
            default=1.02,
            min=0.9,
            max=1.1,
            step=0.001,
            **advanced(
                tooltip="Strength of added noise: 1.01 is true to the input, 1.02 gives more texture, then "
                "grain; 1 with a Lightning checkpoint."
            ),
        ),
    ]


def steps_input() -> io.Int.Input:
    """How many steps."""
    return io.Int.Input(
        "steps", default=50, min=1, max=1000, tooltip="50 with edm; 8 to 10 with a Lightning checkpoint."
    )


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
                steps_input(),
                io.Combo.Input(
                    "sampler",
                    options=list(CHOICES["sampler"]),
                    default="edm",
                    tooltip="Evenly spaced training levels for edm, Karras levels between the same ends for dpmpp_2m_sde.",
                ),
            ],
            outputs=[io.Sigmas.Output(display_name="sigmas", tooltip="For SamplerCustomAdvanced.")],
        )

    @classmethod
    def execute(cls, steps: int, sampler: str) -> io.NodeOutput:
        return io.NodeOutput(schedule(steps, sampler))
