"""Tiles as a property of the denoiser.

CFG, restoration guidance and both samplers' updates are affine in ``denoised`` with the same coefficients in every
tile, so a sampler over a tiled denoiser gives what the published tiled samplers give (Yu et al. 2024, released code).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from ..sdxl.config import LATENT_PIXELS


class Tile(NamedTuple):
    """A window on the latent, in latent pixels; ``number`` is its place in the grid that is not shifted."""

    top: int
    left: int
    height: int
    width: int
    number: int

    @property
    def window(self) -> tuple[Any, ...]:
        """Index that cuts it out of a tensor ``(..., h, w)``."""
        return ..., slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)

    def times(self, factor: int) -> Tile:
        """The same window on something ``factor`` times as large."""
        top, left, height, width = (factor * side for side in self[:4])
        return Tile(top, left, height, width, self.number)


class TilePlan(NamedTuple):
    """How a latent is cut, each pair (down, across) in latent pixels: the sides of a tile, what neighbours share."""

    window: tuple[int, int]
    overlap: tuple[int, int]

    @classmethod
    def square(cls, side: int, overlap: int) -> TilePlan:
        """Square tiles."""
        return cls((side, side), (overlap, overlap))

    @property
    def stride(self) -> tuple[int, int]:
        """From tile to tile."""
        (height, width), (down, across) = self
        return height - down, width - across

    def fit(self, height: int, width: int) -> TilePlan:
        """The same for a latent of some size, whose sides are not cut where a tile is as long."""
        sides = [
            (length, 0) if length <= window else (window, overlap)
            for length, window, overlap in zip((height, width), *self, strict=True)
        ]
        return TilePlan(*zip(*sides, strict=True))  # type: ignore[arg-type]

    def counts(self, height: int, width: int) -> tuple[int, int]:
        """How many tiles a latent of some size has, down and across."""
        rows, columns = map(starts, (height, width), self.window, self.stride)
        return len(rows), len(columns)

    def describe(self, height: int, width: int) -> str:
        """In words and pixels, how a latent of some size is cut; width comes first."""
        plan, (rows, columns) = self.fit(height, width), self.counts(height, width)
        (h, w), (down, across) = ([LATENT_PIXELS * side for side in pair] for pair in plan)
        if rows * columns == 1:
            return f"1 tile of {w}x{h} pixels"
        return f"{columns}x{rows} tiles of {w}x{h} pixels that share {across}x{down}"


class TileableDenoiser(Protocol):
    """A denoiser (see ``denoiser.Denoiser``) that can be restricted to tiles."""

    def crop(self, tiles: Sequence[Tile]) -> Callable[[Tensor, Tensor, float], Tensor]:
        """The denoiser of the tiles as a batch, tile-major."""
        ...


PUBLISHED = TilePlan.square(128, 64)
"""The grid of the published code."""


def starts(length: int, window: int, stride: int, shift: int = 0) -> list[int]:
    """First pixels of the windows along one side: every ``stride``, the last one aligned to the border.

    A ``shift`` moves them all towards the start; those that would leave the side are held at its borders.
    """
    last = max(length - window, 0)
    places = range(-shift, last + stride, stride)
    return sorted({min(max(place, 0), last) for place in places})


def tile_grid(height: int, width: int, plan: TilePlan, shift: tuple[int, int] = (0, 0)) -> list[Tile]:
    """Tiles that cover a latent, row-major.

    Args:
        height: of the latent, in latent pixels.
        width: of the latent.
        plan: sides of a tile, and pixels that neighbours share, each 0 to ``side - 1``.
        shift: how far the grid is moved up and left, each 0 to the stride.

    Raises:
        ValueError: an overlap is negative or leaves no stride.
    """
    for window, overlap in zip(*plan, strict=True):
        if not 0 <= overlap < window:
            raise ValueError(
                f"the overlap must be at least 0 and less than the tile ({window}), got {overlap}; "
                "make the overlap smaller or the tile larger"
            )
    plan = plan.fit(height, width)
    rows, columns = map(starts, (height, width), plan.window, plan.stride)
    tops, lefts = map(starts, (height, width), plan.window, plan.stride, shift)
    numbered = [(left, _nearest(columns, left)) for left in lefts]
    return [
        Tile(top, left, *plan.window, row * len(columns) + column)
        for top, row in ((top, _nearest(rows, top)) for top in tops)
        for left, column in numbered
    ]


def smooth_window(length: int, overlap: int) -> Tensor:
    """Raised cosine over the overlap, flat between; neighbours at the plain stride add up to one."""
    ramp = torch.ones(length, dtype=torch.float64)
    steps = torch.arange(overlap, dtype=torch.float64)
    rise = torch.sin(math.pi / 2 * (steps + 0.5) / max(overlap, 1)) ** 2
    ramp[:overlap] *= rise
    ramp[length - overlap :] *= rise.flip(0)
    return ramp


def gaussian_window(length: int, midpoint: float) -> Tensor:
    """Gaussian of variance 0.01 in units of the window, about ``midpoint``."""
    distance = (torch.arange(length, dtype=torch.float64) - midpoint) / length
    return torch.exp(-(distance**2) / (2 * 0.01)) / math.sqrt(2 * math.pi * 0.01)


def exact_weights(height: int, width: int) -> Tensor:
    """The published weights of a tile. As released, centred at (n - 1)/2 across but n/2 down."""
    return torch.outer(gaussian_window(height, height / 2), gaussian_window(width, (width - 1) / 2))


@lru_cache(maxsize=8)
def tile_weights(plan: TilePlan, blend: str, device: torch.device | None = None) -> Tensor:
    """Weights of a tile's pixels in the blend, ``(height, width)``, float32; the last few are kept where they are used.

    Args:
        plan: sides of a tile, and pixels that neighbours share, on which the published weights do not depend.
        blend: ``"smooth"``, or ``"exact"`` for the published Gaussian.
        device: where; the CPU by default.

    Raises:
        ValueError: no such blend.
    """
    if blend == "exact":
        return exact_weights(*plan.window).float().to(device)
    if blend == "smooth":
        sides = (smooth_window(side, min(overlap, side // 2)) for side, overlap in zip(*plan, strict=True))
        return torch.outer(*sides).float().to(device)
    raise ValueError(f'blend must be "smooth" or "exact", got "{blend}"')


def crop_tiles(tensor: Tensor, tiles: Sequence[Tile]) -> Tensor:
    """Cut tiles of one size out of ``(B, C, h, w)``: ``(tiles * B, C, height, width)``, tile-major."""
    return torch.cat([tensor[tile.window] for tile in tiles])


def tile_denoiser(
    denoiser: TileableDenoiser,
    plan: TilePlan,
    *,
    blend: str = "smooth",
    shifting: bool = False,
    tiles_per_call: int = 1,
    on_tile: Callable[[], None] | None = None,
) -> Callable[[Tensor, Tensor, float], Tensor]:
    """Denoise a latent of any size in windows of one size.

    Args:
        denoiser: what denoises a tile, and knows how to crop its own inputs.
        plan: sides of a tile and overlaps, ``PUBLISHED`` as published.
        blend: ``"smooth"`` (symmetric) or ``"exact"`` (the published Gaussian).
        shifting: move the grid at every noise level, so that no border stays in place and less overlap is needed.
        tiles_per_call: how many tiles go through the network together; memory grows with it.
        on_tile: called before each network call; an exception from it stops the sampling.

    Returns:
        A denoiser of the whole latent. It keeps nothing between calls.
    """

    def denoise(x: Tensor, sigma: Tensor, schedule_sigma: float) -> Tensor:
        height, width = x.shape[2:]
        shift = grid_shift(schedule_sigma, plan.stride) if shifting else (0, 0)
        tiles = tile_grid(height, width, plan, shift)
        weights = tile_weights(plan.fit(height, width), blend, x.device)
        total, weight = x.new_zeros(len(x), 1, height, width), x.new_zeros(1, 1, height, width)
        for first in range(0, len(tiles), tiles_per_call):
            group = tiles[first : first + tiles_per_call]
            if on_tile:
                on_tile()
            out = denoiser.crop(group)(crop_tiles(x, group), sigma.repeat(len(group)), schedule_sigma)
            if first == 0:  # a host may predict for several prompts along the channels
                total = total.expand(-1, out.shape[1], -1, -1).clone()
            for tile, part in zip(group, out.chunk(len(group)), strict=True):
                total[tile.window] += part * weights
                weight[tile.window] += weights
        return total / weight

    return denoise


def count_calls(
    size: tuple[int, int],
    plan: TilePlan,
    sigmas: Sequence[float],
    *,
    shifting: bool = False,
    tiles_per_call: int = 1,
) -> int:
    """How often a ``tile_denoiser`` calls its network over the noise levels ``sigmas``, on a (height, width) latent."""
    calls = 0
    for sigma in sigmas:
        shift = grid_shift(sigma, plan.stride) if shifting else (0, 0)
        calls += -(-len(tile_grid(*size, plan, shift)) // tiles_per_call)
    return calls


def grid_shift(sigma: float, stride: tuple[int, int]) -> tuple[int, int]:
    """Where the grid stands at a noise level: spread evenly over the strides by an additive recurrence.

    The step in the recurrence is the level's place on a fine logarithmic scale, so equal levels give equal grids and
    nothing has to be remembered from call to call. The constants are those of the two-dimensional R sequence.
    """
    step = round(1000 * math.log1p(sigma))
    return int(stride[0] * (step * 0.7548776662466927 % 1)), int(stride[1] * (step * 0.5698402909980532 % 1))


def _nearest(places: list[int], place: int) -> int:
    return min(range(len(places)), key=lambda i: abs(places[i] - place))
