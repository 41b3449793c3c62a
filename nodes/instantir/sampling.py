"""InstantIR's noise levels, and its sampler in one node, which gives the previews too."""

from __future__ import annotations

from typing import Any

import torch
from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io
from torch import Tensor

from ...supir_core.instantir.sampling import instantir_sigmas, sample_ddpm
from ...supir_core.instantir.settings import InstantSettings
from ...supir_core.restoration.frames import ALONE, Frame
from ..conditioning import Conditioning
from ..inputs import same_noise_input, seed_input, setting_input
from ..options import PREVIEWS
from ..sampling import run_sampler
from .apply import Previews
from .loader import CATEGORY


def sample(
    model: ModelPatcher,
    positive: Conditioning,
    negative: Conditioning,
    z_lq: Tensor,
    settings: InstantSettings,
    mask: Tensor | None = None,
    frame: Frame = ALONE,
) -> tuple[Tensor, Tensor]:
    """The restored latent and the previews of all steps, ``(steps * B, 4, h, w)``, as ComfyUI has latents.

    Where ``mask`` is 0 the latent stays as it is. Without a preview there is one of zeros.
    """
    model = model.clone()
    previews = Previews()
    model.model_options["transformer_options"][PREVIEWS] = previews
    latent = run_sampler(model, positive, negative, z_lq, sample_ddpm, settings, settings.cfg, mask, frame)
    shown = torch.cat(previews.steps).cpu() if previews.steps else torch.zeros_like(latent)
    return latent, model.model.process_latent_out(shown)


class InstantIRSigmas(io.ComfyNode):
    """InstantIR's noise levels for SamplerCustomAdvanced."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="InstantIRSigmas",
            display_name="InstantIR Sigmas",
            category=CATEGORY,
            description="The noise levels that InstantIR was published with, as SIGMAS. Use them with the sampler ddpm, and "
            "start from InstantIR Apply's z_lq.",
            search_aliases=["instantir scheduler", "ddpm schedule"],
            inputs=[setting_input("steps", InstantSettings)],
            outputs=[io.Sigmas.Output(display_name="sigmas", tooltip="For SamplerCustomAdvanced.")],
        )

    @classmethod
    def execute(cls, steps: int) -> io.NodeOutput:
        return io.NodeOutput(instantir_sigmas(steps))


class InstantIRSampler(io.ComfyNode):
    """Noise levels, sampler and previews in one."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="InstantIRSampler",
            display_name="InstantIR Sampler",
            category=CATEGORY,
            description="The published sampler in one node: noise levels, DDPM, guidance. It also gives the previews by which "
            "InstantIR steers itself.",
            search_aliases=["instantir sample", "ddpm"],
            inputs=[
                io.Model.Input("model", tooltip="From InstantIR Apply, with SUPIR Tiles for large pictures."),
                io.Conditioning.Input("positive", tooltip="What the picture should be like; see InstantIR Apply."),
                io.Conditioning.Input("negative", tooltip="What to keep away from."),
                io.Latent.Input(
                    "z_lq",
                    tooltip="From InstantIR Apply: sampling starts from it, under noise. Where a noise mask leaves it out, it stays as it "
                    "is.",
                ),
                seed_input(),
                setting_input("steps", InstantSettings),
                setting_input("cfg", InstantSettings),
                same_noise_input(),
            ],
            outputs=[
                io.Latent.Output(display_name="latent", tooltip="The restored latent, for VAE Decode."),
                io.Latent.Output(
                    display_name="previews",
                    tooltip="What InstantIR foresaw at each step, as a batch in the order of the steps; decode it with the "
                    "VAE to look at it.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        positive: Conditioning,
        negative: Conditioning,
        z_lq: dict[str, Any],
        seed: int,
        steps: int,
        cfg: float,
        same_noise: bool = False,
    ) -> io.NodeOutput:
        mask = z_lq.get("noise_mask")
        settings = InstantSettings(seed=seed, steps=steps, cfg=cfg, same_noise=same_noise)
        latent, previews = sample(model, positive, negative, z_lq["samples"], settings, mask)
        return io.NodeOutput({**z_lq, "samples": latent}, {"samples": previews})
