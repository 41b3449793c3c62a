"""Cost of one guided step of InstantIR, against its three networks run one after the other.

Five things run in turn on the same two rows (unconditional and conditional), with random weights:

- ``unet``: the plain SDXL UNet;
- ``three networks``: previewer, aggregator and UNet as published: in every call the image tokens and the text are read
  anew and the previewer's branches run beside their layers;
- ``step``: ``InstantDenoiser`` as the sampler calls it;
- ``step without preview``, ``step of the tail``: as with ``preview_start`` and ``control_end``.

A step does the same work in fewer operations: it keeps what does not change from step to step, and adds a branch to its
layer's weight for the time of a call where that takes less than the branch itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple
from unittest import mock

import measure
import torch
from networks import META, UNET_KEYS, Inputs, full_shapes, random_inputs, random_network
from torch import Tensor

from supir_core.command.demo import UNET_CONFIG
from supir_core.instantir.aggregator import Aggregator, ResidualFusion
from supir_core.instantir.denoiser import InstantDenoiser, Networks, attentions, build_denoiser
from supir_core.instantir.image_attention import ImageAdapter, TextAndImage, modulate
from supir_core.instantir.previewer import LowRank, PreviewerLora, one_step_preview
from supir_core.instantir.resampler import ResamplerConfig
from supir_core.instantir.sampling import Control, instantir_sigmas
from supir_core.sdxl.blocks import TextContext
from supir_core.sdxl.config import UNetConfig
from supir_core.sdxl.unet import UNet

RELEASED = ResamplerConfig(1280, 4, 64, 1024, 2048, 1280, 5120)
SMALL = ResamplerConfig(64, 1, 4, 48, UNET_CONFIG.context_width, 64, 128)
BASELINE = "three networks"
PATCHES = 257
STEPS = 30


class Bench(NamedTuple):
    """The networks and their inputs at the first step."""

    networks: Networks
    denoiser: InstantDenoiser
    inputs: Inputs
    features: Tensor

    def plain(self) -> Tensor:
        """The UNet alone."""
        _, x, index, context, y = self.inputs.rows
        return self.networks.unet(x, index, context, y)

    def separate(self) -> Tensor:
        """The three networks one after the other, nothing kept."""
        unet, previewer = self.networks.unet, self.networks.previewer
        z_lq, x, index, _, y = self.inputs.rows
        sigma = self.denoiser.image.sigmas[:1].expand(2).to(x.device)
        never_added = mock.patch.object(LowRank, "cheaper_added", return_value=False)
        with never_added, previewer.applied_to(unet, self.networks.adapter):
            eps = unet(x, index, self._context(), y)
        preview = one_step_preview(eps, x, sigma, index).to(z_lq)
        fusion = ResidualFusion(self.networks.aggregator(z_lq, preview, index, y))
        return unet(x, index, self._context(), y, fusion)

    def step(self, **control: float) -> Tensor:
        """One call of the denoiser."""
        correction = replace(self.denoiser.correction, control=Control(**control))
        sigma = self.denoiser.image.sigmas[:1]
        x = self.inputs.x * (1 + sigma.item() ** 2) ** 0.5
        return replace(self.denoiser, correction=correction)(x, sigma.to(x.device), sigma.item())

    def functions(self) -> dict[str, Callable[[], object]]:
        """What is compared."""
        return {
            "unet": self.plain,
            BASELINE: self.separate,
            "step": self.step,
            "step without preview": lambda: self.step(preview_start=1.0),
            "step of the tail": lambda: self.step(end=0.0),
        }

    def _context(self) -> TextAndImage:
        unet, adapter = self.networks.unet, self.networks.adapter
        _, _, index, context, y = self.inputs.rows
        image = modulate(adapter.read(self.features), adapter.modulations(unet.embed(index, y)))
        return TextAndImage(TextContext(context), dict(zip(attentions(unet), image, strict=True)))


def build_networks(quick: bool, dtype: torch.dtype, device: torch.device) -> Networks:
    """All the networks, of full size unless quick."""
    config = UNET_CONFIG if quick else UNetConfig.from_shapes(full_shapes(UNET_KEYS))
    resampler = SMALL if quick else RELEASED
    return Networks(
        random_network(lambda: UNet(config), dtype, device),
        random_network(lambda: ImageAdapter(config, resampler), dtype, device),
        random_network(lambda: PreviewerLora(config, resampler), dtype, device),
        random_network(lambda: Aggregator(config), dtype, device),
    )


def prepare(networks: Networks, side: int) -> Bench:
    """Random inputs for square latents of ``side``."""
    inputs = random_inputs(networks.unet, side)
    width = networks.adapter.image_proj.config.feature_width
    features = torch.randn(2, PATCHES, width, device=inputs.x.device)
    against, wanted = features.split(1)
    denoiser = build_denoiser(networks, inputs.z_lq, (against, wanted), inputs.prompts, instantir_sigmas(STEPS))
    return Bench(networks, denoiser, inputs, features.to(networks.unet.dtype))


def count_operations(quick: bool, side: int, dtype: torch.dtype = torch.float16) -> dict[str, float]:
    """TFLOP of each; nothing is computed. In bfloat16 branches stay beside their layers."""
    return measure.operations(prepare(build_networks(quick, dtype, META), side).functions())


@torch.no_grad()
def main() -> None:
    """Measure the sizes asked for."""
    options = measure.full_size_options(__doc__, cpu=32, repeats=5)
    networks = build_networks(options.quick, options.dtype, options.device)
    results = {}
    for side in options.sides:
        title = f"One step on two rows, latent {side}x{side}"
        functions, tflop = prepare(networks, side).functions(), count_operations(options.quick, side, options.dtype)
        results[str(side)] = measure.compare(title, functions, tflop, BASELINE, options.repeats, options.device)
    measure.write_results("instantir", {"sides": results}, options)


if __name__ == "__main__":
    main()
