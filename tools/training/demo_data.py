"""Training pictures of the demo weights: parts of photographs and drawn ones, undamaged and damaged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from supir_core.evaluation.degradation import SETTINGS, degrade, degrade_at_random
from supir_core.files.convert import to_tensor
from supir_core.restoration.canvas import resize

from .demo_photographs import photographs
from .demo_weights import CAPTIONS

CROP, LARGE_CROP = 256, 512
"""Sides of the crops, in pixels."""

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
AT_RANDOM = 0.1
PAPER_SHARES = {"sr4": 0.03, "blur_sr4": 0.03, "sr4_noise": 0.04, "blur_sr4_noise_jpeg": 0.9}

Crops = TypeVar("Crops")


@dataclass(frozen=True)
class Pool:
    """Undamaged crops, uint8 to save memory; whoever asks for pairs gets them damaged anew.

    Attributes:
        clean: ``(N, 3, side, side)``.
        captions: index into ``CAPTIONS`` of each.
        device: where windows are wanted.
    """

    clean: Tensor
    captions: Tensor
    device: torch.device

    def first(self, count: int) -> Pool:
        """The first crops alone."""
        return Pool(self.clean[:count], self.captions[:count], self.device)

    def windows(self, random: np.random.Generator, size: int, side: int) -> Tensor:
        """Windows of ``side`` pixels, in [-1, 1], turned at random."""
        return self._turned(self._some(random, size), random, side)

    def pairs(self, random: np.random.Generator, size: int, side: int) -> tuple[Tensor, Tensor]:
        """Windows and the same damaged and enlarged back; whole crops are damaged, so that no border shows."""
        clean = self._some(random, size)
        both = torch.cat([clean, damage(clean, random)], dim=1)
        clean, damaged = self._turned(both, random, side).split(3, dim=1)
        return clean.contiguous(), damaged.contiguous()

    def _some(self, random: np.random.Generator, size: int) -> Tensor:
        rows = torch.from_numpy(random.integers(len(self.clean), size=size))
        return self.clean[rows].float() / 255

    def _turned(self, pictures: Tensor, random: np.random.Generator, side: int) -> Tensor:
        top, left = random.integers(pictures.shape[-1] - side + 1, size=2)
        windows = pictures[..., top : top + side, left : left + side] * 2 - 1
        return torch.rot90(windows, int(random.integers(4)), (-2, -1)).contiguous().to(self.device)


def holding(crops: dict[int, Crops], side: int) -> Crops:
    """Of crops by their side, the smallest that hold a window of ``side``."""
    return crops[min(have for have in crops if have >= side)]


def make_crops(count: int, side: int, seed: int) -> tuple[Tensor, Tensor]:
    """Undamaged crops, and the index of each one's caption, as ``Pool`` holds them."""
    random = np.random.default_rng(seed)
    pictures, names = photographs(), list(CAPTIONS)
    clean = torch.empty((count, 3, side, side), dtype=torch.uint8)
    captions = torch.empty(count, dtype=torch.long)
    for row in range(count):
        name, crop = picture_at_random(pictures, side, random)
        if random.random() < 0.5:
            crop = crop.flip(-1)
        clean[row] = (crop[0] * 255).round().byte()
        captions[row] = names.index(name.partition("/")[0])
    return clean, captions


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


def damage(crops: Tensor, random: np.random.Generator) -> Tensor:
    """Each crop damaged, shrunk by four and enlarged back: ``(N, 3, H, W)`` in [0, 1].

    Random damage of second order, or one of the paper's settings, the mixture most of all.
    """
    with torch.autocast("cpu", enabled=False):  # it would blur in bfloat16
        damaged = [damage_one(crop[None], random) for crop in crops]
        enlarged = torch.cat([resize(small, (crops.shape[2], crops.shape[3])) for small in damaged])
    return (enlarged * 255).round() / 255


def damage_one(crop: Tensor, random: np.random.Generator) -> Tensor:
    """A damaged crop, not enlarged: ``(1, 3, H, W)`` -> ``(1, 3, H / 4, W / 4)``."""
    if random.random() < AT_RANDOM:
        return degrade_at_random(crop, random)
    name = random.choice(list(PAPER_SHARES), p=list(PAPER_SHARES.values()))
    return degrade(crop, SETTINGS[name], int(random.integers(1 << 30)))


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
