"""A batch restored picture by picture, so that a video's frames take no more memory than one, beside themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from ..sdxl.memory import memory_for
from .canvas import Restored
from .progress import Progress, Report
from .settings import CommonSettings

SettingsT = TypeVar("SettingsT", bound=CommonSettings)


restoring = memory_for("pictures are restored", "Restore at a smaller size, fewer at once")
"""Around what restores, for a memory that is full at none of the parts that speak for themselves."""


class Frame(NamedTuple):
    """Which picture of a batch is in work."""

    number: int = 0
    total: int = 1

    def report(self, report: Report) -> Report:
        """Tells of the progress of this picture as part of all of them."""

        def tell(progress: Progress) -> None:
            done = self.number * progress.total + progress.done
            report(progress._replace(done=done, total=self.total * progress.total))

        return tell


ALONE = Frame()


def restore_each(
    pictures: Tensor, settings: SettingsT, restore: Callable[[Tensor, SettingsT, Frame], Restored]
) -> Restored:
    """Restore the pictures of a batch one after the other.

    Args:
        pictures: ``(B, C, H, W)``.
        settings: of the batch; picture i has the seed plus i, or with ``same_noise`` the seed itself.
        restore: restores one picture ``(1, C, H, W)``.

    Returns:
        The results, on the device of the first; with ``same_noise`` stage 1 of the first only, as frames are many. Several
        lie in memory as a host has them, channels last.
    """
    if len(pictures) == 1:
        return restore(pictures, settings, ALONE)
    count = len(pictures)
    counts = count, 1 if settings.same_noise else count
    whole: tuple[Tensor, ...] = ()
    for number, picture in enumerate(pictures.split(1)):
        parts = restore(picture, settings.of_row(number), Frame(number, count))
        whole = whole or tuple(_room_for(*each) for each in zip(counts, parts, strict=True))
        for results, part in zip(whole, parts, strict=True):
            if number < len(results):
                results[number] = part[0]
    return Restored(*whole)


def _room_for(count: int, part: Tensor) -> Tensor:
    """Results like a part ``(1, C, H, W)``, to be filled."""
    shape = count, *part.shape[1:]
    return torch.empty(shape, dtype=part.dtype, device=part.device, memory_format=torch.channels_last)
