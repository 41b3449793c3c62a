"""Cost of one guided call of the full-size model, against the same networks on their own.

Four things run in turn on the same two rows (unconditional and conditional), with random weights:

- ``unet``: the plain SDXL UNet;
- ``unet + encoder``: the UNet, then the adaptor's control encoder, with nothing between them;
- ``with text kept``: the same, but with the text's keys and values kept from the call before;
- ``guided call``: ``GuidedDenoiser`` as the samplers call it, with CFG other than 1 and control strength 1.

The target is a guided call of at most 1.03 times ``unet + encoder``. What a guided call must do beyond those two are
the connectors, which are what it has more than ``with text kept``; what it saves is reading the text anew. A clock
around each connector tells their share of the time.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any, NamedTuple

import measure
import torch
from networks import CFG, CONTROL_KEYS, META, STRENGTH, UNET_KEYS, Inputs, full_shapes, random_inputs, random_network
from torch import Tensor, nn

from supir_core.command.demo import UNET_CONFIG
from supir_core.sdxl.blocks import TextContext
from supir_core.sdxl.config import UNetConfig
from supir_core.sdxl.unet import UNet
from supir_core.supir.adaptor import Adaptor
from supir_core.supir.denoiser import GuidedDenoiser

TARGET = 1.03
BASELINE = "unet + encoder"
SIGMA = 3.0


class Bench(NamedTuple):
    """The networks and their inputs."""

    denoiser: GuidedDenoiser
    inputs: Inputs
    text: TextContext

    def separate(self, text: TextContext | Tensor) -> tuple[Tensor, list[Tensor]]:
        """The UNet, then the control encoder."""
        z_lq, x, index, _, y = self.inputs.rows
        assert self.denoiser.adaptor is not None
        return self.plain(text), self.denoiser.adaptor.control_model(z_lq, x, index, text, y)

    def plain(self, text: TextContext | Tensor) -> Tensor:
        """The UNet alone."""
        _, x, index, _, y = self.inputs.rows
        return self.denoiser.unet(x, index, text, y)

    def guided(self) -> Tensor:
        """One call of the denoiser."""
        x = self.inputs.x * SIGMA
        return self.denoiser(x, x.new_full((1,), SIGMA), SIGMA)

    def functions(self) -> dict[str, Callable[[], object]]:
        """What is compared."""
        context = self.inputs.rows[3]
        return {
            "unet": lambda: self.plain(context),
            BASELINE: lambda: self.separate(context),
            "with text kept": lambda: self.separate(self.text),
            "guided call": self.guided,
        }


def build_networks(quick: bool, dtype: torch.dtype, device: torch.device) -> tuple[UNet, Adaptor]:
    """The two networks, of full size unless quick."""
    configs = [
        UNET_CONFIG if quick else UNetConfig.from_shapes(full_shapes(prefix)) for prefix in (UNET_KEYS, CONTROL_KEYS)
    ]
    return (
        random_network(lambda: UNet(configs[0]), dtype, device),
        random_network(lambda: Adaptor(configs[1]), dtype, device),
    )


def prepare(networks: tuple[UNet, Adaptor], side: int) -> Bench:
    """Random inputs for square latents of ``side``."""
    inputs = random_inputs(networks[0], side)
    negative, positive = inputs.prompts
    denoiser = GuidedDenoiser(*networks, inputs.z_lq, [positive], negative, CFG, STRENGTH)
    return Bench(denoiser, inputs, TextContext(inputs.rows[3]))


def count_operations(quick: bool, side: int) -> dict[str, float]:
    """TFLOP of each; nothing is computed."""
    return measure.operations(prepare(build_networks(quick, torch.float32, META), side).functions())


def clock_parts(bench: Bench, repeats: int, device: torch.device) -> dict[str, float]:
    """Seconds of the parts of a guided call, in the fastest of some repeats."""
    adaptor = bench.denoiser.adaptor
    assert adaptor is not None
    parts: dict[str, list[nn.Module]] = {"control encoder": [adaptor.control_model], "unet": [bench.denoiser.unet]}
    for connector in adaptor.project_modules:
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


@torch.no_grad()
def measure_side(networks: tuple[UNet, Adaptor], side: int, options: argparse.Namespace) -> dict[str, Any]:
    """Times, ratios, parts and operations at one size, printed as they come."""
    bench, tflop = prepare(networks, side), count_operations(options.quick, side)
    title = f"One call on two rows, latent {side}x{side}"
    result = measure.compare(title, bench.functions(), tflop, BASELINE, options.repeats, options.device)
    parts = clock_parts(bench, max(3, options.repeats // 2), options.device)
    shares = [{"part": name, "s": value, "share": value / parts["whole"]} for name, value in parts.items()]
    measure.print_table(f"Parts of the fastest of some more guided calls, latent {side}x{side}", shares)
    reached = result["rows"][-1]["ratio, median"]
    print(f"target, at full size, {TARGET}: reached {reached:.3f}", flush=True)
    return result | {"parts": parts}


def main() -> None:
    """Measure the sizes asked for."""
    options = measure.full_size_options(__doc__, cpu=64, repeats=11)
    networks = build_networks(options.quick, options.dtype, options.device)
    results = {str(side): measure_side(networks, side, options) for side in options.sides}
    measure.write_results("guided_call", {"sides": results}, options)


if __name__ == "__main__":
    main()
