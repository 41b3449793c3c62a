"""What samplers and networks agree on: x, sigma -> denoised (Karras et al. 2022 for the form)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from torch import Tensor

from ..sdxl.blocks import TextContext
from ..sdxl.conditioning import Conditioning
from ..sdxl.config import SIGMA_MAX

Sigma = TypeVar("Sigma", float, Tensor)


class Denoiser(Protocol):
    """The one contract that samplers know."""

    def __call__(self, x: Tensor, sigma: Tensor, schedule_sigma: float, /) -> Tensor:
        """Denoise.

        Args:
            x: noisy latent, ``(B, 4, h, w)``, scaled latent units.
            sigma: noise level of each row, ``(B,)``, where ``x`` is: to read a number off it would wait for the GPU.
            schedule_sigma: noise level before churn, which the schedule of the control strength follows.

        Returns:
            The clean latent as predicted, shaped as ``x``.
        """
        ...


@dataclass(frozen=True)
class LinearSchedule:
    """A value that goes linearly with sigma: ``start`` at 14.6146, ``end`` at 0."""

    start: float
    end: float

    @classmethod
    def of(cls, value: Any) -> Any:
        """The schedule of two numbers, or of one for both ends; anything else as it is."""
        if isinstance(value, (list, tuple)) and len(value) == 2:
            return cls(*value)
        return cls(value, value) if isinstance(value, (int, float)) else value

    def at(self, sigma: Sigma) -> Sigma:
        """The value at noise level ``sigma``, or at each of several."""
        return self.end + (self.start - self.end) * sigma / SIGMA_MAX


class ConditioningCache:
    """The conditions of the last call as the networks took them, for a next call with the same ones."""

    def __init__(self) -> None:
        self._key: tuple[object, ...] = ()
        self._rows: tuple[TextContext, Tensor] | None = None

    def rows(self, conditions: Sequence[Conditioning], rows: int, like: Tensor) -> tuple[TextContext, Tensor]:
        """Text and vector of ``rows`` rows for each of the conditions, in the precision of ``like``."""
        key = (*conditions, rows, like.dtype, like.device)
        if self._rows is None or key != self._key:
            batch = Conditioning.concatenate([condition.rows(rows) for condition in conditions])
            self._key, self._rows = key, (TextContext(batch.context.to(like)), batch.vector.to(like))
        return self._rows
