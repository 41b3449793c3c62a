"""The settings that both methods share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import torch

from ..sdxl.config import LATENT_PIXELS
from .knobs import knob, knobs
from .noise import SEEDS

if TYPE_CHECKING:
    from typing_extensions import Self

SIDE_MULTIPLE = 64
"""Sides of pictures and tiles are multiples of this many pixels."""


@dataclass(frozen=True)
class CommonSettings:
    """What both methods let a user set. Sizes are in pixels of the result; each field says what it does.

    Raises:
        ValueError: a value is out of its range (NaN is out of every range), or the overlap does not fit the tile.
    """

    method: ClassVar[str]

    seed: int = knob(
        0,
        "Of all noise: the same seed gives the same picture. The second picture of a batch has the next seed.",
        least=0,
        most=SEEDS - 1,
    )
    tile: int = knob(
        1024,
        "Side of a tile in pixels, a multiple of 64. SDXL works best at 1024; a smaller picture is one tile.",
        least=SIDE_MULTIPLE,
        most=8192,
        step=SIDE_MULTIPLE,
    )
    overlap: int | None = knob(
        None,
        "Pixels that neighbouring tiles share, less than the tile. More hides seams and costs time.",
        least=0,
        most=8184,
        step=LATENT_PIXELS,
    )
    blend: str = knob(
        "smooth",
        "smooth: symmetric, flat in the middle. exact: the Gaussian of the published code, which needs an overlap of half "
        "the tile.",
        choices=("smooth", "exact"),
    )
    shifting: bool = knob(
        False, "Move the grid at every step, so that no border stays in place and less overlap is needed."
    )
    tiles_per_call: int = knob(
        1, "Tiles that go through the network together: faster on a large GPU, more memory.", least=1, most=64
    )
    vae_memory: int | None = knob(
        None,
        "Side of a square of pixels whose memory the VAE may use; else it takes what is free. Larger pictures go "
        "through it in bands of rows, exactly as in one piece and without seams, so this changes memory and speed, never "
        "the picture.",
        least=64,
        most=8192,
    )
    color_fix: str = knob(
        "wavelet",
        "Colours of stage 1: wavelet its low frequencies, adain its mean and contrast, none.",
        choices=("wavelet", "adain", "none"),
    )
    color_strength: float = knob(
        1.0, "1 for the full correction of the colours, 0 for none.", least=0.0, most=1.0, step=0.01
    )
    min_side: int | None = knob(
        None,
        "Smaller pictures are enlarged further until the short side has this many pixels, as published: SDXL works badly "
        "below 1024. 64 leaves them alone.",
        least=64,
        most=4096,
    )

    def __post_init__(self) -> None:
        """Refuse what cannot work, with a word on what would."""
        for name, described in knobs(self).items():
            described.check(name, getattr(self, name))
        if self.overlap is not None and self.overlap >= self.tile:
            raise ValueError(
                f"overlap must be a multiple of {LATENT_PIXELS} pixels and less than the tile ({self.tile}), "
                f"got {self.overlap}"
            )

    @property
    def latent_tile(self) -> tuple[int, int]:
        """Side of a tile and overlap, in latent pixels."""
        overlap = self.tile // 4 if self.overlap is None else self.overlap
        return self.tile // LATENT_PIXELS, overlap // LATENT_PIXELS

    def seeded(self, seed: int | torch.Generator | None) -> Self:
        """The same settings with another seed, or with one that a generator draws; as they are for ``None``."""
        if isinstance(seed, torch.Generator):
            seed = int(torch.randint(2**63 - 1, (), generator=seed, device=seed.device))
        return self if seed is None else replace(self, seed=seed)
