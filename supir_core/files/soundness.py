"""Whether weights can be weights: floats, finite, and no hole of zeros as a download leaves that broke off.

Small tensors are looked at whole, large ones in blocks at equal distances, so that loading takes no notably longer. So a single
bad number within a large tensor may pass here; it makes the picture not finite, which is found after stage 1 and after sampling.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .errors import UnsupportedCheckpointError
from .kinds import ADAPTER, PREVIEWER

BLOCK = 512
"""Numbers looked at together."""

WHOLE, MOST = 2**18, 8
"""Numbers of a tensor that is looked at whole; blocks of a larger one. Most of the time goes into the pages that these lie in."""

HOLE = 0.25
"""A tensor has a hole when so much of it, in one piece, is zeros, and the rest is not."""

LOST = 0.01
"""Share of the weights that may lie in matrices of zeros, or of numbers that are none. Trained ones have none."""

SPREAD = (-16, -0.5)
"""Mean of the binary logarithm of numbers against the largest, as any trained matrix has it (normally distributed: -3). Beyond lie
those of one type of 16 bits that are read as the other, eight times that, or an eighth."""

TOGETHER = 256
"""Tensors that are looked at together, as each call costs more than its work on so few numbers. The calls are NumPy's: PyTorch would
share them out among threads, and wait for these where other programs have the cores."""

FIRST = 64
"""Numbers of a matrix by which its spread is judged."""

ZEROS_ALLOWED = (PREVIEWER, ADAPTER)
"""Kinds that may have branches which were never trained."""

FROM_ZEROS = re.compile(
    r"(.*\.)?(zero_(conv|mul|add)|attn\.to_out|input_hint_block|controlnet_(down_blocks\.\d+|mid_block)\.1)\..*"
)
"""Tensors that a training begins with zeros: after a few steps there is next to nothing in them."""


class Soundness:
    """Looks at the weights that are read of a file, one after the other."""

    def __init__(self, source: str, kind: str):
        self.source, self.holes_matter = source, kind not in ZEROS_ALLOWED
        self.numbers = Counter[torch.dtype]()
        self.lost: list[Lost] = []
        self.waiting: list[Sample] = []

    def check(self, key: str, parts: Iterable[Tensor]) -> None:
        """Look at a tensor, given as it is stored, in one or more parts; at once, or together with later ones.

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
            self.waiting.append(Sample.of(key, tensor))
        if len(self.waiting) >= TOGETHER:
            self._look()

    def check_whole(self) -> None:
        """Look at all of what was checked.

        Raises:
            UnsupportedCheckpointError: too much of it is zeros, or no weights.
        """
        self._look()
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

    def _look(self) -> None:
        """Look at what waits."""
        for dtype in {sample.dtype for sample in self.waiting}:
            samples = [sample for sample in self.waiting if sample.dtype == dtype]
            for sample, highest in zip(samples, magnitudes(samples), strict=True):
                self._judge(sample, highest)
            if self.holes_matter and dtype.itemsize == 2:
                self.lost += senseless([sample for sample in samples if sample.matrix and sample.numbers >= BLOCK])
        self.waiting.clear()

    def _judge(self, sample: Sample, highest: list[int]) -> None:
        if max(highest, default=0) > FLOATS[sample.dtype].largest:
            self._refuse(
                f"{sample.key} holds numbers that are not finite (NaN or infinity). It was saved damaged, or overflowed when it "
                "was converted or merged: take the published file"
            )
        if not (self.holes_matter and sample.matrix):
            return
        self.numbers[sample.dtype] += sample.numbers
        if not any(highest):
            self.lost.append(Lost(sample.key, sample.dtype, sample.numbers, zeros=True))
        elif not all(highest) and _longest_run_of_zeros(highest) >= max(2, HOLE * len(highest)):
            self._refuse(
                f"{sample.key} is zeros over {HOLE:.0%} of its length or more, as where a download broke off. Download it again, "
                "and compare its hash with the source's"
            )

    def _refuse(self, why: str) -> None:
        raise UnsupportedCheckpointError(f"{self.source}: {why}")


class Lost(NamedTuple):
    """A matrix of zeros, or of numbers that cannot be weights."""

    key: str
    dtype: torch.dtype
    numbers: int
    zeros: bool


class Sample(NamedTuple):
    """What is looked at of a tensor: blocks of its numbers, ``(n, BLOCK)``, as bits; the last may end in zeros that it has not."""

    key: str
    dtype: torch.dtype
    matrix: bool
    numbers: int
    blocks: np.ndarray

    @classmethod
    def of(cls, key: str, tensor: Tensor) -> Sample:
        """Take the blocks. They are copies, so that nothing else of the tensor stays in memory."""
        bits, numbers = tensor.detach().reshape(-1).view(FLOATS[tensor.dtype].kind).numpy(), tensor.numel()
        if numbers > WHOLE:
            apart = numbers // MOST
            blocks = bits[: MOST * apart].reshape(MOST, apart)[:, :BLOCK].copy()
        else:
            blocks = np.zeros((-(-numbers // BLOCK), BLOCK), bits.dtype)
            blocks.reshape(-1)[:numbers] = bits
        return cls(key, tensor.dtype, tensor.ndim >= 2 and not FROM_ZEROS.fullmatch(key), numbers, blocks)


class Bits(NamedTuple):
    """Floats as whole numbers, which are cheap to look at; without the sign they are in the same order.

    Attributes:
        kind: whole numbers as wide.
        magnitude: all bits but the sign.
        largest: bits of the largest finite number; beyond lie infinity and NaN.
    """

    kind: torch.dtype
    magnitude: int
    largest: int

    @classmethod
    def of(cls, dtype: torch.dtype) -> Bits:
        """Of the numbers of a type."""
        kind = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[dtype.itemsize]
        largest = torch.tensor(torch.finfo(dtype).max, dtype=dtype).view(kind).item()
        return cls(kind, torch.iinfo(kind).max, int(largest))


FLOATS = {
    dtype: Bits.of(dtype)
    for dtype in (
        torch.float64,
        torch.float32,
        torch.float16,
        torch.bfloat16,
        torch.float8_e4m3fn,
        torch.float8_e5m2,
    )
}


def magnitudes(samples: Sequence[Sample]) -> list[list[int]]:
    """The largest magnitude in each block of each sample, as bits; they are of one type."""
    bits = np.concatenate([sample.blocks for sample in samples])
    highest = iter(np.bitwise_and(bits, FLOATS[samples[0].dtype].magnitude, out=bits).max(1).tolist())
    return [list(islice(highest, len(sample.blocks))) for sample in samples]


def senseless(samples: Sequence[Sample]) -> list[Lost]:
    """The matrices of one type of 16 bits whose first numbers spread as no weights do."""
    if not samples:
        return []
    dtype = samples[0].dtype
    bits = np.stack([sample.blocks[0, :FIRST] for sample in samples]) & FLOATS[dtype].magnitude
    some = np.flatnonzero(bits.any(1))
    numbers = as_floats(bits[some], dtype)
    logarithms = np.log2(np.where(numbers, numbers, 1))
    spreads = logarithms.sum(1) / np.count_nonzero(numbers, 1) - np.log2(numbers.max(1))
    odd = [samples[at] for at in some[(spreads <= SPREAD[0]) | (spreads >= SPREAD[1])]]
    return [Lost(sample.key, dtype, sample.numbers, zeros=False) for sample in odd]


def as_floats(bits: np.ndarray, dtype: torch.dtype) -> np.ndarray:
    """Floats of 16 bits from their bits, as float32, whose upper half bfloat16 is."""
    if dtype == torch.bfloat16:
        return (bits.astype(np.uint32) << 16).view(np.float32)
    return bits.view(np.float16).astype(np.float32)


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
