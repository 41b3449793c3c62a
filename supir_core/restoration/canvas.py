"""How a picture is laid out for work: its size, its padding, and the way back."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from numbers import Integral
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..sdxl.config import LATENT_PIXELS
from ..sdxl.memory import upload
from .colorfix import fix_color
from .knobs import SCALE
from .settings import SIDE_MULTIPLE, CommonSettings
from .transparency import opaque

log = logging.getLogger(__name__)

LONGEST_SIDES = 16
"""How many times the model's shortest side the longer side of a picture may get by enlarging it to that."""


class Restored(NamedTuple):
    """Both pictures ``(B, 3 or 4, H, W)`` in [0, 1]: the result, and what it began from.

    With SUPIR that is what the degradation-robust VAE makes alone, with InstantIR the damaged picture, enlarged.
    """

    image: Tensor
    stage1: Tensor


class Canvas(NamedTuple):
    """How a picture is laid out for work: enlarged to ``inner``, padded to ``outer``; each (height, width)."""

    target: tuple[int, int]
    inner: tuple[int, int]
    outer: tuple[int, int]

    @property
    def latent(self) -> tuple[int, int]:
        """(height, width) of the latent that is sampled."""
        return self.outer[0] // LATENT_PIXELS, self.outer[1] // LATENT_PIXELS

    @classmethod
    def plan(cls, target: tuple[int, int], min_side: int) -> Canvas:
        """Enlarge until the short side has ``min_side`` pixels, then round both sides up to 64.

        A thin picture is enlarged less: its long side stays within ``LONGEST_SIDES`` times ``min_side``.
        """
        wanted = max(1.0, min_side / min(target))
        factor = max(1.0, min(wanted, LONGEST_SIDES * min_side / max(target)))
        if factor < wanted:
            log.warning(
                "a thin picture of %dx%d pixels is worked on with a short side of %d pixels, not %d, which would take %.3g "
                "megapixels",
                *(*reversed(target), round(min(target) * factor), min_side, math.prod(target) * wanted**2 / 1e6),
            )
        inner = tuple(round(side * factor) for side in target)
        outer = tuple(-(-side // SIDE_MULTIPLE) * SIDE_MULTIPLE for side in inner)
        return cls(target, inner, outer)  # type: ignore[arg-type]

    def place(self, picture: Tensor) -> Tensor:
        """The colours of a picture ``(B, 3 or 4, H, W)``, resized, with its border repeated into the padding."""
        image = resize(opaque(picture), self.inner)
        bottom, right = (outer - inner for outer, inner in zip(self.outer, self.inner, strict=True))
        return F.pad(image, (0, right, 0, bottom), mode="replicate")

    def visible(self, image: Tensor) -> Tensor:
        """Cut the padding off."""
        return image[:, :, : self.inner[0], : self.inner[1]]

    def take(self, image: Tensor) -> Tensor:
        """Cut the padding off and resize to the target."""
        return resize(self.visible(image), self.target)


def plan_canvas(
    picture: Tensor, settings: CommonSettings, scale: float, size: tuple[int, int] | None, min_side: int
) -> Canvas:
    """Lay out pictures.

    Args:
        picture: ``(B, C, H, W)``.
        settings: whose shortest side counts where it is set.
        scale: factor of enlargement.
        size: exact (height, width) of the result instead.
        min_side: shortest side that the model works well at.

    Raises:
        ValueError: the scale or the size is not within what makes sense.
    """
    return Canvas.plan(target_size(picture, scale, size), settings.min_side or min_side)


def finish(image: Tensor, start: Tensor, picture: Tensor, canvas: Canvas, settings: CommonSettings) -> Restored:
    """Fix the colours of ``image`` by ``start``, cut both to the target and give them alpha and device of ``picture``."""
    image = fix_color(image, start, settings.color_fix, settings.color_strength).clamp_(0, 1)
    alpha = resize(upload(picture[:, 3:], image.device).to(image.dtype), canvas.target)
    parts = blended(canvas.take(image), picture, settings.strength), canvas.take(start)
    both = torch.stack([torch.cat([part, alpha], dim=1) for part in parts])
    return Restored(*both.to(picture.device))  # one copy, as a GPU is waited for at each


def blended(image: Tensor, picture: Tensor, strength: float) -> Tensor:
    """So much of ``image`` (B, 3, H, W), and for the rest the picture itself, enlarged to its size."""
    if strength == 1:
        return image
    return torch.lerp(resize(opaque(picture), (image.shape[2], image.shape[3])).to(image), image, strength)


def target_size(
    picture: Tensor | tuple[int, int], scale: float, size: tuple[int, int] | None = None
) -> tuple[int, int]:
    """(height, width) of the result: ``size``, else those of a picture ``(B, C, H, W)``, or given, times ``scale``.

    Raises:
        ValueError: the scale is out of its range, or a side of the size is not a whole number above 0.
    """
    if size is None:
        SCALE.check("scale", scale)
        sides = picture.shape[2:] if isinstance(picture, Tensor) else picture
        height, width = (max(1, round(side * scale)) for side in sides)
        return height, width
    sides = tuple(size) if isinstance(size, Iterable) else ()
    if len(sides) != 2 or not all(isinstance(side, Integral) and type(side) is not bool and side > 0 for side in sides):
        raise ValueError(f"size must be (height, width) in whole pixels above 0, got {size!r}")
    return int(sides[0]), int(sides[1])


def middle_of(picture: Tensor, size: tuple[int, int]) -> Tensor:
    """The middle (height, width) of pictures ``(B, C, H, W)``, or what there is of it."""
    top, left = (max(0, (have - wanted) // 2) for have, wanted in zip(picture.shape[2:], size, strict=True))
    return picture[:, :, top : top + size[0], left : left + size[1]]


def resize(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Bicubic, with antialiasing when shrinking; [0, 1] stays within."""
    if tuple(image.shape[2:]) == tuple(size) or not image.shape[1]:
        return image if image.shape[1] else image.new_zeros(len(image), 0, *size)
    try:
        resized = F.interpolate(image, size=size, mode="bicubic", antialias=True)
    except NotImplementedError:  # MPS, in older releases of PyTorch
        resized = F.interpolate(image.cpu(), size=size, mode="bicubic", antialias=True).to(image.device)
    return resized.clamp_(0, 1)
