"""How to restore: every number a user may set, and the presets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from .conditioning import NEGATIVE_PROMPT, POSITIVE_PROMPT
from .config import LATENT_PIXELS
from .denoiser import Linear

SIDE_MULTIPLE = 64
"""Sides of pictures and tiles are multiples of this many pixels."""

VAE_TILE = 512
CHOICES = {
    "sampler": ("edm", "dpmpp_2m_sde"),
    "blend": ("smooth", "exact"),
    "color_fix": ("wavelet", "adain", "none"),
}


@dataclass(frozen=True)
class Common:
    """What both methods let a user set. Sizes are in pixels of the result.

    Attributes:
        seed: of all noise; row i of a batch has ``seed + i``.
        tile: side of a sampling tile, a multiple of 64.
        overlap: how much neighbouring tiles share, a multiple of 8; ``None`` for a quarter of the tile.
        blend: ``"smooth"``, or ``"exact"`` for the published Gaussian.
        shifting: move the tile grid at every step.
        tiles_per_call: tiles that go through the network together.
        vae_tile: side of the square of pixels whose memory the VAE may use.
        color_fix: ``"wavelet"``, ``"adain"`` or ``"none"``, against the picture that sampling starts from.
        color_strength: 0 to 1.
        min_side: shortest side to work at; ``None`` for what the model was trained at.
    """

    method: ClassVar[str]

    seed: int = 0
    tile: int = 1024
    overlap: int | None = None
    blend: str = "smooth"
    shifting: bool = False
    tiles_per_call: int = 1
    vae_tile: int = VAE_TILE
    color_fix: str = "wavelet"
    color_strength: float = 1.0
    min_side: int | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot work, with a word on what would."""
        self.check_choices({name: CHOICES[name] for name in ("blend", "color_fix")})
        for name in ("tiles_per_call", "vae_tile"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.tile < SIDE_MULTIPLE or self.tile % SIDE_MULTIPLE:
            raise ValueError(f"tile must be a positive multiple of {SIDE_MULTIPLE} pixels, got {self.tile}")
        if self.overlap is not None and (not 0 <= self.overlap < self.tile or self.overlap % LATENT_PIXELS):
            raise ValueError(
                f"overlap must be a multiple of {LATENT_PIXELS} pixels and less than the tile ({self.tile}), "
                f"got {self.overlap}"
            )

    def check_choices(self, choices: Mapping[str, Sequence[str]]) -> None:
        """Refuse a value that is not among its choices."""
        for name, listed in choices.items():
            if getattr(self, name) not in listed:
                words = " or ".join(f'"{choice}"' for choice in listed)
                raise ValueError(f'{name} must be {words}, got "{getattr(self, name)}"')

    @property
    def latent_tile(self) -> tuple[int, int]:
        """Side of a tile and overlap, in latent pixels."""
        overlap = self.tile // 4 if self.overlap is None else self.overlap
        return self.tile // LATENT_PIXELS, overlap // LATENT_PIXELS


@dataclass(frozen=True)
class Settings(Common):
    """How to restore with SUPIR. See Common for the others; its colour fix is against the stage-1 picture.

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
    cfg: Linear = Linear(start=3.0, end=6.0)  # noqa: RUF009 (frozen)
    control: Linear = Linear(start=1.0, end=1.0)  # noqa: RUF009 (frozen)
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
    "fidelity": Settings(cfg=Linear(1.0, 4.0), s_noise=1.01),
    "lightning": Settings(steps=8, sampler="dpmpp_2m_sde", cfg=Linear(2.0, 2.0), s_noise=1.0),
    "demo": Settings(
        steps=2,
        cfg=Linear(1.0, 1.0),
        control=Linear(1.05, 1.05),
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
