"""Draws what the demo weights do: on two kinds of damage, for the README, and what knobs change, for the help pages.

python -m tools.training.draw_demo
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from PIL import Image
from torch import Tensor

from supir_core.command.demo import (
    CAPTION,
    DAMAGE,
    DAMAGES,
    DEMO_SETTINGS,
    SCALE,
    demo_photograph,
    load_demo_model,
)
from supir_core.evaluation.degradation import SETTINGS, degrade
from supir_core.evaluation.metrics import psnr
from supir_core.evaluation.sheet import draw_sheet
from supir_core.files.convert import to_image
from supir_core.restoration.canvas import resize
from supir_core.restoration.denoiser import LinearSchedule
from supir_core.supir.model import SupirModel
from supir_core.supir.pipeline import restore
from supir_core.supir.settings import Settings

ROOT = Path(__file__).parents[2]
HELP = ROOT / "web" / "docs"
PANEL, QUALITY = 400, 85
FACE = (slice(None), slice(None), slice(0, 256), slice(96, 352))
"""What knobs are shown on."""

FREE = replace(DEMO_SETTINGS, steps=8, control=LinearSchedule(1.0, 1.0), restoration_scale=0.0, color_fix="none")
"""Nothing that would hide what a knob does."""


def restored(model: SupirModel, name: str, setting: str) -> Image.Image:
    """The demonstration's photograph under a damage, with the distances to the original in dB."""
    original = demo_photograph()
    damaged = degrade(original, SETTINGS[setting])
    result = restore(model, damaged, DEMO_SETTINGS, scale=SCALE, caption=CAPTION)
    enlarged = resize(damaged, (original.shape[2], original.shape[3]))
    made = {"enlarged": enlarged, "stage 1": result.stage1, "restored": result.image}
    named = {f"{kind}: {psnr(picture, original):.1f} dB": picture for kind, picture in made.items()}
    return draw({**named, f"original, {name}": original}, PANEL)


def knob(model: SupirModel, settings: Mapping[str, Settings]) -> Image.Image:
    """A face with each of the settings."""
    damaged = degrade(demo_photograph()[FACE], SETTINGS[DAMAGE])
    side = SCALE * damaged.shape[2]
    shown = {"enlarged": resize(damaged, (side, side))}
    for name, chosen in settings.items():
        shown[name] = restore(model, damaged, chosen, scale=SCALE, caption=CAPTION).image
    return draw(shown, PANEL // 2)


def draw(pictures: Mapping[str, Tensor], width: int) -> Image.Image:
    """Pictures ``(1, 3, H, W)`` beside each other under their names."""
    return to_image(draw_sheet([picture[0] for picture in pictures.values()], [*pictures], details=0, width=width)[0])


def main() -> None:
    """Write all pictures."""
    model = load_demo_model()
    for file, (name, setting) in DAMAGES.items():
        restored(model, name, setting).save(ROOT / "docs" / f"demo_{file}.jpg", quality=QUALITY)
    cfg = {f"CFG {value:g}": replace(FREE, cfg=LinearSchedule(value, value)) for value in (1.0, 2.0, 4.0)}
    pull = {f"restoration scale {value:g}": replace(FREE, restoration_scale=value) for value in (4.0, 1.0, 0.25)}
    knob(model, cfg).save(HELP / "cfg.jpg", quality=QUALITY)
    knob(model, pull).save(HELP / "restoration_scale.jpg", quality=QUALITY)


if __name__ == "__main__":
    main()
