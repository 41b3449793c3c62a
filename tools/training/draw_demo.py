"""Draws what the demo weights do: noise taken away, for the README, and what knobs change, for the help pages.

python -m tools.training.draw_demo
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from supir_core.command.demo import CAPTION, DEMO_SETTINGS, demo_photograph, load_demo_model
from supir_core.evaluation.degradation import SETTINGS, degrade
from supir_core.evaluation.metrics import psnr
from supir_core.files.convert import to_image
from supir_core.restoration.canvas import resize
from supir_core.restoration.denoiser import LinearSchedule
from supir_core.supir.model import SupirModel
from supir_core.supir.pipeline import restore
from supir_core.supir.settings import Settings

from .evaluate_demo import FREE, SCALE

ROOT = Path(__file__).parents[2]
HELP = ROOT / "web" / "docs"
NOISE = "sr4_noise"
PANEL, TITLE, QUALITY = 400, 26, 85
FACE = (slice(None), slice(None), slice(0, 256), slice(96, 352))
"""What knobs are shown on."""


def row(pictures: Mapping[str, Tensor], side: int) -> Image.Image:
    """Pictures beside each other, each under its name."""
    drawn = Image.new("RGB", (side * len(pictures), side + TITLE), "white")
    draw, font = ImageDraw.Draw(drawn), ImageFont.load_default(16)
    for number, (name, picture) in enumerate(pictures.items()):
        panel = to_image(picture[0]).resize((side, side), Image.Resampling.LANCZOS)
        drawn.paste(panel, (number * side, TITLE))
        draw.text((number * side + 6, 3), name, "black", font)
    return drawn


def denoised(model: SupirModel) -> Image.Image:
    """The demonstration's photograph under noise of 40 levels, with its distance to the original in dB."""
    original = demo_photograph()
    damaged = degrade(original, SETTINGS[NOISE])
    restored = restore(model, damaged, DEMO_SETTINGS, scale=SCALE, caption=CAPTION)
    enlarged = resize(damaged, (original.shape[2], original.shape[3]))
    made = {"noise 40, enlarged": enlarged, "stage 1": restored.stage1, "restored": restored.image}
    named = {f"{name}: {psnr(picture, original):.1f} dB": picture for name, picture in made.items()}
    for name in named:
        print(name)
    return row({**named, "original": original}, PANEL)


def knob(model: SupirModel, settings: Mapping[str, Settings]) -> Image.Image:
    """A face with each of the settings."""
    damaged = degrade(demo_photograph()[FACE], SETTINGS["blur_sr4_noise_jpeg"])
    side = SCALE * damaged.shape[2]
    shown = {"enlarged": resize(damaged, (side, side))}
    for name, chosen in settings.items():
        shown[name] = restore(model, damaged, chosen, scale=SCALE, caption=CAPTION).image
    return row(shown, PANEL // 2)


def main() -> None:
    """Write all pictures."""
    model = load_demo_model()
    denoised(model).save(ROOT / "docs" / "demo_noise.jpg", quality=QUALITY)
    cfg = {f"CFG {value:g}": replace(FREE, cfg=LinearSchedule(value, value)) for value in (1.0, 2.0, 4.0)}
    pull = {f"restoration scale {value:g}": replace(FREE, restoration_scale=value) for value in (4.0, 1.0, 0.25)}
    knob(model, cfg).save(HELP / "cfg.jpg", quality=QUALITY)
    knob(model, pull).save(HELP / "restoration_scale.jpg", quality=QUALITY)


if __name__ == "__main__":
    main()
