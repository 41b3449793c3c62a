"""From networks to a denoiser: x, sigma -> denoised (Yu et al. 2024, section 3.3; Karras et al. 2022 for the form)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from .adaptor import Adaptor
from .blocks import Text
from .conditioning import Conditioning
from .config import SIGMA_MAX
from .tiling import Tile, crop_tiles
from .unet import UNet


class Denoiser(Protocol):
    """The one contract that samplers know."""

    def __call__(self, x: Tensor, sigma: Tensor, schedule_sigma: float, /) -> Tensor:
        """Denoise.

        Args:
            x: noisy latent, ``(B, 4, h, w)``, scaled latent units.
            sigma: noise level of each row, ``(B,)``.
            schedule_sigma: noise level before churn, which the schedule of the control strength follows.

        Returns:
            The clean latent as predicted, shaped as ``x``.
        """
        ...


@cache
def training_sigmas() -> Tensor:
    """The 1000 noise levels of SDXL's training, ascending, float32.

    Betas are linear in the square root from 0.00085 to 0.0120; sigma = sqrt((1 - abar) / abar).
    """
    betas = np.linspace(0.00085**0.5, 0.0120**0.5, 1000) ** 2
    abar = np.cumprod(1 - betas)
    return torch.from_numpy(np.sqrt((1 - abar) / abar)).float()


def nearest_index(sigma: Tensor) -> Tensor:
    """Timestep whose training sigma is nearest, by linear distance as released: ``(B,)`` -> ``(B,)`` int64."""
    table = training_sigmas().to(sigma)
    return (sigma[:, None] - table).abs().argmin(dim=1)


@dataclass(frozen=True)
class Linear:
    """A value that goes linearly with sigma: ``start`` at 14.6146, ``end`` at 0."""

    start: float
    end: float

    def at(self, sigma: float) -> float:
        """The value at noise level ``sigma``."""
        return self.end + (self.start - self.end) * sigma / SIGMA_MAX


class Texts:
    """The conditions of the last call as the networks took them, for a next call with the same ones."""

    def __init__(self) -> None:
        self._key: tuple[object, ...] = ()
        self._rows: tuple[Text, Tensor] | None = None

    def rows(self, conditions: Sequence[Conditioning], rows: int, like: Tensor) -> tuple[Text, Tensor]:
        """Text and vector of ``rows`` rows for each of the conditions, in the precision of ``like``."""
        key = (*conditions, rows, like.dtype, like.device)
        if self._rows is None or key != self._key:
            batch = Conditioning.concatenate([condition.rows(rows) for condition in conditions])
            self._key, self._rows = key, (Text(batch.context.to(like)), batch.vector.to(like))
        return self._rows


@dataclass(frozen=True)
class GuidedDenoiser:
    """SUPIR's denoiser: adaptor and UNet on the conditional and unconditional rows together, then CFG.

    As released, sigma is replaced by the nearest of the training sigmas::

        denoised = x - sigma * eps(x / sqrt(sigma^2 + 1), index of sigma)
        result   = uncond + cfg(sigma) * (cond - uncond)

    As released, the CFG scale follows the churned sigma, the control strength the one before churn.
    The unconditional rows are left out while the CFG scale is exactly 1, the adaptor while the strength is 0.

    Attributes:
        unet: the frozen UNet.
        adaptor: SUPIR's adaptor and connectors.
        z_lq: low-quality latent, ``(B, 4, h, w)``, scaled.
        positives: what to restore towards: one for the whole picture, or one for each tile, row-major.
        negative: what to keep away from.
        cfg: classifier-free guidance scale; larger follows the prompts more and the input less.
        control: strength of the adaptor, 0 to 1; larger follows the input more.
        texts: what is kept of the prompts from call to call; it goes with the denoiser.
    """

    unet: UNet
    adaptor: Adaptor
    z_lq: Tensor
    positives: Sequence[Conditioning]
    negative: Conditioning
    cfg: Linear
    control: Linear
    texts: Texts = field(default_factory=Texts, repr=False)

    def __call__(self, x: Tensor, sigma: Tensor, schedule_sigma: float) -> Tensor:
        """See Denoiser."""
        self._check(x)
        scales = [self.cfg.at(level) for level in sigma.tolist()]
        conditions = self.positives if set(scales) == {1.0} else [self.negative, *self.positives]
        index = nearest_index(sigma)
        snapped = training_sigmas().to(x)[index][:, None, None, None]
        scaled = x / (snapped**2 + 1).sqrt()
        eps = self._eps(scaled, index, conditions, self.control.at(schedule_sigma))
        denoised = x - snapped * eps
        if len(conditions) == 1:
            return denoised[0]
        uncond, cond = denoised
        return uncond + x.new_tensor(scales)[:, None, None, None] * (cond - uncond)

    def crop(self, tiles: Sequence[Tile]) -> GuidedDenoiser:
        """The denoiser of a batch of tiles (tile-major rows), each with its own crop and positive prompt."""
        positives = self.positives
        if len(positives) > 1:
            batch = len(self.z_lq)
            rows = [positives[tile.place].rows(batch) for tile in tiles]
            positives = [Conditioning.concatenate(rows)]
        return replace(self, z_lq=crop_tiles(self.z_lq, tiles), positives=positives)

    def _check(self, x: Tensor) -> None:
        if x.shape != self.z_lq.shape:
            raise ValueError(
                f"x is {tuple(x.shape)} but z_lq is {tuple(self.z_lq.shape)}; encode a picture of the same size"
            )
        if len(self.positives) != 1:
            raise ValueError(
                f"got {len(self.positives)} positive prompts for a picture that is denoised in one piece; "
                "give one prompt, or one for each tile and wrap the denoiser in tiles"
            )

    def _eps(self, x: Tensor, index: Tensor, conditions: Sequence[Conditioning], strength: float) -> Tensor:
        """Noise predicted under each of the conditions, ``(conditions, *x.shape)``.

        The networks run once, in their own precision; the result is float32.
        """
        weight = next(self.unet.parameters())
        text, y = self.texts.rows(conditions, len(x), weight)
        copies = len(conditions)
        x, z_lq = (t.to(weight).repeat(copies, 1, 1, 1) for t in (x, self.z_lq))
        index = index.repeat(copies)
        fusion = self.adaptor(z_lq, x, index, text, y, strength) if strength else None
        return self.unet(x, index, text, y, fusion).float().unflatten(0, (copies, -1))
