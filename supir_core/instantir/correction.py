"""From a preview to residuals: what is done before the UNet runs at a step (Huang et al. 2024).

This is all of a step that a host with its own UNet and sampler needs besides the modules.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor

from ..restoration.tiling import Tile
from .adaptive import Adaptive, StepPreviews
from .aggregator import Aggregator, Residuals
from .previewer import one_step_preview
from .sampling import Control, step_at


class Rows(NamedTuple):
    """Rows of one call of the UNet: copies of a picture's rows for the conditions, tiles, pictures, in this order.

    Attributes:
        z: noisy latent as the UNet gets it, ``(R, 4, h, w)``.
        sigma: noise level of each row, ``(R,)``.
        timesteps: training timestep of each row, ``(R,)``.
        y: pooled text and sizes, ``(R, vector_width)``.
        z_lq: latent of the damaged picture, ``(R, 4, h, w)``; every copy has it, the unconditional one too.
        copies: how many there are.
        positive: which of them is of the positive condition; ``None`` where it comes in a call of its own.
    """

    z: Tensor
    sigma: Tensor
    timesteps: Tensor
    y: Tensor
    z_lq: Tensor
    copies: int = 1
    positive: int | None = 0

    def of_positive(self, part: Tensor) -> Tensor | None:
        """The rows of the positive condition."""
        return None if self.positive is None else part.chunk(self.copies)[self.positive]


@dataclass(frozen=True)
class Correction:
    """Makes the residuals of a call, for one run of a sampler.

    Attributes:
        control: how strongly and when.
        adaptive: adaptive restoration.
        sigmas: the noise levels of the run, ending in 0.
        previews: those of the step under way.
    """

    control: Control
    adaptive: Adaptive
    sigmas: Tensor
    previews: StepPreviews = field(default_factory=StepPreviews)

    def residuals(
        self,
        aggregator: Aggregator,
        rows: Rows,
        sigma: float,
        predict: Callable[[], Tensor],
        tiles: Sequence[Tile] = (),
    ) -> Residuals | None:
        """Residuals for the UNet, already scaled; ``None`` where it is to run without.

        As released, a strength of at most 0.1 is none (the release then repeats the last residuals; here there are none).

        Args:
            aggregator: what makes them.
            rows: of the call.
            sigma: its noise level, which tells the step.
            predict: the noise that the UNet predicts for the rows with the previewer's branches, ``(R, 4, h, w)``.
            tiles: where the rows lie; none where they are whole pictures.
        """
        step, steps = step_at(sigma, self.sigmas), len(self.sigmas) - 1
        strength = self.adaptive.strength(self.control.strength_at(step, steps), rows.z_lq.chunk(rows.copies)[0])
        if strength is None:
            return None
        reference = rows.z_lq
        if self.control.previews_at(step, steps):
            preview = one_step_preview(predict(), rows.z, rows.sigma, rows.timesteps)
            shown = rows.of_positive(preview)
            if shown is not None:
                self.previews.note(shown, tiles)
            reference = self.adaptive.reference(preview, rows.z_lq).to(rows.z_lq)
        return aggregator(rows.z_lq, reference, rows.timesteps, rows.y).scaled(strength.repeat(rows.copies))

    def end_step(self, denoised: Tensor) -> Tensor | None:
        """Note the end of a step, whose guided prediction is ``(B, 4, h, w)``; the step's preview, if there was one."""
        preview = self.previews.take(denoised)
        if preview is not None:
            self.adaptive.end_step(preview, denoised)
        return preview
