"""How good the demo weights are on the two photographs that they never saw; prints the tables of demo/README.md.

python -m tools.training.evaluate_demo
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image
from skimage.metrics import structural_similarity
from torch import Tensor

from supir_core.command.demo import DAMAGE, DEMO_SETTINGS, load_demo_model
from supir_core.evaluation.degradation import SETTINGS, degrade
from supir_core.evaluation.metrics import gmsd, psnr, seam_ratio
from supir_core.files.convert import to_tensor
from supir_core.files.pictures import write_picture
from supir_core.restoration.canvas import resize
from supir_core.restoration.denoiser import LinearSchedule
from supir_core.restoration.tiling import TilePlan, tile_grid
from supir_core.sdxl.vae import from_unit, to_unit
from supir_core.supir.model import SupirModel
from supir_core.supir.pipeline import restore
from supir_core.supir.settings import Settings

from .demo_photographs import HELD_OUT

SCALE = 4
PROMPTS = {
    "astronaut": "A woman in uniform.",
    "chelsea": "A cat.",
}
SEEDS = (0, 1, 2)
FREE = replace(DEMO_SETTINGS, steps=8, control=LinearSchedule(1.0, 1.0), restoration_scale=0, color_fix="none")
"""Nothing that would hide what a knob or a tile's border does."""


class Case(NamedTuple):
    """A held-out photograph, what is left of it, and that enlarged again; ``(1, 3, H, W)`` in [0, 1]."""

    name: str
    seed: int
    original: Tensor
    damaged: Tensor
    enlarged: Tensor


def cases(seeds: Iterable[int]) -> list[Case]:
    """Both photographs, damaged anew for each seed."""
    from skimage import data

    made = []
    for name in HELD_OUT:
        picture = to_tensor(Image.fromarray(getattr(data, name)()))
        original = picture[..., : picture.shape[2] // 8 * 8, : picture.shape[3] // 8 * 8]
        for seed in seeds:
            damaged = degrade(original, SETTINGS[DAMAGE], seed)
            size = (original.shape[2], original.shape[3])
            made.append(Case(name, seed, original, damaged, resize(damaged, size)))
    return made


def measured(name: str, pictures: Iterable[tuple[Tensor, Tensor]]) -> str:
    """A row of a table: means of PSNR and GMSD over pairs of picture and original."""
    distances = [(psnr(*pair), gmsd(*pair)) for pair in pictures]
    fidelity, distance = (sum(column) / len(column) for column in zip(*distances, strict=True))
    return f"| {name} | {fidelity:.2f} | {distance:.4f} |"


def gain(model: SupirModel, folder: Path) -> None:
    """The picture against the damaged one enlarged, mean over photographs and seeds.

    SSIM stands beside, as the weights were trained on the other two.
    """
    say("| mean over photographs and seeds | PSNR, dB | GMSD | SSIM |", "|---|---|---|---|")
    done: dict[str, list[tuple[Case, Tensor]]] = {"enlarged (bicubic)": [], "stage 1": [], "restored": []}
    for case in cases(SEEDS):
        settings = replace(DEMO_SETTINGS, seed=case.seed)
        restored = restore(model, case.damaged, settings, scale=SCALE, caption=PROMPTS[case.name])
        row = [case.enlarged, restored.stage1, restored.image]
        for pictures, picture in zip(done.values(), row, strict=True):
            pictures.append((case, picture))
        if case.seed == SEEDS[0]:
            write_picture(folder / f"{case.name}.png", torch.cat([*row, case.original], dim=3)[0])
    for name in ("", *HELD_OUT):
        for stage, pictures in done.items():
            pairs = [(picture, case.original) for case, picture in pictures if case.name.startswith(name)]
            similarity = sum(ssim(*pair) for pair in pairs) / len(pairs)
            line = measured(f"{name or 'both'}: {stage}", pairs)
            say(f"{line} {similarity:.3f} |")


def ssim(picture: Tensor, reference: Tensor) -> float:
    """Structural similarity (Wang et al. 2004), with their Gaussian window; larger is closer."""
    pictures = (image[0].numpy() for image in (picture, reference))
    return structural_similarity(
        *pictures, channel_axis=0, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )


@torch.no_grad()
def encoders(model: SupirModel, folder: Path) -> None:
    """The decoded picture, read with either encoder."""
    say("| decoded after | PSNR, dB | GMSD |", "|---|---|---|")
    made = cases(SEEDS)
    for name, encoder in (("the plain encoder", None), ("the degradation-robust encoder", model.dr_encoder)):
        pairs = (
            (to_unit(model.vae.decode(model.vae.encode(from_unit(case.enlarged), encoder))), case.original)
            for case in made
        )
        say(measured(name, pairs))
    pairs = ((to_unit(model.vae.decode(model.vae.encode(from_unit(case.original)))), case.original) for case in made)
    say(measured("the plain encoder, on the undamaged picture", pairs))


def directions(model: SupirModel, folder: Path) -> None:
    """What each knob does, from eight steps without guidance or colour fix; one seed."""
    rows: dict[str, Settings] = {"demo's settings": DEMO_SETTINGS}
    rows["nothing: control 1, CFG 1, no guidance, no colour fix"] = FREE
    for scale in (4.0, 2.0, 1.0, 0.5, 0.25):
        rows[f"restoration scale {scale:g}"] = replace(FREE, restoration_scale=scale)
    for strength in (0.8, 0.5, 0.0):
        rows[f"control {strength:g}"] = replace(FREE, control=LinearSchedule(strength, strength))
    for cfg in (2.0, 4.0, 7.5):
        rows[f"CFG {cfg:g}"] = replace(FREE, cfg=LinearSchedule(cfg, cfg))
    for color in ("wavelet", "adain"):
        rows[f"colour fix {color}"] = replace(FREE, color_fix=color)
    for steps in (1, 2, 4, 20):
        rows[f"{steps} step{'s' * (steps > 1)}"] = replace(FREE, steps=steps)
    rows["DPM++ 2M SDE, 8 steps"] = replace(FREE, sampler="dpmpp_2m_sde")
    say("| | PSNR to the original | GMSD to the original | PSNR to stage 1 |", "|---|---|---|---|")
    for name, settings in rows.items():
        pairs, kept = [], []
        for case in cases(SEEDS[:1]):
            restored = restore(model, case.damaged, settings, scale=SCALE, caption=PROMPTS[case.name])
            pairs.append((restored.image, case.original))
            kept.append(psnr(restored.image, restored.stage1))
        say(f"{measured(name, pairs)} {sum(kept) / len(kept):.2f} |")


def seams(model: SupirModel, folder: Path) -> None:
    """Tiles of 512 pixels on a picture of 1024 against no tiles.

    Gradient energy across tile borders against elsewhere; that of the same lines of the untiled picture is divided
    out, as a photograph's own edges are not seams.
    """
    case = cases(SEEDS[:1])[0]
    tile, side, scale = 512, 1024, 8
    plain = replace(FREE, tile=side, overlap=0)

    def restored(settings: Settings) -> Tensor:
        return restore(model, case.damaged, settings, scale=scale, caption=PROMPTS[case.name]).image

    whole = restored(plain)
    say(
        "| overlap | grid | PSNR to untiled, dB | energy on borders | network calls a step |",
        "|---|---|---|---|---|",
    )
    for overlap in (256, 128, 64):
        grid = tile_grid(side // 8, side // 8, TilePlan.square(tile // 8, overlap // 8))
        ends = {at * 8 for t in grid for at in (t.top, t.top + t.height)} - {0, side}
        for shifting in (False, True):
            tiled = restored(replace(plain, tile=tile, overlap=overlap, shifting=shifting))
            ratio = seam_ratio(tiled, ends, ends) / seam_ratio(whole, ends, ends)
            name = "shifting" if shifting else "fixed"
            say(f"| {overlap / tile:.1%} | {name} | {psnr(tiled, whole):.2f} | {ratio:.3f} | {len(grid)} |")
            write_picture(folder / f"seams_{overlap}_{name}.png", tiled[0])


PARTS: dict[str, Callable[[SupirModel, Path], None]] = {
    "gain": gain,
    "encoders": encoders,
    "directions": directions,
    "seams": seams,
}


def say(*lines: str) -> None:
    """Print at once, as some tables take minutes."""
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="all by default")
    parser.add_argument("--output", type=Path, default=Path("demo_output"), help="folder for pictures")
    options = parser.parse_args()
    model = load_demo_model()
    for part in options.parts or PARTS:
        say("", f"{part}:", "")
        PARTS[part](model, options.output)


if __name__ == "__main__":
    main()
