"""Network calls and time of sampling in tiles, by overlap, by grid (fixed or shifting) and by tiles per call.

``--count 2048x2048 4096x4096`` prints a JSON line for each picture, without running a network: how many tiles are planned
for it, and their operations over those of fixed tiles of 1024 pixels that share 256, over those of the published tiles, and
over the least that can be, that of the picture's pixels in tiles of 1024 that share nothing. ``--cost`` counts anew what a
guided call of the full-size networks costs, in TFLOP for a tile of a latent pixels. ``--full`` times a step of them at
2048x2048: a call on a planned tile and one on a fixed tile in turn, times the number of calls.

Calls are counted for the release's schedule of 50 steps, for pictures of 2048x2048 and 4096x4096 pixels in windows of
128 latent pixels; ``of published`` compares them with the published overlap of 64, a fixed grid and one tile a call.
Time is that of two steps of the demo's small networks at 2048x2048, where every call runs the UNet and the adaptor on
two rows a tile; the calls counted there are checked against those that ``count_calls`` foretells.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from math import prod
from typing import Any, NamedTuple

import guided_call
import instantir
import measure
import torch
from torch import Tensor

from supir_core.command.demo import UNET_CONFIG
from supir_core.restoration.canvas import Canvas
from supir_core.restoration.denoiser import LinearSchedule
from supir_core.restoration.noise import seeded_noise, start_latent
from supir_core.restoration.tiling import PUBLISHED, TilePlan, count_calls, tile_denoiser
from supir_core.sdxl.conditioning import Conditioning
from supir_core.sdxl.config import LATENT_PIXELS
from supir_core.sdxl.unet import UNet
from supir_core.supir.adaptor import Adaptor
from supir_core.supir.denoiser import GuidedDenoiser
from supir_core.supir.sampling import ddpm_sigmas, sample_restore_edm
from supir_core.supir.settings import Settings

STEPS, TIMED_STEPS = 50, 2
DEFAULT = TilePlan.square(128, 32)
"""The fixed tiles that plans are compared with."""

TILES_PER_CALL = (1, 2, 4)


class Grid(NamedTuple):
    """How a latent is cut."""

    overlap: int
    shifting: bool
    tiles_per_call: int

    def calls(self, side: int, window: int, steps: int) -> int:
        """Network calls over some steps on a square latent."""
        sigmas = ddpm_sigmas(steps)[:-1].tolist()
        return count_calls(
            (side, side),
            TilePlan.square(window, self.overlap),
            sigmas,
            shifting=self.shifting,
            tiles_per_call=self.tiles_per_call,
        )

    def cells(self) -> dict[str, Any]:
        """Its columns in a table."""
        return {
            "overlap": self.overlap,
            "grid": "shifting" if self.shifting else "fixed",
            "tiles a call": self.tiles_per_call,
        }


def compare(text: str) -> dict[str, Any]:
    """What the plan for a picture of WIDTHxHEIGHT costs against other tiles."""
    across, down = map(int, text.split("x"))
    height, width = Canvas.plan((down, across), min_side=1).latent
    plan = Settings().plan(height, width)

    def cost(other: TilePlan) -> float:
        return prod(other.counts(height, width)) * Settings.cost.of(prod(other.fit(height, width).window))

    bound = height * width * Settings.cost.of(128**2) / 128**2
    return {
        "size": text,
        "tiles": prod(plan.counts(height, width)),
        "planned_over_default": round(cost(plan) / cost(DEFAULT), 4),
        "planned_over_published": round(cost(plan) / cost(PUBLISHED), 4),
        "planned_over_bound": round(cost(plan) / bound, 4),
    }


def supir_call(side: int) -> int:
    """Operations of a guided call of SUPIR on a square latent."""
    return guided_call.count_flops(False, side)["guided call"]


def instantir_call(side: int) -> int:
    """Operations of a full step of InstantIR on a square latent."""
    meta = torch.device("meta")
    bench = instantir.prepare(instantir.build_networks(False, torch.float32, meta), side, torch.float32, meta)
    sigma = bench.denoiser.image.sigmas[:1]

    def step() -> Tensor:
        return bench.denoiser(bench.x, sigma.to(meta), sigma.item())

    with torch.no_grad():
        step()  # reads the text
        return instantir.count_flops(step)


def count_cost(call: Callable[[int], int]) -> dict[str, float]:
    """The cost of a call by the latent pixels of its tile, from two sizes; what does not grow with them is lost in it."""
    small, large = 64, 128
    per_pixel = {side: call(side) / 1e12 / side**2 for side in (small, large)}
    square = (per_pixel[large] - per_pixel[small]) / (large**2 - small**2)
    return {"linear": per_pixel[small] - square * small**2, "square": square}


def time_full(device: torch.device, repeats: int) -> dict[str, float]:
    """Seconds of a step of the full-size networks on a picture of 2048x2048, planned and with the fixed tiles."""
    size = (256, 256)
    dtype = torch.float16 if device.type == "cuda" else torch.bfloat16
    networks = guided_call.build_networks(False, dtype, device)
    plans = {"planned": Settings().plan(*size), "default": DEFAULT}
    calls = {name: guided_call.prepare(networks, plan.window[0], dtype, device).guided for name, plan in plans.items()}
    with torch.no_grad():
        repeated = measure.interleave(calls, repeats, device, warm_up=device.type != "cpu")
    seconds = {name: repeated.median(name) * prod(plan.counts(*size)) for name, plan in plans.items()}
    return {**seconds, "planned_over_default": seconds["planned"] / seconds["default"]}


def count(side: int, window: int) -> list[dict[str, Any]]:
    """The table of calls for a square latent."""
    overlaps = (window // 2, window // 4, window // 8)
    published = Grid(overlaps[0], False, 1).calls(side, window, STEPS)
    rows = []
    for grid in itertools.starmap(Grid, itertools.product(overlaps, (False, True), TILES_PER_CALL)):
        calls = grid.calls(side, window, STEPS)
        pixels = side * LATENT_PIXELS
        rows.append(
            {
                "picture": f"{pixels}x{pixels}",
                **grid.cells(),
                f"calls in {STEPS} steps": calls,
                "calls a step": calls / STEPS,
                "of published": calls / published,
            }
        )
    return rows


def time_grids(side: int, window: int, repeats: int, device: torch.device) -> list[dict[str, Any]]:
    """The table of times for a square latent, with one tile a call, then with more."""
    half, quarter, eighth = window // 2, window // 4, window // 8
    grids = [Grid(overlap, shifting, 1) for overlap in (half, quarter, eighth) for shifting in (False, True)]
    grids += [Grid(quarter, False, tiles_per_call) for tiles_per_call in TILES_PER_CALL[1:]]
    sampling = Sampling(side, window, device)
    functions = {str(grid): (lambda grid=grid: sampling.run(grid)) for grid in grids}
    repeated = measure.interleave(functions, repeats, device, warm_up=False)
    rows = []
    for grid in grids:
        calls = grid.calls(side, window, TIMED_STEPS)
        seconds = repeated.median(str(grid))
        rows.append({**grid.cells(), "calls": calls, "s": seconds, "s a call": seconds / calls})
    return rows


class Sampling:
    """The small networks, and a latent to restore with them."""

    def __init__(self, side: int, window: int, device: torch.device):
        torch.manual_seed(0)
        self.window = window
        unet, adaptor = (network(UNET_CONFIG).to(device).eval() for network in (UNet, Adaptor))
        context = torch.randn(1, 77, UNET_CONFIG.context_width, device=device)
        row = Conditioning(context, torch.randn(1, UNET_CONFIG.vector_width, device=device))
        self.z_lq = torch.randn(1, 4, side, side, device=device)
        self.denoiser = GuidedDenoiser(
            unet, adaptor, self.z_lq, [row], row, LinearSchedule(4.0, 4.0), LinearSchedule(1.0, 1.0)
        )

    @torch.no_grad()
    def run(self, grid: Grid) -> Tensor:
        """Sample in tiles.

        Raises:
            RuntimeError: the network was called another number of times than was counted.
        """
        calls = 0

        def on_tile() -> None:
            nonlocal calls
            calls += 1

        tiled = tile_denoiser(
            self.denoiser,
            TilePlan.square(self.window, grid.overlap),
            shifting=grid.shifting,
            tiles_per_call=grid.tiles_per_call,
            on_tile=on_tile,
        )
        noise, sigmas = seeded_noise([0]), ddpm_sigmas(TIMED_STEPS)
        result = sample_restore_edm(tiled, start_latent(noise(self.z_lq), sigmas), sigmas, noise, s_churn=5.0)
        counted = grid.calls(self.z_lq.shape[2], self.window, TIMED_STEPS)
        if calls != counted:
            raise RuntimeError(f"{grid}: {calls} calls, but count_calls says {counted}")
        return result


def main() -> None:
    """Count, then time."""
    parser = measure.arguments(__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--count", nargs="+", metavar="WxH", help="count the plans for pictures, and do nothing else")
    parser.add_argument("--cost", action="store_true", help="count the cost of a call, and do nothing else")
    parser.add_argument("--full", action="store_true", help="time the full-size networks, and do nothing else")
    options = parser.parse_args()
    for text in options.count or ():
        print(json.dumps(compare(text)))
    for name, call in {"SUPIR": supir_call, "InstantIR": instantir_call}.items() if options.cost else ():
        print(json.dumps({"method": name, **count_cost(call)}), flush=True)
    device = torch.device(options.device)
    if options.full:
        print(json.dumps(time_full(device, options.repeats)))
    if options.count or options.cost or options.full:
        return
    window, sides = (16, (32,)) if options.quick else (128, (256, 512))
    counts = [row for side in sides for row in count(side, window)]
    measure.print_table(f"Network calls, window {window}", counts)
    times = time_grids(sides[0], window, options.repeats, device)
    pixels = sides[0] * LATENT_PIXELS
    measure.print_table(f"{TIMED_STEPS} steps at {pixels}x{pixels} with the demo's networks", times)
    measure.write_results("tiles", {"window": window, "calls": counts, "times": times}, device)


if __name__ == "__main__":
    main()
