"""How much a restored video flickers: a photograph panned by whole pixels, its frames restored one by one by the demo weights.

Eight windows of a photograph that the demo weights never saw, each ``pan`` pixels further to the right, are damaged, restored
and laid over each other again where they show the same. ``flicker`` is the mean absolute difference of neighbours there, of
255: 0 is a video as steady as the photograph. ``colour`` is the difference of their means over the channels. ``input`` is
the damaged video, enlarged.

Damage is ``fixed`` to the scene, so that only the restoration flickers, or ``fresh`` in each frame, as a sensor's noise is.
Noise is ``own`` of each frame, or the ``same`` for all; ``same, colour`` is the latter with each frame's mean and contrast set
to those of the first result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import measure
import torch
from networks import PHOTOGRAPHS, photograph
from torch import Tensor

from supir_core import Settings, SupirModel, restore
from supir_core.command.demo import DAMAGE, DEMO_SETTINGS, load_demo_model
from supir_core.evaluation.degradation import SETTINGS, clean_part, damage
from supir_core.evaluation.metrics import psnr
from supir_core.restoration.canvas import resize
from supir_core.restoration.colorfix import fix_color

COUNT, SIDE, START = 8, 256, 96
"""Frames, the side of each, and where the first begins from the left, and from above if there is room, in pixels."""

PANS = (0, 4, 8)
"""Pixels from frame to frame: a still camera, and one pixel and two of the damaged picture, half of a latent's and one."""

EDGE = 16
"""Pixels at each border that are not looked at."""

WAYS = {"held": DEMO_SETTINGS, "free": replace(DEMO_SETTINGS, restoration_scale=0.0)}
"""The demo's steps, which are pulled towards stage 1, and the same without the pull, which invent more."""


def windows(picture: Tensor, pan: int, factor: int = 1) -> Tensor:
    """The frames of a picture that is ``factor`` times smaller."""
    side = SIDE // factor
    top = min(START // factor, picture.shape[2] - side)
    lefts = [(START + number * pan) // factor for number in range(COUNT)]
    return torch.cat([picture[:, :, top : top + side, left : left + side] for left in lefts])


def damaged_frames(clean: Tensor, pan: int, fresh: bool) -> Tensor:
    """The damaged video of a clean photograph."""
    if fresh:
        return torch.cat([damage(frame, DAMAGE, seed) for seed, frame in enumerate(windows(clean, pan).split(1))])
    return windows(damage(clean, DAMAGE), pan, SETTINGS[DAMAGE].factor)


def flicker(frames: Tensor, pan: int) -> tuple[float, float]:
    """Mean absolute difference of neighbours where they show the same, and that of their mean colours, of 255."""
    inner = frames[:, :, EDGE:-EDGE, EDGE:-EDGE] * 255
    width = inner.shape[3] - pan
    change = inner[1:, :, :, :width] - inner[:-1, :, :, pan:]
    return change.abs().mean().item(), change.mean(dim=(2, 3)).abs().mean().item()


def row(name: str, frames: Tensor, clean: Tensor, pan: int) -> dict[str, Any]:
    """A line of the table."""
    change, color = flicker(frames, pan)
    return {"noise": name, "flicker": change, "colour": color, "PSNR": f"{psnr(frames, windows(clean, pan)):.2f}"}


@torch.no_grad()
def table(model: SupirModel, subject: str, settings: Settings, pans: Sequence[int]) -> measure.Rows:
    """All variants on one photograph."""
    clean = clean_part(photograph(subject))
    rows = []
    for pan in pans:
        for kind in ("fixed", "fresh"):
            video = damaged_frames(clean, pan, kind == "fresh")
            results = {"input": resize(video, (SIDE, SIDE))}
            for name, same in {"own": False, "same": True}.items():
                chosen = replace(settings, same_noise=same)
                results[name] = restore(model, video, chosen, size=(SIDE, SIDE), caption=PHOTOGRAPHS[subject]).image
            results["same, colour"] = fix_color(results["same"], results["same"][:1], "adain").clamp(0, 1)
            given = {"pan": pan, "damage": kind}
            rows += [given | row(name, frames, clean, pan) for name, frames in results.items()]
    return rows


def main() -> None:
    """Measure."""
    parser = measure.arguments(__doc__)
    for name, choices in (("photographs", PHOTOGRAPHS), ("ways", WAYS)):
        parser.add_argument(f"--{name}", nargs="+", choices=choices, default=list(choices))
    parser.add_argument("--pans", nargs="+", type=int, choices=PANS, default=PANS)
    options = parser.parse_args()
    model = load_demo_model(options.device)
    chosen, results = (options.ways, options.photographs, options.pans), {}
    ways, subjects, pans = (some[:1] for some in chosen) if options.quick else chosen
    for way, subject in product(ways, subjects):
        name = f"{subject}, {way}"
        results[name] = table(model, subject, WAYS[way], pans)
        measure.print_table(name, results[name])
    measure.write_results("flicker", results, options)


if __name__ == "__main__":
    main()
