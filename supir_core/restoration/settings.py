"""The settings that both methods share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import torch

from ..sdxl.config import LATENT_PIXELS
from .knobs import Checked, knob
from .noise import SEEDS
from .plan_tiles import Bounds, Cost, plan_tiles
from .tiling import PUBLISHED, TilePlan

if TYPE_CHECKING:
    from typing_extensions import Self

SIDE_MULTIPLE = 64
"""Sides of pictures and tiles are multiples of this many pixels."""

LEAST_OVERLAP = 128
"""Pixels that planned tiles share at least: with half of it borders show (benchmarks/seams.py)."""


@dataclass(frozen=True)
class CommonSettings(Checked):
    """What both methods let a user set. Sizes are in pixels of the result; each field says what it does.

    Raises:
        ValueError: a value is out of its range (NaN is out of every range), or those of the tiles do not go together.
    """

    method: ClassVar[str]
    cost: ClassVar[Cost]

    seed: int = knob(
        0,
        "Of all noise: the same seed gives the same picture. The second picture of a batch has the next seed.",
        least=0,
        most=SEEDS - 1,
    )
    same_noise: bool = knob(
        False,
        "For the frames of a video: all pictures of a batch get the noise of the seed itself, at every step, so that less "
        "flickers. Off: each has noise of its own.",
    )
    tile: int = knob(
        0,
        "Side of a tile in pixels, a multiple of 64. 0 is automatic: tiles of about a megapixel, as SDXL knows them, "
        "planned to fit the picture in the least time. A smaller picture is one tile.",
        least=0,
        most=8192,
        step=SIDE_MULTIPLE,
    )
    overlap: int | None = knob(
        None,
        "Pixels that neighbouring tiles share, automatic ones at least; less than the tile. More hides seams and costs "
        "time.",
        least=0,
        most=8184,
        step=LATENT_PIXELS,
    )
    tile_least: int = knob(
        832,
        "Shortest side of an automatic tile in pixels.",
        least=SIDE_MULTIPLE,
        most=8192,
        step=SIDE_MULTIPLE,
    )
    tile_most: int = knob(
        1344, "Longest side of an automatic tile in pixels.", least=SIDE_MULTIPLE, most=8192, step=SIDE_MULTIPLE
    )
    tile_area: float = knob(
        1.4,
        "Largest area of an automatic tile in megapixels; where memory is short they are smaller.",
        least=0.004,
        most=68.0,
        step=0.1,
    )
    blend: str = knob(
        "smooth",
        "smooth: symmetric, flat in the middle. exact: the Gaussian of the published code, which needs an overlap of half "
        "the tile; an automatic tile is then the published 1024, and its overlap 512.",
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
    strength: float = knob(
        1.0,
        "How much of the restoration: 1 is all of it, 0 the picture itself, enlarged. In between, less is invented and more "
        "of the picture stays, with its damage.",
        least=0.0,
        most=1.0,
        step=0.01,
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
        super().__post_init__()
        least = self.tile or self.tile_least
        if self.overlap is not None and self.overlap >= least:
            raise ValueError(
                f"overlap must be a multiple of {LATENT_PIXELS} pixels and less than the {'' if self.tile else 'least '}tile "
                f"({least}), got {self.overlap}"
            )
        if self.tile_least > self.tile_most or self.tile_least**2 > self._tile_pixels:
            raise ValueError(
                f"tile_least must be at most tile_most ({self.tile_most}), and its square at most tile_area "
                f"({self.tile_area:g} megapixels), got {self.tile_least}"
            )

    @property
    def fixed(self) -> TilePlan | None:
        """Tiles that do not depend on the picture: of the side that is set, or the published ones of the published blend."""
        if self.tile:
            overlap = self.tile // 4 if self.overlap is None else self.overlap
            return TilePlan.square(self.tile // LATENT_PIXELS, overlap // LATENT_PIXELS)
        return PUBLISHED if self.blend == "exact" else None

    def plan(self, height: int, width: int) -> TilePlan:
        """The tiles of a latent of some size, in latent pixels."""
        fixed = self.fixed
        return fixed.fit(height, width) if fixed else plan_tiles((height, width), self.cost, self._bounds)

    @property
    def _bounds(self) -> Bounds:
        """Of planned tiles."""
        overlap = min(LEAST_OVERLAP, self.tile_least // 4) if self.overlap is None else self.overlap
        least, most, overlap = (side // LATENT_PIXELS for side in (self.tile_least, self.tile_most, overlap))
        return Bounds(least, most, self._tile_pixels // LATENT_PIXELS**2, overlap)

    @property
    def _tile_pixels(self) -> int:
        return round(self.tile_area * 1e6)

    @classmethod
    def require(cls, settings: object) -> Self:
        """Settings of this class, as they are.

        Raises:
            ValueError: they are another method's, or none.
        """
        if not isinstance(settings, cls):
            expected = " or ".join(kind.__name__ for kind in cls.__subclasses__() or [cls])
            raise ValueError(f"settings must be {expected}, got {type(settings).__name__}")
        return settings

    def of_row(self, row: int) -> Self:
        """The settings of one picture of a batch."""
        return self if self.same_noise else replace(self, seed=(self.seed + row) % SEEDS)

    def seeded(self, seed: int | torch.Generator | None) -> Self:
        """The same settings with another seed, or with one that a generator draws; as they are for ``None``."""
        if isinstance(seed, torch.Generator):
            seed = int(torch.randint(2**63 - 1, (), generator=seed, device=seed.device))
        return self if seed is None else replace(self, seed=seed)
