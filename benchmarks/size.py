"""Time and peak memory against the size of the picture, for each stage and for the whole pipeline.

Everything runs with the demo's small networks, each measurement in a process of its own:

- ``vae``: encode and decode within the memory of a square of 512, and at 1 MP in one piece too (``vae, one piece``);
- ``sampling``: two steps in tiles of 128 latent pixels that overlap by 32;
- ``pipeline``: ``restore`` with two steps, ``tile=1024``, ``overlap=256``, ``vae_memory=512``, wavelet colour fix.

``peak`` is the highest resident memory (on a GPU: allocated GPU memory) during the run, less what was resident just
before it, when the imports, the networks, a small run to warm up and the input were there already. ``activation`` is
the peak less what any implementation must hold of the picture, all in float32:

- ``vae``: the latent and the decoded picture;
- ``sampling``: the sampled latent and the last prediction;
- ``pipeline``: the two pictures that are returned (result and stage 1), the low-quality latent and the sampled one.

The target is an activation memory at 16 MP of at most 1.2 times that at 2 MP. ``temporary`` is the space of
temporary files at its largest; feature maps of the VAE lie there. The processes run with glibc's settings of
``measure.LEAN_MALLOC``, so that memory which was freed does not count.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import measure
import torch
from torch import Tensor

from supir_core.command import demo
from supir_core.restoration.denoiser import LinearSchedule
from supir_core.restoration.noise import seeded_noise, start_latent
from supir_core.restoration.tiling import TilePlan, tile_denoiser
from supir_core.sdxl.conditioning import Conditioning
from supir_core.sdxl.config import LATENT_PIXELS
from supir_core.sdxl.unet import UNet
from supir_core.sdxl.vae import VAE
from supir_core.supir.adaptor import Adaptor
from supir_core.supir.denoiser import GuidedDenoiser
from supir_core.supir.pipeline import restore
from supir_core.supir.sampling import ddpm_sigmas, sample_restore_edm
from supir_core.supir.settings import PRESETS

TARGET = 1.2
SIZES = {1: (1024, 1024), 2: (1024, 2048), 4: (2048, 2048), 8: (2048, 4096), 16: (4096, 4096)}
"""(height, width) for each number of megapixels."""

WARM_UP = (576, 576)
STEPS = 2
TILE = 512
WINDOW, OVERLAP = 128, 32


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
        lambda *size: torch.rand(1, 3, *size, device=device),
        lambda picture: vae.decode(vae.encode(picture, side=side), side),
        pictures=1,
        latents=1,
    )


def sampling_case(device: torch.device) -> Case:
    """Two steps in tiles."""
    config = demo.UNET_CONFIG
    unet, adaptor = (network(config).to(device).eval() for network in (UNet, Adaptor))
    row = Conditioning(
        torch.randn(1, 77, config.context_width, device=device),
        torch.randn(1, config.vector_width, device=device),
    )

    def run(z_lq: Tensor) -> Tensor:
        denoiser = GuidedDenoiser(unet, adaptor, z_lq, [row], row, LinearSchedule(4.0, 4.0), LinearSchedule(1.0, 1.0))
        tiled = tile_denoiser(denoiser, TilePlan.square(WINDOW, OVERLAP))
        noise, sigmas = seeded_noise([0]), ddpm_sigmas(STEPS)
        return sample_restore_edm(tiled, start_latent(noise(z_lq), sigmas), sigmas, noise, s_churn=5.0)

    def make_input(height: int, width: int) -> Tensor:
        return torch.randn(1, 4, height // LATENT_PIXELS, width // LATENT_PIXELS, device=device)

    return Case(make_input, run, pictures=0, latents=2)


def pipeline_case(device: torch.device) -> Case:
    """From picture to picture."""
    model = replace(demo.load_demo_model(), device=device)
    settings = replace(PRESETS["quality"], steps=STEPS, tile=1024, vae_memory=TILE)
    return Case(
        lambda *size: torch.rand(1, 3, *size),
        lambda picture: restore(model, picture, settings, scale=1),
        2,
        2,
    )


CASES: dict[str, Callable[[torch.device], Case]] = {
    "vae, one piece": lambda device: vae_case(None, device),
    "vae": lambda device: vae_case(TILE, device),
    "sampling": sampling_case,
    "pipeline": pipeline_case,
}


def work(job: dict[str, Any]) -> dict[str, Any]:
    """What a fresh process does: one case at one size."""
    torch.manual_seed(0)
    device = torch.device(job["device"])
    case = CASES[job["case"]](device)
    with torch.no_grad():
        case.run(case.make_input(*WARM_UP))
        given = case.make_input(*job["size"])
        with measure.PeakMemory(device) as peak:
            _, seconds = measure.timed(lambda: case.run(given), device)
    height, width = job["size"]
    picture, latent = 3 * height * width, 4 * height * width // LATENT_PIXELS**2
    return {
        "seconds": seconds,
        "peak": peak.taken,
        "held": 4 * (case.pictures * picture + case.latents * latent),
        "temporary": peak.temporary,
    }


def measure_case(name: str, megapixels: list[int], device: str) -> list[dict[str, Any]]:
    """The rows of one case."""
    rows = []
    for count in megapixels:
        height, width = SIZES[count]
        job = {"case": name, "size": [height, width], "device": device}
        result = measure.fresh(__file__, job, measure.LEAN_MALLOC)
        rows.append(
            {
                "what": name,
                "MP": count,
                "size": f"{width}x{height}",
                "s": result["seconds"],
                "s per MP": result["seconds"] / count,
                "peak MiB": result["peak"] / measure.MIB,
                "held MiB": result["held"] / measure.MIB,
                "activation MiB": (result["peak"] - result["held"]) / measure.MIB,
                "temporary MiB": result["temporary"] / measure.MIB,
            }
        )
        print(f"{name}, {count} MP: {result['seconds']:.1f} s", flush=True)
    return rows


def verdict(rows: list[dict[str, Any]]) -> str:
    """How the activation memory grew from 2 MP to the largest size, against the target."""
    activation = {row["MP"]: row["activation MiB"] for row in rows}
    largest = max(activation)
    growth = activation[largest] / activation[2]
    met = "met" if growth <= TARGET else "missed"
    return f"{rows[0]['what']}: activation memory at {largest} MP is {growth:.2f} times that at 2 MP; target {TARGET} {met}"


def main() -> None:
    """Measure every case at every size."""
    parser = measure.arguments(__doc__.splitlines()[0])
    parser.add_argument("--megapixels", type=int, nargs="+", choices=SIZES)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    options = parser.parse_args()
    if options.worker:
        print(json.dumps(work(options.worker)))
        return
    megapixels = options.megapixels or ([1, 2] if options.quick else list(SIZES))
    rows, verdicts = [], []
    for name in options.cases:
        some = [1] if name == "vae, one piece" else megapixels
        part = measure_case(name, some, options.device)
        measure.print_table(name, part)
        if len(some) > 1 and 2 in some:
            verdicts.append(verdict(part))
        rows += part
    print("\n" + "\n".join(verdicts))
    measure.write_results("size", {"rows": rows, "verdicts": verdicts}, torch.device(options.device))


if __name__ == "__main__":
    main()
