"""How to restore with InstantIR: every number a user may set, with the published defaults."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from ..restoration.knobs import knob, knobs
from ..restoration.plan_tiles import Cost
from ..restoration.settings import CommonSettings
from ..restoration.strength import truncated
from .adaptive import MODES
from .sampling import MOST_STEPS, Control, instantir_sigmas

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


def _share(default: float, text: str) -> Any:
    return knob(default, text, least=0.0, most=1.0, step=0.01)


@dataclass(frozen=True)
class InstantSettings(CommonSettings):
    """How to restore with InstantIR. See CommonSettings for what it shares with SUPIR, ``Control`` for the shares."""

    method: ClassVar[str] = "InstantIR"
    cost: ClassVar[Cost] = Cost(2.0741e-3, 1.9211e-8)

    steps: int = knob(30, "Sampling steps: 30 as published.", least=1, most=MOST_STEPS)
    cfg: float = knob(
        7.0,
        "Guidance scale. 7 as published; 3 to 5 keeps skin and texture from looking too smooth; 1 is off.",
        least=1.0,
        most=30.0,
        step=0.1,
    )
    control: float = _share(1.0, "How closely the picture is followed; 0.1 and less is not at all.")
    control_start: float = _share(0.0, "Share of the steps at which the picture begins to be followed.")
    control_end: float = _share(
        1.0,
        "Share of the steps after which the picture is let go and the prompt decides: creative restoration. 1 is never; "
        "0.6 to 0.8 helps against local distortion.",
    )
    preview_start: float = _share(
        0.0,
        "Share of the steps before the first preview; until then the damaged picture itself is followed. 0.1 to 0.4 keeps "
        "closer to it.",
    )
    preview_end: float = _share(1.0, "Share of the steps after the last preview.")
    adaptive: str = knob(
        "none",
        "Adaptive restoration: residual lets the settling of the previews weaken the correction, as the published code can; "
        "reference blends damaged picture and preview, as the paper says. none as published.",
        choices=MODES,
    )
    start: str = knob(
        "picture",
        "What sampling starts from: the damaged picture under noise, or noise.",
        choices=("picture", "noise"),
    )
    positive: str = knob(POSITIVE_PROMPT, "Quality words that follow every caption, the release's by default.")
    negative: str = knob(NEGATIVE_PROMPT, "What to keep away from, the release's by default.")
    color_fix: str = knob(
        "none",
        "Colours of the damaged picture: wavelet its low frequencies, adain its mean and contrast; none as published.",
        choices=knobs(CommonSettings)["color_fix"].choices,
    )

    def __post_init__(self) -> None:
        """Refuse what cannot work, shares in the wrong order too."""
        super().__post_init__()
        _ = self.schedule_of_control

    def sigmas(self) -> Tensor:
        """The noise levels, ``(steps + 1,)``."""
        return truncated(instantir_sigmas, self.steps, self.strength, MOST_STEPS)

    @property
    def schedule_of_control(self) -> Control:
        """How strongly and when aggregator and previewer work."""
        return Control(self.control, self.control_start, self.control_end, self.preview_start, self.preview_end)
