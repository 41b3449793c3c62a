"""How to restore: every number a user may set, and the presets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from ..restoration.denoiser import LinearSchedule
from ..restoration.settings import CHOICES, CommonSettings

POSITIVE_PROMPT = (
    "Cinematic, High Contrast, highly detailed, taken using a Canon EOS R camera, hyper detailed photo-realistic "
    "maximum detail, 32k, Color Grading, ultra HD, extreme meticulous detailing, skin pore detailing, "
    "hyper sharpness, perfect without deformations."
)
"""Quality words that follow the caption (Yu et al. 2024, appendix A.2)."""

NEGATIVE_PROMPT = (
    "oil painting, cartoon, blur, dirty, messy, low quality, deformation, low resolution, over-smooth"
)
"""What guidance leads away from (Yu et al. 2024, section 3.2)."""


@dataclass(frozen=True)
class Settings(CommonSettings):
    """How to restore with SUPIR. See CommonSettings for the others; its colour fix is against the stage-1 picture.

    Attributes:
        steps: sampling steps.
        sampler: ``"edm"`` or ``"dpmpp_2m_sde"``.
        cfg: classifier-free guidance, from the first noise level to the last; larger invents more detail.
        control: strength of the adaptor, likewise; 1 follows the input, less lets the model roam.
        restoration_scale: exponent of restoration guidance; larger pulls *less* towards the input, 0 is off.
        s_churn: fresh noise over all the steps (EDM).
        s_noise: standard deviation of added noise; more gives more texture.
        positive: quality words that follow the caption.
        negative: what to keep away from.
    """

    method: ClassVar[str] = "SUPIR"

    steps: int = 50
    sampler: str = "edm"
    cfg: LinearSchedule = LinearSchedule(start=3.0, end=6.0)  # noqa: RUF009 (frozen)
    control: LinearSchedule = LinearSchedule(start=1.0, end=1.0)  # noqa: RUF009 (frozen)
    restoration_scale: float = 0.0
    s_churn: float = 5.0
    s_noise: float = 1.02
    positive: str = POSITIVE_PROMPT
    negative: str = NEGATIVE_PROMPT

    def __post_init__(self) -> None:
        """Refuse what cannot work, with a word on what would."""
        super().__post_init__()
        self.check_choices({"sampler": CHOICES["sampler"]})
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}")


PRESETS: dict[str, Settings] = {
    "quality": Settings(),
    "fidelity": Settings(cfg=LinearSchedule(1.0, 4.0), s_noise=1.01),
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
"""Quality for heavy damage (with SUPIR-v0Q), fidelity for light (with v0F), lightning for distilled SDXL models,
demo for the demo weights."""


def preset(name: str, **changes: object) -> Settings:
    """A preset by name, with changes.

    Raises:
        ValueError: no such preset, or a change that cannot work.
    """
    if name not in PRESETS:
        raise ValueError(f'no preset "{name}"; there are {", ".join(PRESETS)}')
    return replace(PRESETS[name], **changes)  # type: ignore[arg-type]
