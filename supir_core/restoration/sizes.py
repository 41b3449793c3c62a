"""The size of a result as people say it, and what is done for it before and after the restoration."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch.nn.functional as F
from torch import Tensor

from ..files.convert import as_tensor
from .canvas import Restored, resize, target_size
from .knobs import SCALE, Knob
from .sharpness import detail_factor

AUTO = "auto"

LONGEST_SIDE = Knob("Longest side of the result in pixels.", 4096, least=64, most=65536)
MEGAPIXELS = Knob("Size of the result in megapixels.", 8.0, least=0.01, most=1000.0, step=0.1)
FIT = Knob(
    "How a picture of another shape comes to an exact size. crop: its middle, cut to that shape. pad: all of it, with white "
    "beside it, transparent where the picture has transparency. stretch: all of it, distorted.",
    "stretch",
    choices=("crop", "pad", "stretch"),
)
SHRINK_FIRST = Knob(
    "By how much the picture is shrunk first, for large scans without detail of their size: the model restores a small sharp "
    "picture better than a large blurred one, and in less time. A scale counts from the shrunk picture.",
    1.0,
    least=1.0,
    most=16.0,
    step=0.1,
)


class Layout(NamedTuple):
    """What is done with a picture of a known size; sizes are (height, width).

    Attributes:
        crop: (top, left, height, width) of what is taken of the picture.
        shrunk: size of that when it is restored.
        inner: size of what is restored.
        outer: size of the result, with white beside ``inner``.
    """

    crop: tuple[int, int, int, int]
    shrunk: tuple[int, int]
    inner: tuple[int, int]
    outer: tuple[int, int]

    @property
    def shrinks(self) -> str:
        """From which size to which the picture is shrunk, in words; nothing where it is not."""
        before, after = self.crop[2:], self.shrunk
        return "" if before == after else f"shrunk first from {before[1]}x{before[0]} to {after[1]}x{after[0]}"

    def restore(self, restore: Callable[..., Restored], picture: Tensor, settings: Any, **given: Any) -> Restored:
        """Restore pictures ``(B, 3 or 4, H, W)``; see ``restore_sized``."""
        restored = restore(self.prepare(picture), settings, size=self.inner, **given)
        return Restored(*map(self.complete, restored))

    def prepare(self, picture: Tensor) -> Tensor:
        """What is restored of a picture ``(B, 3 or 4, H, W)``."""
        top, left, height, width = self.crop
        return resize(picture[:, :, top : top + height, left : left + width], self.shrunk)

    def complete(self, restored: Tensor) -> Tensor:
        """The result of what was restored ``(B, 3 or 4, *inner)``: white, and transparent, beside it."""
        if self.outer == self.inner:
            return restored
        above, before = ((outer - inner) // 2 for outer, inner in zip(self.outer, self.inner, strict=True))
        below, behind = self.outer[0] - self.inner[0] - above, self.outer[1] - self.inner[1] - before
        padded = F.pad(restored, (before, behind, above, below), value=1.0)
        if restored.shape[1] == 4:
            padded[:, 3:] = F.pad(restored[:, 3:], (before, behind, above, below), value=0.0)
        return padded


@dataclass(frozen=True)
class TargetSize:
    """The size of a result: by one of the first four, ``SCALE``'s default where none is given.

    Attributes:
        scale: factor of enlargement.
        longest_side: in pixels.
        megapixels: of the whole result.
        size: exact (height, width).
        fit: how a picture of another shape comes to an exact size; see ``FIT``.
        shrink_first: factor by which the picture is shrunk before, or ``"auto"``: as far as it loses no detail, see
            ``detail_factor``. ``scale`` counts from the shrunk picture; the other sizes are what they say.

    Raises:
        ValueError: more than one size is given, or a value is out of its range.
    """

    scale: float | None = None
    longest_side: int | None = None
    megapixels: float | None = None
    size: tuple[int, int] | None = None
    fit: str = FIT.default
    shrink_first: float | str = SHRINK_FIRST.default

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        if len(self._chosen()) > 1:
            raise ValueError(
                f"expected one size of the result, got {' and '.join(self._chosen())}; leave out all but one"
            )
        for name, knob in (("scale", SCALE), ("longest_side", LONGEST_SIDE), ("megapixels", MEGAPIXELS)):
            if getattr(self, name) is not None:
                knob.check(name, getattr(self, name))
        if self.size is not None:
            target_size((1, 1), 1.0, self.size)
        FIT.check("fit", self.fit)
        if self.fit != FIT.default and self.size is None:
            raise ValueError(f'fit "{self.fit}" is for an exact size; give one, or leave fit out')
        if self.shrink_first != AUTO:
            _check_shrink(self.shrink_first)

    @property
    def given(self) -> bool:
        """Whether a size is given, and not the usual one."""
        return bool(self._chosen())

    @property
    def plain(self) -> bool:
        """Whether pictures are only enlarged: neither cut, padded nor shrunk before."""
        return self.fit == FIT.default and self.shrink_first == SHRINK_FIRST.default

    def shrink_factor(self, picture: Tensor) -> float:
        """By how much a picture ``(B, 3 or 4, H, W)`` is shrunk; with ``"auto"`` it is looked at."""
        return detail_factor(picture) if self.shrink_first == AUTO else float(self.shrink_first)

    def result(self, picture: tuple[int, int], shrunk_by: float = 1.0) -> tuple[int, int]:
        """(height, width) of the result for a picture of some (height, width) that is shrunk first by a factor."""
        if self.size is not None:
            return self.size
        if self.longest_side is not None:
            return _times(picture, self.longest_side / max(picture))
        if self.megapixels is not None:
            return _times(picture, math.sqrt(self.megapixels * 1e6 / math.prod(picture)))
        return _times(_times(picture, 1 / shrunk_by), SCALE.default if self.scale is None else self.scale)

    def layout(self, picture: Tensor) -> Layout:
        """What is done with a picture ``(B, 3 or 4, H, W)``."""
        return self.layout_for((int(picture.shape[2]), int(picture.shape[3])), self.shrink_factor(picture))

    def layout_for(self, picture: tuple[int, int], shrunk_by: float) -> Layout:
        """What is done with a picture of some (height, width) that is shrunk first by a factor."""
        outer = self.result(picture, shrunk_by)
        crop = _middle(picture, outer) if self.fit == "crop" else (0, 0, *picture)
        inner = _within(picture, outer) if self.fit == "pad" else outer
        return Layout(crop, _times(crop[2:], 1 / shrunk_by), inner, outer)

    def described(self) -> dict[str, Any]:
        """The size by name, as labels have it: what differs from the usual."""
        size = self._chosen() or {"scale": SCALE.default}
        more = {"fit": (self.fit, FIT), "shrink_first": (self.shrink_first, SHRINK_FIRST)}
        return size | {name: value for name, (value, knob) in more.items() if value != knob.default}

    def _chosen(self) -> dict[str, Any]:
        names = ("scale", "longest_side", "megapixels", "size")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


def restore_sized(
    restore: Callable[..., Restored], picture: Any, settings: Any, target: TargetSize, **given: Any
) -> Restored:
    """Restore pictures to a size that is said in another way than by a factor.

    Args:
        restore: ``restore`` or ``restore_instantir`` with its model, such as ``partial(restore, model)``.
        picture: of any kind that these take.
        settings: of the method.
        target: the size.
        given: what ``restore`` is told besides.

    Returns:
        The restored picture and what sampling began from, at that size, of the kind and on the device of ``picture``.
    """
    tensor, back = as_tensor(picture)
    return Restored(*map(back, target.layout(tensor).restore(restore, tensor, settings, **given)))


def _check_shrink(factor: Any) -> None:
    if not isinstance(factor, (int, float)) or isinstance(factor, bool):
        raise ValueError(f'shrink_first must be "{AUTO}" or {SHRINK_FIRST.range()}, got {factor!r}')
    SHRINK_FIRST.check("shrink_first", float(factor))


def _times(size: tuple[int, int], factor: float) -> tuple[int, int]:
    height, width = (max(1, round(side * factor)) for side in size)
    return height, width


def _middle(whole: tuple[int, int], shape: tuple[int, int]) -> tuple[int, int, int, int]:
    """The largest box of a shape in the middle of a picture: (top, left, height, width)."""
    height = min(whole[0], max(1, round(whole[1] * shape[0] / shape[1])))
    width = min(whole[1], max(1, round(whole[0] * shape[1] / shape[0])))
    return (whole[0] - height) // 2, (whole[1] - width) // 2, height, width


def _within(whole: tuple[int, int], box: tuple[int, int]) -> tuple[int, int]:
    """The largest size of a picture's shape that fits into a box."""
    height, width = _times(whole, min(box[0] / whole[0], box[1] / whole[1]))
    return min(height, box[0]), min(width, box[1])
