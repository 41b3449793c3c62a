"""Only parts of a picture: each cut out with what surrounds it, restored by itself, and pasted back.

What lies outside the mask keeps every bit. A region is worked on at the size that the model is good at, with its own
stage 1, prompt and seed, so a small face gets the detail of a large picture.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from ..files.convert import as_tensor
from .canvas import Restored, resize, target_size
from .knobs import Knob
from .noise import SEEDS
from .prompts import as_captions
from .settings import CommonSettings

CONTEXT = Knob(
    "How much of the surroundings the model sees: sides of the cut-out in sides of the region.",
    1.5,
    least=1.0,
    most=4.0,
    step=0.05,
)
FEATHER = Knob(
    "Width in pixels over which a region fades in, inside its mask. 0 is a hard edge.", 16, least=0, most=512
)

LEAST_SIDE = 64
"""Pixels. A smaller cut-out shows the model too little to tell what it is of."""


@dataclass(frozen=True)
class Region:
    """A part of a picture.

    Attributes:
        box: (top, left, bottom, right) of the cut-out in pixels.
        weights: of the restored pixels in it, ``(height, width)`` in [0, 1]; 0 outside the mask.
    """

    box: tuple[int, int, int, int]
    weights: Tensor

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the cut-out."""
        top, left, bottom, right = self.box
        return bottom - top, right - left

    def cut(self, picture: Tensor) -> Tensor:
        """What lies in the box, a view of a picture ``(B, C, H, W)``."""
        top, left, bottom, right = self.box
        return picture[:, :, top:bottom, left:right]

    def paste(self, picture: Tensor, restored: Tensor) -> None:
        """Blend the restored cut-out into a picture, in place, its colours matched to what surrounds it there."""
        old, weights = self.cut(picture), self.weights.to(picture.device)
        fitted = match_surroundings(restored, old, weights == 0).clamp_(0, 1)
        old.copy_(torch.where(weights > 0, torch.lerp(old, fitted, weights), old))


def match_surroundings(restored: Tensor, old: Tensor, outside: Tensor) -> Tensor:
    """Shift each channel so that the pixels ``outside`` (H, W) have the mean that they had, where there are any."""
    if not outside.any():
        return restored
    return restored + (old - restored)[:, :, outside].mean(dim=2)[:, :, None, None]


def find_regions(
    mask: Tensor, context: float = CONTEXT.default, feather: int = FEATHER.default, apart: bool = True
) -> list[Region]:
    """The regions of a mask, from the top down.

    Args:
        mask: ``(H, W)``, 0 where the picture stays as it is, 1 where it is restored; in between is a blend.
        context: sides of the cut-outs in sides of the regions, at least 1.
        feather: pixels over which a region fades in, inside its mask; in a region too narrow for it, as far as it goes.
        apart: parts that do not touch, even when feathered, are regions of their own.

    Raises:
        ValueError: the mask is no picture of numbers within 0 to 1, or a number is out of its range.
    """
    CONTEXT.check("context", context)
    FEATHER.check("feather", feather)
    low, high = float(_shaped(mask).min()), float(mask.max())
    if not 0 <= low <= high <= 1:  # NaN too
        raise ValueError(f"a mask is (H, W) with values within 0 to 1, got {low:g} to {high:g}; scale it first")
    values = mask.detach().cpu().float().numpy()
    parts, count = _parts(values > 0, feather) if apart else (values > 0, int(values.any()))
    return [_region(np.where(parts == number, values, 0), context, feather) for number in range(1, count + 1)]


def _shaped(mask: Any) -> Tensor:
    try:
        mask = mask if isinstance(mask, Tensor) else torch.from_numpy(np.array(mask))
    except TypeError as error:
        raise ValueError(f"a mask is a tensor, an array or a grey Pillow image, got {mask!r}; read it first") from error
    if mask.ndim != 2 or not mask.numel():
        raise ValueError(f"a mask is (H, W), got the shape {tuple(mask.shape)}; take one channel of one mask")
    return mask


def _parts(marked: np.ndarray, feather: int) -> tuple[np.ndarray, int]:
    """Number the parts of a mask from 1; those nearer to each other than ``feather`` pixels are one."""
    if not marked.any():
        return marked, 0
    near = _depth(~marked) <= feather / 2
    return ndimage.label(near, structure=np.ones((3, 3)))  # type: ignore[return-value]


def _region(mask: np.ndarray, context: float, feather: int) -> Region:
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    spans = [(int(places[0]), int(places[-1]) + 1) for places in (rows, columns)]
    longest = max(stop - start for start, stop in spans)
    margin = math.ceil(max(longest * (context - 1), LEAST_SIDE - longest) / 2)
    (top, bottom), (left, right) = (
        (max(start - margin, 0), min(stop + margin, side))
        for (start, stop), side in zip(spans, mask.shape, strict=True)
    )
    inside = mask[top:bottom, left:right]
    rim = [
        (int(start > 0), int(stop < side))
        for start, stop, side in ((top, bottom, len(mask)), (left, right, mask.shape[1]))
    ]
    return Region((top, left, bottom, right), torch.from_numpy(inside * _fade(inside > 0, rim, feather)).float())


def _fade(marked: np.ndarray, rim: Sequence[tuple[int, int]], feather: int) -> np.ndarray:
    """A raised cosine from the mask's edge inwards. A side of the cut-out is an edge unless the picture ends there."""
    framed = np.pad(marked, rim)
    depth = _depth(framed)
    (top, bottom), (left, right) = rim
    inner = depth[top : len(depth) - bottom, left : depth.shape[1] - right]
    reach = min(feather, depth.max()) or 1
    return np.sin(np.pi / 2 * np.clip(inner / reach, 0, 1)) ** 2


def _depth(marked: np.ndarray) -> np.ndarray:
    """Distance to the nearest pixel that is not marked; infinite where all are."""
    if marked.all():
        return np.full(marked.shape, np.inf)
    return np.asarray(ndimage.distance_transform_edt(marked))


def box_mask(size: tuple[int, int], boxes: Sequence[tuple[float, float, float, float]]) -> list[Tensor]:
    """One mask ``(H, W)`` for each box (left, top, width, height) in pixels; what lies outside the picture is cut off."""
    masks = []
    for left, top, width, height in boxes:
        mask = torch.zeros(size)
        mask[max(0, round(top)) : max(0, round(top + height)), max(0, round(left)) : max(0, round(left + width))] = 1
        masks.append(mask)
    return masks


def restore_regions(picture: Tensor, regions: Sequence[Region], restore: Callable[[Tensor, int], Tensor]) -> Tensor:
    """Restore parts of a picture, one after the other; a later one sees what the earlier ones made.

    Args:
        picture: ``(B, 3 or 4, H, W)`` in [0, 1]; alpha stays.
        regions: see ``find_regions``.
        restore: restores the colours of a cut-out ``(B, 3, h, w)`` at its own size; told the region's number.

    Returns:
        Shaped as ``picture``; outside the masks it is the same, bit for bit.
    """
    result = picture.clone()
    colors = result[:, :3]
    for number, region in enumerate(regions):
        region.paste(colors, restore(region.cut(colors).clone(), number).to(result))
    return result


def restore_masked(
    restore: Callable[..., Restored],
    picture: Any,
    mask: Any,
    settings: CommonSettings,
    *,
    scale: float = 1.0,
    size: tuple[int, int] | None = None,
    caption: str | Sequence[str] = "",
    context: float = CONTEXT.default,
    feather: int = FEATHER.default,
    seed: int | torch.Generator | None = None,
    **given: Any,
) -> Restored:
    """Restore what a mask marks in pictures, each region with the next seed.

    Args:
        restore: ``restore`` or ``restore_instantir`` with its model, such as ``partial(restore, model)``.
        picture: of any kind that these take.
        mask: ``(h, w)``, 1 where the pictures are restored; see ``fit_mask``.
        settings: of the method.
        scale: by which the pictures are enlarged first, plainly.
        size: exact (height, width) instead.
        caption: what the regions show: one for all, or one for each, from the top down.
        context: see ``find_regions``.
        feather: see ``find_regions``.
        seed: of the first region, in place of the settings' own, or a generator that draws it.
        given: what ``restore`` is told besides.

    Returns:
        The pictures with their regions restored, and the pictures as they were enlarged, of the kind of ``picture``.

    Raises:
        ValueError: the captions do not fit the regions, or the mask is none, or of another shape than the pictures.
    """
    tensor, back = as_tensor(picture)
    mask = like_picture(mask, (tensor.shape[2], tensor.shape[3]))
    settings = CommonSettings.require(settings).seeded(seed)
    enlarged = resize(tensor, target_size(tensor, scale, size))
    regions = find_regions(fit_mask(mask, (enlarged.shape[2], enlarged.shape[3])), context, feather)
    captions = captions_for(regions, as_captions(caption))

    def one(crop: Tensor, number: int) -> Tensor:
        seeded = settings.seeded((settings.seed + number) % SEEDS)
        return restore(crop, seeded, scale=1.0, caption=captions[number], **given).image

    return Restored(back(restore_regions(enlarged, regions, one)), back(enlarged))


def like_picture(mask: Any, size: tuple[int, int]) -> Tensor:
    """A mask of any kind that ``fit_mask`` takes, as it is, if it has the shape of a picture of this (height, width).

    Raises:
        ValueError: it is no smaller or larger picture of the same shape.
    """
    mask = _shaped(mask)
    (h, w), (height, width) = mask.shape, size
    if abs(h * width - w * height) > max(h, w, height, width):  # more than rounding to whole pixels
        raise ValueError(
            f"the mask has {w}x{h} pixels and its picture {width}x{height}; expected the same shape, so draw the mask on "
            "this picture, or cut and turn it alike"
        )
    return mask


def fit_mask(mask: Any, size: tuple[int, int]) -> Tensor:
    """A mask ``(h, w)``, a tensor, an array or a grey Pillow image, in [0, 1] or uint8, at the size of a picture.

    Raises:
        ValueError: it is of another form or shape, or its numbers are on another scale.
    """
    mask = _shaped(mask)
    full, values = 255 if mask.dtype == torch.uint8 else 1, mask.float()
    most = values.max().item()
    if most == 1 < full or most >= 2 * full:
        raise ValueError(f"a mask of {mask.dtype} goes from 0 to {full}, got at most {most:g}; scale it first")
    return F.interpolate(values[None, None] / full, size, mode="bilinear", antialias=True)[0, 0].clamp_(0, 1)


def captions_for(regions: Sequence[Region], captions: Sequence[str]) -> list[str]:
    """A caption for each region.

    Raises:
        ValueError: there are several, and not as many as regions.
    """
    captions = captions or [""]
    if len(captions) == 1:
        return [captions[0]] * len(regions)
    if len(captions) != len(regions):
        raise ValueError(f"got {len(captions)} captions for {len(regions)} regions; give one for all, or one for each")
    return list(captions)
