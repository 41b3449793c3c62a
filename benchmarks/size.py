"""Time and peak memory against the size of the picture, for each stage and for the whole pipeline.

Everything runs with the demo's small networks, each measurement in a process of its own:

- ``vae``: encode and decode within the memory of a square of 512, and at 1 MP in one piece too (``vae, one piece``);
- ``sampling``: two steps in tiles of 128 latent pixels that overlap by 32;
- ``pipeline``: ``restore`` with two steps, ``tile=1024``, ``vae_memory=512``, wavelet colour fix.

``peak`` is the highest resident memory (on a GPU: allocated GPU memory) during the run, less what was resident just
before it, when the imports, the networks, a small run to warm up and the input were there already. ``activation`` is
the peak less what any implementation must hold of the picture, all in float32:

- ``vae``: the latent and the decoded picture;
- ``sampling``: the sampled latent and the last prediction;
- ``pipeline``: the two pictures that are returned (result and stage 1), the low-quality latent and the sampled one.

The target is an activation memory at 16 MP of at most 1.2 times that at 2 MP, where memory is short: the feature maps of
the VAE's bands are made to lie in temporary files, as they do by themselves where nothing else has room for them.
``temporary`` is the space of those at its largest. The processes run with glibc's settings of ``measure.LEAN_MALLOC``,
so that memory which was freed does not count.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple
from unittest import mock

import measure
import torch
from measure import MIB
from networks import SmallSampling
from torch import Tensor

from supir_core.command import demo
from supir_core.restoration.tiling import TilePlan
from supir_core.sdxl.config import LATENT_PIXELS
from supir_core.sdxl.planes import FilePlane, Room
from supir_core.sdxl.vae import VAE
from supir_core.supir.pipeline import restore
from supir_core.supir.settings import PRESETS

TARGET = 1.2
SIZES = {1: (1024, 1024), 2: (1024, 2048), 4: (2048, 2048), 8: (2048, 4096), 16: (4096, 4096)}
"""(height, width) for each number of megapixels."""

QUICK = {0.5: (512, 1024)}
WARM_UP = (576, 576)
STEPS = 2
SIDE = 512
PLAN = TilePlan.square(128, 32)
ONE_PIECE = "vae, one piece"


class Case(NamedTuple):
    """What to run: ``make_input(height, width)``, then ``run(input)``; and the numbers of pictures and latents held."""

    make_input: Callable[[int, int], Tensor]
    run: Callable[[Tensor], object]
    pictures: int
    latents: int


def vae_case(side: int | None, device: torch.device) -> Case:
    """Encode and decode."""
    vae = VAE(demo.VAE_CONFIG).to(device).eval()
    return Case(
        lambda height, width: torch.rand(1, 3, height, width, device=device),
        lambda picture: vae.decode(vae.encode(picture, side=side), side),
        pictures=1,
        latents=1,
    )


def sampling_case(device: torch.device) -> Case:
    """Two steps in tiles."""
    sampling = SmallSampling(device)
    return Case(
        lambda height, width: torch.randn(1, 4, height // LATENT_PIXELS, width // LATENT_PIXELS, device=device),
        lambda z_lq: sampling.run(z_lq, PLAN, STEPS),
        pictures=0,
        latents=2,
    )


def pipeline_case(device: torch.device) -> Case:
    """From picture to picture."""
    model = demo.load_demo_model(device)
    settings = replace(PRESETS["quality"], steps=STEPS, tile=1024, vae_memory=SIDE, min_side=SIDE)
    return Case(
        lambda height, width: torch.rand(1, 3, height, width),
        lambda picture: restore(model, picture, settings, scale=1),
        pictures=2,
        latents=2,
    )


CASES: dict[str, Callable[[torch.device], Case]] = {
    ONE_PIECE: lambda device: vae_case(None, device),
    "vae": lambda device: vae_case(SIDE, device),
    "sampling": sampling_case,
    "pipeline": pipeline_case,
}


def work(name: str, megapixels: float, size: tuple[int, int], device: torch.device) -> dict[str, Any]:
    """A line of the table, by what a fresh process does: one case at one size."""
    torch.manual_seed(0)
    case = CASES[name](device)
    with torch.no_grad(), mock.patch.object(Room, "plane", lambda _, shape, like: FilePlane(shape, like)):
        case.run(case.make_input(*WARM_UP))
        given = case.make_input(*size)
        with measure.PeakMemory(device) as peak:
            _, seconds = measure.timed(lambda: case.run(given), device)
    height, width = size
    picture, latent = 3 * height * width, 4 * height * width // LATENT_PIXELS**2
    held = 4 * (case.pictures * picture + case.latents * latent)
    return {
        "what": name,
        "MP": megapixels,
        "size": f"{width}x{height}",
        "s": seconds,
        "s per MP": seconds / megapixels,
        "peak MiB": peak.taken / MIB,
        "held MiB": held / MIB,
        "activation MiB": (peak.taken - held) / MIB,
        "temporary MiB": peak.temporary / MIB,
    }


def verdict(rows: measure.Rows) -> str:
    """How the activation memory grew from 2 MP to the largest size, against the target."""
    activation = {row["MP"]: row["activation MiB"] for row in rows}
    largest = max(activation)
    growth = activation[largest] / activation[2]
    met = "met" if growth <= TARGET else "missed"
    return f"{rows[0]['what']}: activation memory at {largest} MP is {growth:.2f} times that at 2 MP; target {TARGET} {met}"


def main() -> None:
    """Measure every case at every size."""
    parser = measure.arguments(__doc__)
    parser.add_argument("--megapixels", type=int, nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    options = parser.parse_args()
    os.environ.update(measure.LEAN_MALLOC)
    sizes = QUICK if options.quick else {count: SIZES[count] for count in options.megapixels}
    rows, verdicts = [], []
    for name in options.cases:
        some = {1: SIZES[1]} if name == ONE_PIECE and not options.quick else sizes
        part = []
        for megapixels, size in some.items():
            part.append(measure.fresh(work, name, megapixels, size, options.device))
            measure.print_table(f"{name}, {megapixels} MP", part[-1:])
        if 2 in some and max(some) > 2:
            verdicts.append(verdict(part))
        rows += part
    measure.print_table("All", rows)
    print("\n" + "\n".join(verdicts))
    measure.write_results("size", {"rows": rows, "verdicts": verdicts}, options)


if __name__ == "__main__":
    main()
