"""Training pictures of the demo weights: photographs that scikit-image, scikit-learn and matplotlib ship, and drawn ones.

The astronaut and the cat (chelsea) are held out: nothing here may return them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from demo_weights import CAPTIONS
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from supir_core.degradation import SETTINGS, degrade, degrade_at_random
from supir_core.pictures import to_tensor
from supir_core.pipeline import resize

HELD_OUT = ("astronaut", "chelsea")
PAPER_SHARES = {"sr4": 0.1, "blur_sr4": 0.1, "sr4_noise": 0.1, "blur_sr4_noise_jpeg": 0.7}


@dataclass(frozen=True)
class Pool:
    """Crops, uint8 to save memory.

    Attributes:
        clean: ``(N, 3, side, side)``.
        damaged: the same crops damaged and enlarged back.
        captions: index into ``CAPTIONS`` of each.
    """

    clean: Tensor
    damaged: Tensor
    captions: Tensor

    def first(self, count: int) -> Pool:
        """The first crops alone."""
        return Pool(self.clean[:count], self.damaged[:count], self.captions[:count])

    def batch(self, random: np.random.Generator, size: int, side: int) -> tuple[Tensor, Tensor]:
        """Windows of ``side`` pixels of clean crops and of the damaged ones, in [-1, 1], turned at random."""
        rows = torch.from_numpy(random.integers(len(self.clean), size=size))
        top, left = random.integers(self.clean.shape[-1] - side + 1, size=2)
        window = (rows, slice(None), slice(top, top + side), slice(left, left + side))
        pair = torch.stack([self.clean[window], self.damaged[window]]).float() / 127.5 - 1
        pair = torch.rot90(pair, int(random.integers(4)), (-2, -1))
        return pair[0].contiguous(), pair[1].contiguous()


def build_pool(count: int, side: int, seed: int) -> Pool:
    """Cut and damage ``count`` crops, the larger pictures more often."""
    random = np.random.default_rng(seed)
    pictures = photographs()
    names = list(pictures)
    weights = np.array([picture[0, 0].numel() ** 0.5 for picture in pictures.values()])
    clean, damaged, captions = [], [], []
    for _ in range(count):
        if random.random() < 0.12:
            name, crop = "drawn", draw(random, side)
        else:
            name = names[random.choice(len(names), p=weights / weights.sum())]
            crop = recolor(cut(pictures[name], side, random), random)
        if random.random() < 0.5:
            crop = crop.flip(-1)
        clean.append(_bytes(crop))
        damaged.append(_bytes(resize(damage(crop, random), (side, side))))
        captions.append(list(CAPTIONS).index(name))
    return Pool(torch.cat(clean), torch.cat(damaged), torch.tensor(captions))


def photographs() -> dict[str, Tensor]:
    """All photographs for training, by name: ``(1, 3, H, W)`` in [0, 1]."""
    from matplotlib.cbook import get_sample_data
    from skimage import data
    from sklearn.datasets import load_sample_image

    simple = [name for name in CAPTIONS if name not in ("motorcycle", "china", "flower", "hopper", "drawn")]
    loaders: dict[str, Callable[[], np.ndarray]] = {name: getattr(data, name) for name in simple}
    loaders["motorcycle"] = lambda: data.stereo_motorcycle()[0]
    loaders["china"] = lambda: load_sample_image("china.jpg")
    loaders["flower"] = lambda: load_sample_image("flower.jpg")
    loaders["hopper"] = lambda: np.asarray(Image.open(get_sample_data("grace_hopper.jpg")))
    assert not set(loaders) & set(HELD_OUT)
    return {name: to_tensor(Image.fromarray(load()))[:, :3] for name, load in loaders.items()}


def cut(picture: Tensor, side: int, random: np.random.Generator) -> Tensor:
    """A random square, mostly shrunk, of ``side`` pixels."""
    height, width = picture.shape[2:]
    size = int(min(height, width, side * random.uniform(0.9, 2.2)))
    top, left = random.integers(height - size + 1), random.integers(width - size + 1)
    return resize(picture[..., top : top + size, left : left + size], (side, side))


def recolor(crop: Tensor, random: np.random.Generator) -> Tensor:
    """Other light: gamma, gain and tint; sometimes the channels change places."""
    gamma = float(np.exp(random.uniform(-0.4, 0.4)))
    gain = torch.from_numpy(random.uniform(0.8, 1.15, size=(1, 3, 1, 1)).astype(np.float32))
    if random.random() < 0.3:
        crop = crop[:, torch.from_numpy(random.permutation(3))]
    return (crop**gamma * gain).clamp(0, 1)


def damage(crop: Tensor, random: np.random.Generator) -> Tensor:
    """Half random damage of second order, half the paper's settings, the mixture most of all."""
    if random.random() < 0.5:
        return degrade_at_random(crop, random)
    name = random.choice(list(PAPER_SHARES), p=list(PAPER_SHARES.values()))
    return degrade(crop, SETTINGS[name], int(random.integers(1 << 30)))


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


def _bytes(picture: Tensor) -> Tensor:
    return (picture * 255).round().byte()
