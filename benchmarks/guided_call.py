"""Cost of one guided call of the full-size model, against the same networks on their own.

Three things run in turn on the same two rows (unconditional and conditional), with random weights:

- ``unet``: the plain SDXL UNet;
- ``unet + encoder``: the UNet, then the adaptor's control encoder, with nothing between them;
- ``with text kept``: the same, but with the text's keys and values kept from the call before;
- ``guided call``: ``GuidedDenoiser`` as the samplers call it, with CFG other than 1 and control strength 1.

The target is a guided call of at most 1.03 times ``unet + encoder``. What a guided call must do beyond those two are
the connectors; what it saves is reading the text anew, as the line ``with text kept`` shows. The connectors' share is
measured too: in floating-point operations, and by a clock around each.
"""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any, NamedTuple

import measure
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from supir_core.command.demo import UNET_CONFIG
from supir_core.restoration.denoiser import LinearSchedule
from supir_core.sdxl.blocks import TextContext
from supir_core.sdxl.conditioning import Conditioning
from supir_core.sdxl.config import UNetConfig
from supir_core.sdxl.schedule import nearest_index
from supir_core.sdxl.unet import UNet
from supir_core.supir.adaptor import Adaptor
from supir_core.supir.denoiser import GuidedDenoiser

TARGET = 1.03
BASELINE = "unet + encoder"
TOKENS = 77
SIGMA = 3.0


class Bench(NamedTuple):
    """The networks and their inputs: one picture, hence two rows under guidance."""

    unet: UNet
    adaptor: Adaptor
    denoiser: GuidedDenoiser
    x: Tensor
    rows: tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
    text: TextContext

    def plain(self) -> Tensor:
        """The UNet alone."""
        _, x, index, context, y = self.rows
        return self.unet(x, index, context, y)

    def separate(self) -> tuple[Tensor, list[Tensor]]:
        """The UNet, then the control encoder."""
        return self.plain(), self.adaptor.control_model(*self.rows)

    def text_kept(self) -> tuple[Tensor, list[Tensor]]:
        """The UNet, then the control encoder, both of which read this text before."""
        z_lq, x, index, _, y = self.rows
        return self.unet(x, index, self.text, y), self.adaptor.control_model(z_lq, x, index, self.text, y)

    def guided(self) -> Tensor:
        """One call of the denoiser."""
        return self.denoiser(self.x, self.x.new_full((1,), SIGMA), SIGMA)

    def functions(self) -> dict[str, Callable[[], object]]:
        """What is compared."""
        return {
            "unet": self.plain,
            BASELINE: self.separate,
            "with text kept": self.text_kept,
            "guided call": self.guided,
        }


def build_networks(quick: bool, dtype: torch.dtype, device: torch.device) -> tuple[UNet, Adaptor]:
    """The two networks, of full size unless quick; without weights where the device is ``meta``."""
    unet_config = UNetConfig.from_shapes(measure.full_shapes("model.diffusion_model."))
    adaptor_config = UNetConfig.from_shapes(measure.full_shapes("model.control_model."))
    with torch.device("meta"):
        unet = UNet(UNET_CONFIG if quick else unet_config)
        adaptor = Adaptor(UNET_CONFIG if quick else adaptor_config)
    for network in (unet, adaptor):
        network.to(dtype)
        if device.type != "meta":
            measure.fill(network, dtype, device)
    return unet, adaptor


def prepare(networks: tuple[UNet, Adaptor], side: int, dtype: torch.dtype, device: torch.device) -> Bench:
    """Random inputs for square latents of ``side``."""
    unet, adaptor = networks
    config = unet.config

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, device=device)

    x, z_lq = random(1, 4, side, side) * SIGMA, random(1, 4, side, side)
    positive, negative = (
        Conditioning(random(1, TOKENS, config.context_width), random(1, config.vector_width)) for _ in range(2)
    )
    both = Conditioning.concatenate([negative, positive])
    rows = (z_lq.repeat(2, 1, 1, 1), x.repeat(2, 1, 1, 1) / SIGMA, both.context, both.vector)
    z2, x2, context, y = (tensor.to(dtype) for tensor in rows)
    index = nearest_index(x.new_full((2,), SIGMA))
    denoiser = GuidedDenoiser(
        unet, adaptor, z_lq, [positive], negative, LinearSchedule(4.0, 4.0), LinearSchedule(1.0, 1.0)
    )
    return Bench(unet, adaptor, denoiser, x, (z2, x2, index, context, y), TextContext(context))


def count_flops(quick: bool, side: int) -> dict[str, int]:
    """Floating-point operations of each, and of the connectors in the guided call; nothing is computed.

    Of the guided call only the networks are run: the arithmetic around them has no matrix products.
    """
    meta = torch.device("meta")
    bench = prepare(build_networks(quick, torch.float32, meta), side, torch.float32, meta)
    z_lq, x, index, _, y = bench.rows

    def guided() -> None:
        bench.unet(x, index, bench.text, y, bench.adaptor(z_lq, x, index, bench.text, y, strength=1.0))

    functions = bench.functions() | {"guided call": guided}
    bench.text_kept()  # reads the text
    counts = {}
    for name, function in functions.items():
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            function()
        counts[name] = counter.get_total_flops()
    counts["connectors"] = counts["guided call"] - counts[BASELINE]
    return counts


def clock_parts(bench: Bench, repeats: int, device: torch.device) -> dict[str, float]:
    """Seconds of the parts of a guided call, in the fastest of some repeats."""
    parts = {"control encoder": [bench.adaptor.control_model], "unet": [bench.unet]}
    for connector in bench.adaptor.project_modules:
        parts.setdefault(type(connector).__name__, []).append(connector)
    runs = []
    for _ in range(repeats):
        spent: dict[str, float] = defaultdict(float)
        handles = [h for name, modules in parts.items() for m in modules for h in _clock(m, name, spent, device)]
        spent["whole"] = measure.timed(bench.guided, device)[1]
        for handle in handles:
            handle.remove()
        runs.append(spent)
    best = min(runs, key=lambda spent: spent["whole"])
    connectors = {name: best[name] for name in ("ZeroSFT", "ZeroCrossAttn")}
    return {
        "control encoder": best["control encoder"],
        "unet without connectors": best["unet"] - sum(connectors.values()),
        **connectors,
        "guidance around them": best["whole"] - best["control encoder"] - best["unet"],
        "whole": best["whole"],
    }


def _clock(module: nn.Module, name: str, spent: dict[str, float], device: torch.device) -> list[Any]:
    """Hooks that add a module's seconds to ``spent[name]``."""
    started: list[float] = []

    def before(*_: object) -> None:
        measure.synchronise(device)
        started.append(time.perf_counter())

    def after(*_: object) -> None:
        measure.synchronise(device)
        spent[name] += time.perf_counter() - started.pop()

    return [module.register_forward_pre_hook(before), module.register_forward_hook(after)]


def measure_side(
    networks: tuple[UNet, Adaptor], side: int, repeats: int, dtype: torch.dtype, device: torch.device
) -> dict[str, Any]:
    """Times, ratios, parts and operations at one size, printed as they come."""
    bench = prepare(networks, side, dtype, device)
    with torch.no_grad():
        repeated = measure.interleave(bench.functions(), repeats, device)
        parts = clock_parts(bench, max(3, repeats // 2), device)
    flops = count_flops(networks[0].config == UNET_CONFIG, side)
    rows = [_row(name, repeated, flops) for name in bench.functions()]
    title = f"One call on two rows, latent {side}x{side}, {repeats} interleaved repeats"
    measure.print_table(title, rows)
    shares = [{"part": name, "s": value, "share": value / parts["whole"]} for name, value in parts.items()]
    measure.print_table(f"Parts of the fastest of some more guided calls, latent {side}x{side}", shares)
    reached = rows[-1]["ratio, median"]
    print(f"target {TARGET}: {'met' if reached <= TARGET else 'missed'} with {reached:.3f}", flush=True)
    return {"rows": rows, "parts": parts, "seconds": repeated.seconds, "flops": flops}


def _row(name: str, repeated: measure.Repeats, flops: dict[str, int]) -> dict[str, Any]:
    """One line of the table; the ratios are to ``unet + encoder``."""
    ratios = repeated.ratios(name, BASELINE)
    return {
        "what": name,
        "s, median": repeated.median(name),
        "s, least": min(repeated.seconds[name]),
        "ratio, median": statistics.median(ratios),
        "of the least": min(repeated.seconds[name]) / min(repeated.seconds[BASELINE]),
        "TFLOP": flops[name] / 1e12,
        "ratio of FLOP": flops[name] / flops[BASELINE],
    }


def main() -> None:
    """Measure the sizes asked for."""
    parser = measure.arguments(__doc__.splitlines()[0])
    parser.add_argument("--sides", type=int, nargs="+", help="latent sides; 64, on a GPU 64 and 128")
    parser.add_argument("--repeats", type=int, default=11)
    options = parser.parse_args()
    device = torch.device(options.device)
    on_gpu = device.type == "cuda"
    dtype = torch.float16 if on_gpu else torch.bfloat16
    sides = options.sides or ([16] if options.quick else [64, 128] if on_gpu else [64])
    networks = build_networks(options.quick, dtype, device)
    results = {str(side): measure_side(networks, side, options.repeats, dtype, device) for side in sides}
    measure.write_results("guided_call", {"dtype": str(dtype), "quick": options.quick, "sides": results}, device)


if __name__ == "__main__":
    main()
