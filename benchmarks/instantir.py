"""Cost of one guided step of InstantIR, against its three networks run one after the other.

Four things run in turn on the same two rows (unconditional and conditional), with random weights:

- ``unet``: the plain SDXL UNet;
- ``three networks``: previewer, aggregator and UNet as published: in every call the image tokens and the text are read
  anew and the previewer's branches run beside their layers;
- ``step``: ``InstantDenoiser`` as the sampler calls it;
- ``step without preview``, ``step of the tail``: as with ``preview_start`` and ``control_end``.

A step does the same work in fewer operations: it keeps what does not change from step to step, and adds a branch to its
layer's weight for the time of a call where that takes less than the branch itself.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

import measure
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from supir_core.command.demo import UNET_CONFIG
from supir_core.instantir.aggregator import Aggregator, ResidualFusion
from supir_core.instantir.denoiser import InstantDenoiser, Networks, attentions, build_denoiser
from supir_core.instantir.image_attention import ImageAdapter, TextAndImage, modulate
from supir_core.instantir.previewer import LowRank, PreviewerLora, one_step_preview
from supir_core.instantir.resampler import ResamplerConfig
from supir_core.instantir.sampling import Control, instantir_sigmas
from supir_core.sdxl.blocks import TextContext
from supir_core.sdxl.conditioning import Conditioning
from supir_core.sdxl.config import UNetConfig
from supir_core.sdxl.unet import UNet

RELEASED = ResamplerConfig(1280, 4, 64, 1024, 2048, 1280, 5120)
SMALL = ResamplerConfig(64, 1, 4, 48, UNET_CONFIG.context_width, 64, 128)
BASELINE = "three networks"
TOKENS, PATCHES = 77, 257
STEPS = 30


class Bench(NamedTuple):
    """The networks and their inputs: one picture, hence two rows under guidance, at the first step."""

    networks: Networks
    denoiser: InstantDenoiser
    x: Tensor
    rows: tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
    features: Tensor

    def plain(self) -> Tensor:
        """The UNet alone."""
        _, z, index, context, y = self.rows
        return self.networks.unet(z, index, context, y)

    def separate(self) -> Tensor:
        """The three networks one after the other, nothing kept."""
        unet, previewer = self.networks.unet, self.networks.previewer
        z_lq, z, index, _, y = self.rows
        sigma = self.denoiser.image.sigmas[:1].expand(2).to(z.device)
        with beside_every_layer(), previewer.applied_to(unet, self.networks.adapter):
            eps = unet(z, index, self._context(), y)
        preview = one_step_preview(eps, z, sigma, index).to(z_lq)
        fusion = ResidualFusion(self.networks.aggregator(z_lq, preview, index, y))
        return unet(z, index, self._context(), y, fusion)

    def step(self, **control: float) -> Tensor:
        """One call of the denoiser."""
        correction = replace(self.denoiser.correction, control=Control(**control))
        sigma = self.denoiser.image.sigmas[:1].to(self.x.device)
        return replace(self.denoiser, correction=correction)(self.x, sigma, sigma.item())

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
        _, _, index, context, y = self.rows
        image = modulate(adapter.read(self.features), adapter.modulations(unet.embed(index, y)))
        return TextAndImage(TextContext(context), dict(zip(attentions(unet), image, strict=True)))


@contextmanager
def beside_every_layer() -> Iterator[None]:
    """LoraLayers as published: never added to a weight."""
    kept, LowRank.cheaper_added = LowRank.cheaper_added, lambda *_: False
    try:
        yield
    finally:
        LowRank.cheaper_added = kept


def build_networks(quick: bool, dtype: torch.dtype, device: torch.device) -> Networks:
    """All the networks, of full size unless quick, with random weights."""
    config = UNET_CONFIG if quick else UNetConfig.from_shapes(measure.full_shapes("model.diffusion_model."))
    resampler = SMALL if quick else RELEASED
    with torch.device("meta"):
        parts = UNet(config), ImageAdapter(config, resampler), PreviewerLora(config, resampler)
        networks = Networks(*parts, Aggregator(config))
    for network in (*parts, networks.aggregator):
        network.to(dtype)
        measure.fill(network, dtype, device)
    return networks


def prepare(networks: Networks, side: int, dtype: torch.dtype, device: torch.device) -> Bench:
    """Random inputs for square latents of ``side``."""
    config, resampler = networks.unet.config, networks.adapter.image_proj.config

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, device=device)

    sigmas = instantir_sigmas(STEPS)
    z_lq, z = random(1, 4, side, side), random(1, 4, side, side)
    features = random(2, PATCHES, resampler.feature_width)
    prompts = tuple(Conditioning(random(1, TOKENS, config.context_width), random(1, config.vector_width)) for _ in "np")
    denoiser = build_denoiser(networks, z_lq, tuple(features.split(1)), prompts, sigmas)  # type: ignore[arg-type]
    both = Conditioning.concatenate(prompts)
    index = torch.full((2,), 958, device=device)
    rows = (z_lq.repeat(2, 1, 1, 1), z.repeat(2, 1, 1, 1), both.context, both.vector)
    z_lq2, z2, context, y = (tensor.to(dtype) for tensor in rows)
    x = z * (1 + sigmas[0].item() ** 2) ** 0.5
    return Bench(networks, denoiser, x, (z_lq2, z2, index, context, y), features.to(dtype))


def count_flops(function: Callable[[], object]) -> int:
    """Floating-point operations of matrix products, convolutions and attentions."""
    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()


def measure_side(
    networks: Networks, side: int, repeats: int, dtype: torch.dtype, device: torch.device
) -> dict[str, Any]:
    """Times, ratios and operations at one size, printed as they come."""
    bench = prepare(networks, side, dtype, device)
    with torch.no_grad():
        bench.step()  # reads the text
        flops = {name: count_flops(function) for name, function in bench.functions().items()}
        repeated = measure.interleave(bench.functions(), repeats, device)
    rows = [
        {
            "what": name,
            "s, median": repeated.median(name),
            "ratio, median": statistics.median(repeated.ratios(name, BASELINE)),
            "TFLOP": flops[name] / 1e12,
            "ratio of FLOP": flops[name] / flops[BASELINE],
            "FLOP of plain": flops[name] / flops["unet"],
        }
        for name in bench.functions()
    ]
    measure.print_table(f"One step on two rows, latent {side}x{side}, {repeats} interleaved repeats", rows)
    return {"rows": rows, "seconds": repeated.seconds}


def main() -> None:
    """Measure the sizes asked for."""
    parser = measure.arguments(__doc__.splitlines()[0])
    parser.add_argument("--sides", type=int, nargs="+", help="latent sides; 32, on a GPU 64 and 128")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    device = torch.device(options.device)
    on_gpu = device.type == "cuda"
    dtype = torch.float16 if on_gpu else torch.bfloat16
    sides = options.sides or ([16] if options.quick else [64, 128] if on_gpu else [32])
    networks = build_networks(options.quick, dtype, device)
    results = {str(side): measure_side(networks, side, options.repeats, dtype, device) for side in sides}
    measure.write_results("instantir", {"dtype": str(dtype), "quick": options.quick, "sides": results}, device)


if __name__ == "__main__":
    main()
