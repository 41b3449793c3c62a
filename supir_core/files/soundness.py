"""Whether weights can be weights: floats, finite, and no hole of zeros as a download leaves that broke off.

Small tensors are looked at whole, large ones in blocks at equal distances, so that loading takes no notably longer. So a single
bad number within a large tensor may pass here; it makes the picture not finite, which is found after stage 1 and after sampling.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from .errors import UnsupportedCheckpointError
from .kinds import ADAPTER, PREVIEWER

FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2)
BLOCK = 512
"""Numbers looked at together."""

WHOLE, MOST = 2**18, 16
"""Numbers of a tensor that is looked at whole; blocks of a larger one."""

HOLE = 0.25
"""A tensor has a hole when so much of it, in one piece, is zeros, and the rest is not."""

LOST = 0.01
"""Share of the weights that may lie in matrices of zeros, or of numbers that are none. Trained ones have none."""

SPREAD = (-16, -0.5)
"""Mean of the binary logarithm of numbers against the largest, as any trained matrix has it (normally distributed: -3). Beyond lie
those of one type of 16 bits that are read as the other, eight times that, or an eighth."""

ZEROS_ALLOWED = (PREVIEWER, ADAPTER)
"""Kinds that may have branches which were never trained."""


class Soundness:
    """Looks at the weights that are read of a file, one after the other."""

    def __init__(self, source: str, kind: str):
        self.source, self.holes_matter = source, kind not in ZEROS_ALLOWED
        self.numbers = Counter[torch.dtype]()
        self.lost: list[Lost] = []

    def check(self, key: str, parts: Iterable[Tensor]) -> None:
        """Look at a tensor, given as it is stored, in one or more parts.

        Raises:
            UnsupportedCheckpointError: it holds no floats, NaN or infinity, or a hole of zeros.
        """
        for tensor in parts:
            if tensor.dtype not in FLOATS:
                kind = "quantised" if tensor.is_quantized else "of whole numbers" if _whole(tensor) else "of no use"
                self._refuse(
                    f"{key} is {kind} ({str(tensor.dtype).removeprefix('torch.')}), expected floats of 16 or 32 bits. Take "
                    "the file in float16"
                )
            if _overlaps(tensor):
                self._refuse(
                    f"{key} claims to be {tuple(tensor.shape)}, more numbers than the file has of it. It was altered"
                )
            self._look(key, tensor)

    def check_whole(self) -> None:
        """Look at all of what was checked.

        Raises:
            UnsupportedCheckpointError: too much of it is zeros, or no weights.
        """
        if not self.lost:
            return
        share = sum(lost.numbers for lost in self.lost) / self.numbers.total()
        usual = self.numbers.most_common(1)[0][0]
        zeros = all(lost.zeros for lost in self.lost)
        if share > LOST and zeros:
            self._refuse(
                f"{share:.0%} of the weights are zeros, {self.lost[0].key} the first of them, as where a download "
                "broke off and left a file of full length. Download it again, and compare its hash with the source's"
            )
        odd = next((lost for lost in self.lost if not lost.zeros and (share > LOST or lost.dtype != usual)), None)
        if odd:
            self._refuse(
                f"{odd.key} makes no sense as {str(odd.dtype).removeprefix('torch.')}: it was saved or altered as of another type "
                "than it is. Take the published file"
            )

    def _look(self, key: str, tensor: Tensor) -> None:
        if tensor.ndim < 2:
            found, highest = tensor, [tensor.float().sum().item()]
        else:
            found, highest = magnitudes(tensor)
        if not math.isfinite(sum(highest)):
            self._refuse(
                f"{key} holds numbers that are not finite (NaN or infinity). It was saved damaged, or overflowed when it was "
                "converted or merged: take the published file"
            )
        if tensor.ndim >= 2 and self.holes_matter:
            self._look_for_holes(key, tensor, found, highest)

    def _look_for_holes(self, key: str, matrix: Tensor, found: Tensor, highest: list[float]) -> None:
        zeros, numbers = not any(highest), matrix.numel()
        self.numbers[matrix.dtype] += numbers
        narrow = matrix.element_size() == 2 and numbers >= BLOCK
        if zeros or (narrow and not SPREAD[0] < _spread(found) < SPREAD[1]):
            self.lost.append(Lost(key, matrix.dtype, numbers, zeros))
        elif _longest_run_of_zeros(highest) >= max(2, HOLE * len(highest)):
            self._refuse(
                f"{key} is zeros over {HOLE:.0%} of its length or more, as where a download broke off. Download it again, and "
                "compare its hash with the source's"
            )

    def _refuse(self, why: str) -> None:
        raise UnsupportedCheckpointError(f"{self.source}: {why}")


class Lost(NamedTuple):
    """A matrix of zeros, or of numbers that cannot be weights."""

    key: str
    dtype: torch.dtype
    numbers: int
    zeros: bool


def magnitudes(tensor: Tensor) -> tuple[Tensor, list[float]]:
    """Magnitudes of the numbers in the blocks that are looked at, and the largest of each block, NaN where it holds one."""
    flat = tensor.detach().reshape(-1)
    count = len(flat) // BLOCK
    if not count:
        found = flat.float().abs()
        return found, [found.max().item()]
    step = 1 if len(flat) <= WHOLE else count // MOST
    found = flat[: count * BLOCK].view(count, BLOCK)[::step].float().abs()
    rest = flat[count * BLOCK :]
    return found, [*found.amax(1).tolist(), *(magnitudes(rest)[1] if len(rest) else [])]


def _spread(magnitudes: Tensor) -> float:
    some = magnitudes.reshape(-1)[:BLOCK]  # enough to tell, and far cheaper
    logarithms = some[some > 0].log2()
    return (logarithms.mean() - logarithms.max()).item() if len(logarithms) else 0.5 * sum(SPREAD)


def _longest_run_of_zeros(values: Iterable[float]) -> int:
    longest = run = 0
    for value in values:
        run = 0 if value else run + 1
        longest = max(longest, run)
    return longest


def _overlaps(tensor: Tensor) -> bool:
    """Whether numbers count more than once, as in an expanded tensor, which a small file can hold however large it is."""
    extent = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)) if not tensor.is_contiguous() else ():
        if size > 1 and stride < extent:
            return True
        extent += stride * (size - 1)
    return False


def _whole(tensor: Tensor) -> bool:
    return not tensor.is_floating_point() and not tensor.is_complex()
