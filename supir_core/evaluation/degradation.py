"""Damage on purpose: the settings of the paper's tests, and random damage of second order for training.

Second order means blur, resize, noise and JPEG, all of them twice (Wang et al. 2021, Real-ESRGAN, section 3.1, in its
plain form without sinc filters).
"""

from __future__ import annotations

import io
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ..files.convert import to_image, to_tensor
from ..restoration.canvas import middle_of, resize

RESIZE_MODES = ("area", "bilinear", "bicubic")


@dataclass(frozen=True)
class Degradation:
    """Blur, then shrink, then noise, then JPEG.

    Attributes:
        blur: standard deviation of the Gaussian blur in pixels, 0 for none.
        factor: how many times smaller the result is.
        noise: standard deviation of the Gaussian noise, of 255.
        jpeg: JPEG quality, 1 to 100, 0 for none.
    """

    blur: float = 0.0
    factor: int = 4
    noise: float = 0.0
    jpeg: int = 0


SETTINGS: dict[str, Degradation] = {
    "sr4": Degradation(),
    "sr8": Degradation(factor=8),
    "blur_sr4": Degradation(blur=2),
    "sr4_noise": Degradation(noise=40),
    "blur_sr4_noise_jpeg": Degradation(blur=2, noise=20, jpeg=50),
}
"""Table 1 of Yu et al. (2024); the last is its hardest mixture."""

SECOND_ORDER = "second-order"
DAMAGES = (*SETTINGS, SECOND_ORDER)
"""All damages by name."""

SIDE_MULTIPLE = math.lcm(*(setting.factor for setting in SETTINGS.values()))
"""Of the sides of clean pictures, so that all settings damage the same part of them."""


def factor_of(name: str) -> int:
    """How many times smaller the damage of a name makes a picture."""
    return SETTINGS.get(name, Degradation()).factor


def clean_part(picture: Tensor, side: int | None = None) -> Tensor:
    """The part of a clean picture that is damaged: ``(1, C, H, W)``, both sides cut to multiples of ``SIDE_MULTIPLE``.

    Args:
        picture: ``(1, C, H, W)``.
        side: cut out the middle square of at most so many pixels a side first.

    Raises:
        ValueError: it is too small.
    """
    height, width = picture.shape[2:]
    if min(height, width) < SIDE_MULTIPLE:
        raise ValueError(f"{width}x{height} pixels are too few to damage; at least {SIDE_MULTIPLE} a side are needed")
    if side is not None:
        side = min(side, height, width)
        picture = middle_of(picture, (side, side))
    height, width = (edge // SIDE_MULTIPLE * SIDE_MULTIPLE for edge in picture.shape[2:])
    return picture[:, :, :height, :width]


def counterpart(clean: Tensor, size: Sequence[int]) -> Tensor:
    """The part of a clean picture that a damaged one of some (height, width) shows: without what ``clean_part`` cut off.

    Where the sides are not in a whole ratio it is the whole picture.
    """
    factor = max(1, round(clean.shape[2] / size[0]))
    height, width = (side * factor for side in size)
    over = clean.shape[2] - height, clean.shape[3] - width
    return clean[:, :, :height, :width] if all(0 <= pixels < SIDE_MULTIPLE for pixels in over) else clean


def damage(picture: Tensor, name: str, seed: int = 0, of: str = "") -> Tensor:
    """Damage a picture in a way of ``DAMAGES``; arguments and result as for ``degrade``.

    ``of`` names the picture: damage of second order differs from one to the next, however many there are.
    """
    if name == SECOND_ORDER:
        return degrade_at_random(picture, np.random.default_rng([seed, zlib.crc32(of.encode())]))
    return degrade(picture, SETTINGS[name], seed)


def degrade(picture: Tensor, setting: Degradation, seed: int = 0) -> Tensor:
    """Damage a picture.

    Args:
        picture: ``(1, 3, H, W)`` in [0, 1], both sides multiples of ``setting.factor``.
        setting: how.
        seed: of the noise.

    Returns:
        ``(1, 3, H / factor, W / factor)`` in [0, 1].
    """
    if setting.blur:
        picture = blur(picture, gaussian_kernel(setting.blur, setting.blur, 0.0))
    size = [side // setting.factor for side in picture.shape[2:]]
    picture = F.interpolate(picture, size=size, mode="bicubic", antialias=True).clamp(0, 1)
    if setting.noise:
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(picture.shape, generator=generator)
        picture = (picture + noise * (setting.noise / 255)).clamp(0, 1)
    return jpeg(picture, setting.jpeg) if setting.jpeg else picture


def degrade_at_random(picture: Tensor, random: np.random.Generator, factor: int = 4) -> Tensor:
    """Damage of second order, mild to heavy: ``(1, 3, H, W)`` -> ``(1, 3, H / factor, W / factor)``, in [0, 1]."""
    size = [side // factor for side in picture.shape[2:]]
    between = [max(8, round(side * random.uniform(0.3, 1.0))) for side in picture.shape[2:]]
    for target, strength in ((between, 1.0), (size, 0.7)):
        if random.random() < 0.8:
            picture = blur(picture, _random_kernel(random, strength))
        picture = _resize_at_random(picture, target, random)
        picture = _noise_at_random(picture, random, strength)
        if random.random() < 0.8:
            picture = jpeg(picture, int(random.integers(30, 96)))
    return picture


def enlarged(damaged: Tensor, size: tuple[int, int]) -> Tensor:
    """Damaged pictures enlarged to (height, width), in 8 bits as a file has them."""
    return (resize(damaged, size) * 255).round() / 255


def gaussian_kernel(sigma_x: float, sigma_y: float, angle: float) -> Tensor:
    """An anisotropic Gaussian that sums to one, ``(n, n)``; deviations in pixels, the angle in radians."""
    radius = max(1, math.ceil(3 * max(sigma_x, sigma_y)))
    steps = torch.arange(-radius, radius + 1, dtype=torch.float32)
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    along, across = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    kernel = torch.exp(-0.5 * ((along / sigma_x) ** 2 + (across / sigma_y) ** 2))
    return kernel / kernel.sum()


def blur(picture: Tensor, kernel: Tensor) -> Tensor:
    """Convolve each channel with a square kernel, borders repeated."""
    radius = kernel.shape[0] // 2
    padded = F.pad(picture, (radius,) * 4, mode="replicate")
    return F.conv2d(padded, kernel.expand(picture.shape[1], 1, -1, -1), groups=picture.shape[1])


def jpeg(picture: Tensor, quality: int) -> Tensor:
    """Through a JPEG of a quality, 1 to 100, and back: ``(1, 3, H, W)`` in [0, 1]."""
    buffer = io.BytesIO()
    to_image(picture[0].clamp(0, 1)).save(buffer, format="JPEG", quality=quality)
    return to_tensor(Image.open(buffer))


def _random_kernel(random: np.random.Generator, strength: float) -> Tensor:
    sigma_x, sigma_y = random.uniform(0.2, 3.0 * strength, size=2)
    if random.random() < 0.6:
        sigma_y = sigma_x
    return gaussian_kernel(sigma_x, sigma_y, random.uniform(0, math.pi))


def _resize_at_random(picture: Tensor, size: list[int], random: np.random.Generator) -> Tensor:
    mode = RESIZE_MODES[random.integers(len(RESIZE_MODES))]
    if mode == "area":
        return F.interpolate(picture, size=size, mode="area")
    return F.interpolate(picture, size=size, mode=mode, antialias=True).clamp(0, 1)


def _noise_at_random(picture: Tensor, random: np.random.Generator, strength: float) -> Tensor:
    """Gaussian noise, or Poisson noise as of few photons; grey or coloured."""
    channels = 1 if random.random() < 0.4 else picture.shape[1]
    noise = torch.from_numpy(random.standard_normal((1, channels, *picture.shape[2:]), dtype=np.float32))
    if random.random() < 0.5:
        deviation = torch.tensor(random.uniform(1, 30 * strength) / 255, dtype=torch.float32)
    else:
        deviation = (picture.mean(1, keepdim=True) * random.uniform(0.05, 3.0 * strength) / 255).sqrt()
    return (picture + noise * deviation).clamp(0, 1)
