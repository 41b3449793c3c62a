"""Training pictures of the demo weights: parts of photographs and drawn ones, as files with captions.

python -m tools.training.demo_data pictures
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from supir_core.command.caption_files import write_captions
from supir_core.files.convert import to_tensor
from supir_core.files.pictures import write_picture
from supir_core.restoration.canvas import resize

from .demo_photographs import photographs
from .demo_weights import CAPTIONS

SIDE = 512
"""Of the pictures, in pixels."""

TEXTURES = (
    "hubble_deep_field",
    "retina",
    "immunohistochemistry",
    "moon",
    "brick",
    "grass",
    "gravel",
    "coins",
    "page",
)
DRAWN_SHARE, LEAVES_SHARE = 0.06, 0.2


def picture_at_random(pictures: dict[str, Tensor], side: int, random: np.random.Generator) -> tuple[str, Tensor]:
    """A drawing, dead leaves, or a part of a photograph, scenes more often than textures; with its caption's name."""
    names = list(pictures)
    kind = random.random()
    if kind < DRAWN_SHARE:
        return "drawn", draw(random, side)
    if kind < DRAWN_SHARE + LEAVES_SHARE:
        return "drawn", dead_leaves(pictures[names[random.integers(len(names))]], side, random)
    weights = np.array([1.0 if name in TEXTURES else 3.0 for name in names])
    name = names[random.choice(len(names), p=weights / weights.sum())]
    return name, recolor(cut(pictures[name], side, random), random)


def cut(picture: Tensor, side: int, random: np.random.Generator) -> Tensor:
    """A random square of ``side`` pixels, shrunk or, so that soft pictures are seen too, enlarged."""
    height, width = picture.shape[2:]
    size = int(min(height, width, side * random.uniform(0.45, 1.8)))
    top, left = random.integers(height - size + 1), random.integers(width - size + 1)
    return resize(picture[..., top : top + size, left : left + size], (side, side))


def recolor(crop: Tensor, random: np.random.Generator) -> Tensor:
    """Other light: gamma, gain and tint; sometimes the channels change places."""
    gamma = float(np.exp(random.uniform(-0.4, 0.4)))
    gain = torch.from_numpy(random.uniform(0.8, 1.15, size=(1, 3, 1, 1)).astype(np.float32))
    if random.random() < 0.3:
        crop = crop[:, torch.from_numpy(random.permutation(3))]
    return (crop**gamma * gain).clamp(0, 1)


def dead_leaves(palette: Tensor, side: int, random: np.random.Generator) -> Tensor:
    """Ellipses of all sizes that hide each other, in a photograph's colours, some of them rough.

    Such pictures share much of photographs' statistics and never repeat (Achddou et al. 2021).
    """
    large = 3 * side
    pixels = palette[0].flatten(1).T.mul(255).byte().numpy()
    image = Image.new("RGB", (large, large), tuple(pixels[random.integers(len(pixels))].tolist()))
    pen = ImageDraw.Draw(image)
    smallest, largest = random.uniform(3, 16), random.uniform(0.15, 0.4) * large
    for _ in range(int(random.integers(500, 3000))):
        radius = (largest**-2 + random.random() * (smallest**-2 - largest**-2)) ** -0.5
        x, y = random.integers(large, size=2)
        aspect = float(np.exp(random.uniform(-0.7, 0.7)))
        box = (x - radius * aspect, y - radius / aspect, x + radius * aspect, y + radius / aspect)
        pen.ellipse(box, tuple(pixels[random.integers(len(pixels))].tolist()))
    turned = to_tensor(image.rotate(float(random.uniform(0, 360)), Image.Resampling.BICUBIC))
    edge = side // 2  # beyond it turning leaves corners empty
    leaves = cut(turned[..., edge:-edge, edge:-edge], side, random)
    return (leaves * (1 + clouds(side, random))).clamp(0, 1)


def clouds(side: int, random: np.random.Generator) -> Tensor:
    """Smooth to rough noise, here and there: ``(1, 1, side, side)`` about 0."""
    sum_of_octaves = torch.zeros(1, 1, side, side)
    for cells in (8, 16, 32, 64, 128):
        noise = torch.from_numpy(random.standard_normal((1, 1, cells, cells), dtype=np.float32))
        strength = torch.from_numpy(random.random((1, 1, 4, 4), dtype=np.float32)) * random.uniform(0, 0.4)
        octave, where = (F.interpolate(t, size=(side, side), mode="bicubic") for t in (noise, strength))
        sum_of_octaves += octave * where * cells**-0.5
    return sum_of_octaves


def draw(random: np.random.Generator, side: int) -> Tensor:
    """A gradient or a cloud, with shapes and words on it."""
    low = torch.from_numpy(random.uniform(0, 1, (1, 3, *random.integers(2, 9, size=2))).astype(np.float32))
    ground = F.interpolate(low, size=(side, side), mode="bicubic", align_corners=False).clamp(0, 1)
    image = Image.fromarray((ground[0].permute(1, 2, 0) * 255).byte().numpy())
    pen = ImageDraw.Draw(image)
    for _ in range(int(random.integers(1, 6))):
        color = tuple(int(c) for c in random.integers(256, size=3))
        left, top = (int(v) for v in random.integers(-10, side, size=2))
        right, bottom = left + int(random.integers(4, side)), top + int(random.integers(4, side))
        kind = random.integers(4)
        if kind == 0:
            pen.rectangle((left, top, right, bottom), fill=color)
        elif kind == 1:
            pen.ellipse((left, top, right, bottom), fill=color)
        elif kind == 2:
            pen.line((left, top, right, bottom), fill=color, width=int(random.integers(1, 6)))
        else:
            word = "".join(chr(c) for c in random.integers(65, 91, size=int(random.integers(2, 8))))
            pen.text((left, top), word, fill=color, font=ImageFont.load_default(int(random.integers(10, 40))))
    return to_tensor(image)


def main() -> None:
    """Write the pictures that are not there yet, a caption beside each."""
    parser = argparse.ArgumentParser(description="Write the training pictures of the demo weights, with captions.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=2000, help="of pictures (%(default)s)")
    options = parser.parse_args()
    pictures = photographs()
    for number in range(options.count):
        file = options.folder / f"{number:05}.png"
        if not file.with_suffix(".txt").exists():
            name, picture = picture_at_random(pictures, SIDE, np.random.default_rng([0, number]))
            write_picture(file, picture[0])
            write_captions(file.with_suffix(".txt"), [CAPTIONS[name.partition("/")[0]]])


if __name__ == "__main__":
    main()
