"""How to restore with InstantIR: every number a user may set, with the published defaults."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..restoration.settings import CommonSettings
from .adaptive import MODES
from .sampling import MOST_STEPS, Control

POSITIVE_PROMPT = (
    "Photorealistic, highly detailed, hyper detailed photo - realistic maximum detail, 32k, ultra HD, extreme meticulous "
    "detailing, skin pore detailing, hyper sharpness, perfect without deformations, taken using a Canon EOS R camera, "
    "Cinematic, High Contrast, Color Grading."
)
"""Quality words of the release."""

NEGATIVE_PROMPT = (
    "blurry, out of focus, unclear, depth of field, over-smooth, sketch, oil painting, cartoon, CG Style, 3D render, "
    "unreal engine, dirty, messy, worst quality, low quality, frames, painting, illustration, drawing, art, watermark, "
    "signature, jpeg artifacts, deformed, lowres"
)
"""What the release's guidance leads away from."""

CHOICES = {"adaptive": MODES, "start": ("picture", "noise")}


@dataclass(frozen=True)
class InstantSettings(CommonSettings):
    """How to restore with InstantIR. Sizes are in pixels of the result; see CommonSettings for the others.

    Attributes:
        steps: sampling steps.
        cfg: classifier-free guidance; larger invents more detail, 3 to 5 against over-smooth results, at most 1 is off.
        control: strength of the correction by the aggregator, 0 to 1; see ``sampling.Control`` for this and the shares.
        control_start: share of the steps at which it begins.
        control_end: share at which it stops; below 1 is creative restoration.
        preview_start: share at which the previewer begins; more is closer to the input.
        preview_end: share at which it stops.
        adaptive: adaptive restoration: ``"none"``, ``"residual"`` or ``"reference"``; see ``adaptive``.
        start: sample from the damaged ``"picture"`` under noise, or from ``"noise"`` alone.
        positive: quality words that follow the caption.
        negative: what to keep away from.
    """

    method: ClassVar[str] = "InstantIR"

    steps: int = 30
    cfg: float = 7.0
    control: float = 1.0
    control_start: float = 0.0
    control_end: float = 1.0
    preview_start: float = 0.0
    preview_end: float = 1.0
    adaptive: str = "none"
    start: str = "picture"
    positive: str = POSITIVE_PROMPT
    negative: str = NEGATIVE_PROMPT
    color_fix: str = "none"

    def __post_init__(self) -> None:
        """Refuse what cannot work, with a word on what would."""
        super().__post_init__()
        self.check_choices(CHOICES)
        if not 1 <= self.steps <= MOST_STEPS:
            raise ValueError(f"steps must be within 1 to {MOST_STEPS}, got {self.steps}")
        self.schedule_of_control  # noqa: B018 (refuses shares that make no sense)

    @property
    def schedule_of_control(self) -> Control:
        """How strongly and when aggregator and previewer work."""
        return Control(
            self.control, self.control_start, self.control_end, self.preview_start, self.preview_end
        )
