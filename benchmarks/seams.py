"""What the overlap of tiles costs in fidelity: the demo weights in two tiles against one piece, by overlap and grid.

Strips of the two photographs that the demo weights never saw, enlarged to 1792x512 pixels, are sampled in two tiles that
share 64 to 256 pixels. At 1792 pixels 128 is what is planned, and 256 what fixed tiles of 1024 share. ``PSNR`` is to
the result in one piece, ``border`` the gradient energy across the tiles' ends against elsewhere, over the same of the one
piece: 1 where no border shows. Both are of the middle 768 pixels, where all the ends lie.

``--whole`` restores a whole damaged picture of 2048x1536 pixels with the demo's settings but 8 steps, as one piece and in
tiles. It takes half an hour and 5 GB.

Not kept, as they gave less than the two grids here: a grid that shifts only while sigma is above 2, between the two; straight
ramps in place of raised cosines, the same within 0.1 dB.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import measure
import torch
from networks import PHOTOGRAPHS, photograph
from torch import Tensor

from supir_core.command.demo import DEMO_SETTINGS, load_demo_model
from supir_core.evaluation.metrics import psnr, seam_ratio
from supir_core.restoration.canvas import resize
from supir_core.restoration.denoiser import LinearSchedule
from supir_core.restoration.noise import row_noise, start_latent
from supir_core.restoration.prompts import encode_prompts
from supir_core.restoration.tiling import TilePlan, tile_denoiser
from supir_core.sdxl.config import LATENT_PIXELS
from supir_core.supir.denoiser import GuidedDenoiser
from supir_core.supir.model import SupirModel
from supir_core.supir.pipeline import read_stage1, restore
from supir_core.supir.sampling import sample_restore_edm, schedule

HEIGHT, WIDTH = 512, 1792
WHOLE = 1536, 2048
MIDDLE = slice(512, 1280)
OVERLAPS = (64, 96, 128, 192, 256)
FREE = replace(DEMO_SETTINGS, steps=8, control=LinearSchedule(1.0, 1.0), restoration_scale=0)
"""Nothing that would hide what a border does."""

Denoise = Callable[[Tensor, Tensor, float], Tensor]


def plan_for(overlap: int) -> TilePlan:
    """Two tiles that share so many pixels."""
    sides = HEIGHT, (WIDTH + overlap) // 2
    return TilePlan(tuple(side // LATENT_PIXELS for side in sides), (0, overlap // LATENT_PIXELS))  # type: ignore[arg-type]


class Sampling:
    """A strip of a photograph, to be sampled."""

    def __init__(self, model: SupirModel, name: str):
        picture = photograph(name)
        rows = picture.shape[3] * HEIGHT // WIDTH
        strip = resize(picture[:, :, :rows], (HEIGHT, WIDTH))
        self.model = model
        z_lq = read_stage1(model, strip, None, center=False).z_lq
        prompts = encode_prompts(model.encode_texts, [PHOTOGRAPHS[name]], FREE.positive, FREE.negative)
        self.denoiser = GuidedDenoiser(model.unet, model.adaptor, z_lq, *prompts, FREE.cfg, FREE.control)

    def middle(self, denoise: Denoise) -> Tensor:
        """The middle of the restored picture."""
        noise, sigmas = row_noise(0, 1), schedule(FREE.steps, "edm")
        x = start_latent(noise(self.denoiser.z_lq), sigmas)
        latent = sample_restore_edm(denoise, x, sigmas, noise, s_churn=FREE.s_churn, s_noise=FREE.s_noise)
        window = slice(MIDDLE.start // LATENT_PIXELS, MIDDLE.stop // LATENT_PIXELS)
        return self.model.decode(latent[..., window], None)

    def row(self, variant: str, overlap: int, whole: Tensor, denoise: Denoise) -> dict[str, Any]:
        """A line of the table."""
        tiled = self.middle(denoise)
        ends = [end - MIDDLE.start for end in ((WIDTH - overlap) // 2, (WIDTH + overlap) // 2)]
        border = seam_ratio(tiled, [], ends) / seam_ratio(whole, [], ends)
        return {"grid": variant, "overlap": overlap, "PSNR": f"{psnr(tiled, whole):.2f}", "border": border}


@torch.no_grad()
def table(model: SupirModel, name: str, overlaps: tuple[int, ...]) -> measure.Rows:
    """All variants on one photograph."""
    sampling = Sampling(model, name)
    whole = sampling.middle(sampling.denoiser)
    rows = []
    for overlap in overlaps:
        for grid, moves in {"fixed": False, "shifting": True}.items():
            denoise = tile_denoiser(sampling.denoiser, plan_for(overlap), shifting=moves)
            rows.append(sampling.row(grid, overlap, whole, denoise))
    measure.print_table(name, rows)
    return rows


@torch.no_grad()
def whole_pictures(model: SupirModel) -> measure.Rows:
    """A picture blurred and with noise, restored as people would, by the tiles."""
    picture = photograph("chelsea")
    height, width = WHOLE
    small = resize(picture[..., : picture.shape[2] * width // height], (height // 8, width // 8))
    small = resize(small, (height // 4, width // 4))
    noise = torch.randn(small.shape, generator=torch.Generator().manual_seed(0))
    damaged = (small + 0.08 * noise).clamp(0, 1)
    settings = replace(DEMO_SETTINGS, steps=8, vae_memory=512)

    def restored(**tiles: int | float) -> Tensor:
        changed = replace(settings, **tiles)  # type: ignore[arg-type]
        return restore(model, damaged, changed, scale=4, caption=PHOTOGRAPHS["chelsea"]).image

    one = restored(tile_most=max(WHOLE), tile_area=60.0)
    ways = {"fixed, 1024 that share 256": {"tile": 1024}, "planned": {}, "planned, 192": {"overlap": 192}}
    rows = [{"tiles": name, "PSNR": f"{psnr(restored(**tiles), one):.2f}"} for name, tiles in ways.items()]
    measure.print_table("2048x1536", rows)
    return rows


def main() -> None:
    """Measure."""
    parser = measure.arguments(__doc__)
    parser.add_argument("--photographs", nargs="+", choices=PHOTOGRAPHS, default=list(PHOTOGRAPHS))
    parser.add_argument("--whole", action="store_true", help="a whole picture instead")
    options = parser.parse_args()
    model = load_demo_model(options.device)
    if options.whole:
        measure.write_results("seams_whole", {"chelsea": whole_pictures(model)}, options)
        return
    names, overlaps = (options.photographs[:1], OVERLAPS[2:3]) if options.quick else (options.photographs, OVERLAPS)
    measure.write_results("seams", {name: table(model, name, overlaps) for name in names}, options)


if __name__ == "__main__":
    main()
