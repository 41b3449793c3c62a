"""How to restore: every number a user may set, and the presets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor

from ..restoration.denoiser import LinearSchedule
from ..restoration.knobs import knob
from ..restoration.plan_tiles import Cost
from ..restoration.settings import CommonSettings
from ..restoration.strength import truncated
from .sampling import MOST_STEPS, schedule

POSITIVE_PROMPT = (
    "Cinematic, High Contrast, highly detailed, taken using a Canon EOS R camera, hyper detailed photo-realistic "
    "maximum detail, 32k, Color Grading, ultra HD, extreme meticulous detailing, skin pore detailing, "
    "hyper sharpness, perfect without deformations."
)
"""Quality words that follow the caption (Yu et al. 2024, appendix A.2)."""

NEGATIVE_PROMPT = "oil painting, cartoon, blur, dirty, messy, low quality, deformation, low resolution, over-smooth"
"""What guidance leads away from (Yu et al. 2024, section 3.2)."""


@dataclass(frozen=True)
class Settings(CommonSettings):
    """How to restore with SUPIR; its colour fix is against the stage-1 picture. See CommonSettings for what they share."""

    method: ClassVar[str] = "SUPIR"
    cost: ClassVar[Cost] = Cost(1.0737e-3, 8.438e-9)

    steps: int = knob(50, "Sampling steps: 50 with edm; 8 to 10 with a Lightning checkpoint.", least=1, most=MOST_STEPS)
    sampler: str = knob(
        "edm",
        "edm: the paper's, about 50 steps. dpmpp_2m_sde: 8 to 10 steps with a Lightning checkpoint.",
        choices=("edm", "dpmpp_2m_sde"),
    )
    cfg: LinearSchedule = knob(  # noqa: RUF009 (frozen)
        LinearSchedule(3.0, 6.0),
        "Guidance scale. Larger invents more and follows the input less. Quality 3 to 6, fidelity 1 to 4.",
        least=0.0,
        most=30.0,
        step=0.05,
    )
    control: LinearSchedule = knob(  # noqa: RUF009 (frozen)
        LinearSchedule(1.0, 1.0),
        "How closely the picture is followed. Less lets the model roam; 0.9 at the end gives livelier detail.",
        least=0.0,
        most=2.0,
        step=0.01,
    )
    restoration_scale: float = knob(
        0.0,
        "Pull towards stage 1, an exponent: a LARGER number pulls LESS. 0 is off, 4 is the paper's, 1 holds faces and "
        "text, below 0.5 little is left to the model.",
        least=0.0,
        most=20.0,
        step=0.1,
    )
    s_churn: float = knob(
        5.0,
        "Fresh noise over all steps (edm only). 5 as published, 0 for none.",
        least=0.0,
        most=40.0,
        step=0.1,
    )
    s_noise: float = knob(
        1.02,
        "Strength of added noise: 1.01 is true to the input, 1.02 gives more texture, then grain; 1 with a Lightning "
        "checkpoint.",
        least=0.0,
        most=2.0,
        step=0.001,
    )
    positive: str = knob(POSITIVE_PROMPT, "Quality words that follow every caption, the paper's by default.")
    negative: str = knob(NEGATIVE_PROMPT, "What to keep away from, the paper's by default.")

    def sigmas(self) -> Tensor:
        """The noise levels, ``(steps + 1,)``."""
        return truncated(lambda steps: schedule(steps, self.sampler), self.steps, self.strength, MOST_STEPS)


PRESETS: dict[str, Settings] = {
    "quality": Settings(),
    "fidelity": Settings(cfg=LinearSchedule(1.0, 4.0), s_noise=1.01),
    "paper": Settings(steps=100, cfg=LinearSchedule(7.5, 7.5), restoration_scale=4.0),
    "lightning": Settings(steps=8, sampler="dpmpp_2m_sde", cfg=LinearSchedule(2.0, 2.0), s_noise=1.0),
    "demo": Settings(
        steps=2,
        cfg=LinearSchedule(1.0, 1.0),
        control=LinearSchedule(1.05, 1.05),
        restoration_scale=0.5,
        s_churn=0.0,
        s_noise=1.0,
    ),
}
"""Quality for heavy damage (with SUPIR-v0Q), fidelity for light (with v0F), paper to repeat its tables (section 4),
lightning for distilled SDXL models, demo for the demo weights."""


DEFAULT_PRESET = "quality"


def preset(name: str, **changes: object) -> Settings:
    """A preset by name, with changes.

    Raises:
        ValueError: no such preset, or a change that cannot work.
    """
    if name not in PRESETS:
        raise ValueError(f'no preset "{name}"; there are {", ".join(PRESETS)}')
    return replace(PRESETS[name], **changes)  # type: ignore[arg-type]
