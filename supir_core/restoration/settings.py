"""The settings that both methods share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..sdxl.config import LATENT_PIXELS

SIDE_MULTIPLE = 64
"""Sides of pictures and tiles are multiples of this many pixels."""

VAE_TILE = 512
CHOICES = {
    "sampler": ("edm", "dpmpp_2m_sde"),
    "blend": ("smooth", "exact"),
    "color_fix": ("wavelet", "adain", "none"),
}


@dataclass(frozen=True)
class CommonSettings:
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
