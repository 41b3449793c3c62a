"""Network calls and time of sampling in tiles, by overlap, by grid (fixed or shifting) and by tiles per call.

``--count 2048x2048 4096x4096`` prints a JSON line for each picture, without running a network: how many tiles are planned
for it, and their operations over those of fixed tiles of 1024 pixels that share 256, over those of the published tiles, and
over the least that can be, that of the picture's pixels in tiles of 1024 that share nothing. ``--full`` times a step of the
full-size networks at 2048x2048: a call on a planned tile and one on a fixed tile in turn, times the number of calls.

Calls are counted for the release's schedule of 50 steps, for pictures of 2048x2048 and 4096x4096 pixels in windows of
128 latent pixels; ``of published`` compares them with the published overlap of 64, a fixed grid and one tile a call.
Time is that of two steps of the demo's small networks at 2048x2048, where every call runs the UNet and the adaptor on
two rows a tile; the calls counted there are checked against those that ``count_calls`` foretells.
"""

from __future__ import annotations

import argparse
import json
from itertools import product
from math import prod
from statistics import median
from typing import Any, NamedTuple

import guided_call
import measure
import torch
from networks import SmallSampling
from torch import Tensor

from supir_core.restoration.canvas import Canvas
from supir_core.restoration.tiling import PUBLISHED, TilePlan, count_calls
from supir_core.sdxl.config import LATENT_PIXELS
from supir_core.supir.sampling import ddpm_sigmas
from supir_core.supir.settings import Settings

STEPS, TIMED_STEPS = 50, 2
DEFAULT = TilePlan.square(128, 32)
"""The fixed tiles that plans are compared with."""

TILES_PER_CALL = (1, 2, 4)


class Grid(NamedTuple):
    """How a square latent of ``side`` is cut."""

    side: int
    window: int
    overlap: int
    shifting: bool = False
    tiles_per_call: int = 1

    @property
    def plan(self) -> TilePlan:
        """Its tiles."""
        return TilePlan.square(self.window, self.overlap)

    def calls(self, steps: int) -> int:
        """Network calls over some steps."""
        sigmas = ddpm_sigmas(steps)[:-1].tolist()
        return count_calls((self.side, self.side), self.plan, sigmas, **self.how())

    def how(self) -> dict[str, Any]:
        """What sampling is told beside the plan."""
        return {"shifting": self.shifting, "tiles_per_call": self.tiles_per_call}

    def cells(self) -> dict[str, Any]:
        """Its columns in a table."""
        kind = "shifting" if self.shifting else "fixed"
        return {"overlap": self.overlap, "grid": kind, "tiles a call": self.tiles_per_call}


def picture(text: str) -> tuple[int, int]:
    """(height, width) of WIDTHxHEIGHT, as an option's value."""
    width, _, height = text.partition("x")
    try:
        return measure.count(height), measure.count(width)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f'expected WIDTHxHEIGHT such as 2048x1536, got "{text}"') from error


def compare(size: tuple[int, int]) -> dict[str, Any]:
    """What the plan for a picture of (height, width) costs against other tiles."""
    height, width = Canvas.plan(size, min_side=1).latent
    plan = Settings().plan(height, width)

    def cost(other: TilePlan) -> float:
        return prod(other.counts(height, width)) * Settings.cost.of(prod(other.fit(height, width).window))

    bound = height * width * Settings.cost.of(128**2) / 128**2
    return {
        "size": f"{size[1]}x{size[0]}",
        "tiles": prod(plan.counts(height, width)),
        "planned_over_default": round(cost(plan) / cost(DEFAULT), 4),
        "planned_over_published": round(cost(plan) / cost(PUBLISHED), 4),
        "planned_over_bound": round(cost(plan) / bound, 4),
    }


@torch.no_grad()
def time_full(quick: bool, device: torch.device, repeats: int) -> dict[str, float]:
    """Seconds of a step of the full-size networks on a picture of 2048x2048, planned and with the fixed tiles."""
    size = (256, 256)
    dtype = torch.float16 if device.type == "cuda" else torch.bfloat16
    networks = guided_call.build_networks(quick, dtype, device)
    plans = {"planned": Settings().plan(*size), "default": DEFAULT}
    calls = {name: guided_call.prepare(networks, plan.window[0]).guided for name, plan in plans.items()}
    each = measure.interleave(calls, repeats, device, warm_up=device.type != "cpu")
    seconds = {name: median(each[name]) * prod(plan.counts(*size)) for name, plan in plans.items()}
    return {**seconds, "planned_over_default": seconds["planned"] / seconds["default"]}


def count(side: int, window: int) -> measure.Rows:
    """The table of calls for a square latent."""
    published = Grid(side, window, window // 2).calls(STEPS)
    rows, pixels = [], side * LATENT_PIXELS
    for share, shifting, tiles_per_call in product((2, 4, 8), (False, True), TILES_PER_CALL):
        grid = Grid(side, window, window // share, shifting, tiles_per_call)
        calls = grid.calls(STEPS)
        counted = {f"calls in {STEPS} steps": calls, "calls a step": calls / STEPS, "of published": calls / published}
        rows.append({"picture": f"{pixels}x{pixels}", **grid.cells(), **counted})
    return rows


def time_grids(side: int, window: int, repeats: int, device: torch.device) -> measure.Rows:
    """The table of times for a square latent, with one tile a call, then with more."""
    grids = [Grid(side, window, window // share, shifting) for share in (2, 4, 8) for shifting in (False, True)]
    grids += [Grid(side, window, window // 4, tiles_per_call=tiles) for tiles in TILES_PER_CALL[1:]]
    sampling, z_lq = SmallSampling(device), torch.randn(1, 4, side, side, device=device)
    functions = {str(grid): (lambda grid=grid: sample(sampling, z_lq, grid)) for grid in grids}
    each = measure.interleave(functions, repeats, device, warm_up=False)
    rows = []
    for grid in grids:
        calls, seconds = grid.calls(TIMED_STEPS), median(each[str(grid)])
        rows.append({**grid.cells(), "calls": calls, "s": seconds, "s a call": seconds / calls})
    return rows


def sample(sampling: SmallSampling, z_lq: Tensor, grid: Grid) -> None:
    """Sample in tiles.

    Raises:
        RuntimeError: the network was called another number of times than was counted.
    """
    calls: list[None] = []
    sampling.run(z_lq, grid.plan, TIMED_STEPS, on_tile=lambda: calls.append(None), **grid.how())
    if len(calls) != grid.calls(TIMED_STEPS):
        raise RuntimeError(f"{grid}: {len(calls)} calls, but count_calls says {grid.calls(TIMED_STEPS)}")


def main() -> None:
    """Count, then time."""
    parser = measure.arguments(__doc__)
    parser.add_argument("--repeats", type=measure.count, default=2, metavar="N", help="(%(default)s)")
    text = "count the plans for pictures, and do nothing else"
    parser.add_argument("--count", nargs="+", type=picture, metavar="WxH", help=text)
    parser.add_argument("--full", action="store_true", help="time the full-size networks, and do nothing else")
    options = parser.parse_args()
    if options.count or options.full:
        for size in options.count or ():
            print(json.dumps(compare(size)))
        if options.full:
            print(json.dumps(time_full(options.quick, options.device, options.repeats)))
        return
    window, sides = (16, (32,)) if options.quick else (128, (256, 512))
    counts = [row for side in sides for row in count(side, window)]
    measure.print_table(f"Network calls, window {window}", counts)
    times = time_grids(sides[0], window, options.repeats, options.device)
    pixels = sides[0] * LATENT_PIXELS
    measure.print_table(f"{TIMED_STEPS} steps at {pixels}x{pixels} with the demo's networks", times)
    measure.write_results("tiles", {"window": window, "calls": counts, "times": times}, options)


if __name__ == "__main__":
    main()
