"""Adaptive restoration: the strength of the correction follows how far the previews have settled.

Huang et al. 2024, Algorithm 1. With p the preview, p' that of the step before and x0 the guided prediction::

    delta = sum (p - x0)^2 / sum (p - p')^2             delta = 1 at the first step, p' = 0 before the first preview

The paper lets delta move what the aggregator compares the damaged picture with (mode ``"reference"``)::

    reference = p + delta * (z_lq - p)

the release lets it scale the residuals (mode ``"residual"``)::

    strength <- min(delta, strength)

As released, both are off by default. The release divides by zero where two previews are equal, as they are after a step
without a new one; here such a step changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..restoration.tiling import Tile
from .sampling import LEAST_STRENGTH

MODES = ("none", "residual", "reference")


class Adaptive:
    """Delta of every picture, for one run of a sampler.

    Args:
        mode: ``"none"``, ``"residual"`` (the release's) or ``"reference"`` (the paper's).

    Raises:
        ValueError: no such mode.
    """

    def __init__(self, mode: str = "none"):
        if mode not in MODES:
            raise ValueError(f"adaptive restoration must be one of {', '.join(MODES)}, got {mode!r}")
        self.mode = mode
        self._delta: Tensor | None = None
        self._last: Tensor | None = None
        self._settled = False

    def delta(self, rows: Tensor) -> Tensor:
        """Delta for rows ``(tiles * B, ...)``, tile-major: ``(tiles * B,)``, float32."""
        if self._delta is None:
            return torch.ones(len(rows), device=rows.device)
        return self._delta.repeat(len(rows) // len(self._delta))

    def strength(self, limit: float, rows: Tensor) -> Tensor | None:
        """Strength of the residuals for each row, at most ``limit``: ``(tiles * B,)``; ``None`` where none has any."""
        if limit <= LEAST_STRENGTH or self._settled:
            return None
        if self.mode != "residual":
            return torch.full((len(rows),), limit, device=rows.device)
        strength = self.delta(rows).clamp(0, limit)
        return torch.where(strength > LEAST_STRENGTH, strength, 0.0)

    def reference(self, preview: Tensor, z_lq: Tensor) -> Tensor:
        """What the aggregator compares the damaged picture with, from previews and latents of the same rows."""
        if self.mode != "reference":
            return preview
        delta = self.delta(preview).clamp(0, 1)[:, None, None, None]
        return preview + delta * (z_lq - preview)

    def end_step(self, preview: Tensor, denoised: Tensor) -> None:
        """Update delta from the step's preview and its guided prediction, both ``(B, 4, h, w)``."""
        preview, denoised = preview.float(), denoised.float()
        moved = _squares(preview if self._last is None else preview - self._last)
        before = torch.ones_like(moved) if self._delta is None else self._delta
        self._delta = torch.where(moved > 0, _squares(preview - denoised) / moved, before)
        self._last = preview
        if self.mode == "residual":  # read once a step, as every call asks for it
            self._settled = not (self._delta > LEAST_STRENGTH).any().item()


class StepPreviews:
    """The previews of one step, tile by tile, until the step is over."""

    def __init__(self) -> None:
        self._parts: list[tuple[Tile | None, Tensor]] = []

    def note(self, preview: Tensor, tiles: Sequence[Tile]) -> None:
        """Keep a preview ``(tiles * B, 4, h, w)``, tile-major; no tiles: of the whole picture."""
        parts = preview.chunk(len(tiles)) if tiles else (preview,)
        self._parts += zip(tiles or (None,), parts, strict=True)

    def take(self, like: Tensor) -> Tensor | None:
        """The step's preview, averaged where tiles overlap, ``(B, 4, h, w)`` as ``like``; ``None`` without any."""
        parts, self._parts = self._parts, []
        return _assembled(parts, like.float()) if parts else None


def _squares(x: Tensor) -> Tensor:
    return x.square().sum(dim=(1, 2, 3))


def _assembled(parts: Sequence[tuple[Tile | None, Tensor]], like: Tensor) -> Tensor:
    """The previews of all the tiles as one, averaged where they overlap."""
    total, count = torch.zeros_like(like), torch.zeros_like(like[:1, :1])
    for tile, part in parts:
        where = tile.window if tile else (...,)
        total[where] += part
        count[where] += 1
    return total / count
