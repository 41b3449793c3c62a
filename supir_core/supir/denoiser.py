"""From networks to a denoiser: x, sigma -> denoised (Yu et al. 2024, section 3.3; Karras et al. 2022 for the form)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor

from ..restoration.denoiser import ConditioningCache, LinearSchedule
from ..restoration.tiling import Tile, crop_tiles
from ..sdxl.conditioning import Conditioning
from ..sdxl.config import check_latent
from ..sdxl.schedule import nearest_index, training_sigmas
from ..sdxl.unet import UNet
from .adaptor import Adaptor

UNGUIDED = LinearSchedule(1.0, 1.0)
"""The CFG scale at which the result is the conditional prediction alone."""


@dataclass(frozen=True)
class GuidedDenoiser:
    """SUPIR's denoiser: adaptor and UNet on the conditional and unconditional rows together, then CFG.

    As released, sigma is replaced by the nearest of the training sigmas::

        denoised = x - sigma * eps(x / sqrt(sigma^2 + 1), index of sigma)
        result   = uncond + cfg(sigma) * (cond - uncond)

    As released, the CFG scale follows the churned sigma, the control strength the one before churn.
    The unconditional rows are left out where the CFG scale is 1 throughout, the adaptor while the strength is 0. No number
    is read off a tensor, so a call waits for no GPU, and compiles to one graph.

    Attributes:
        unet: the frozen UNet.
        adaptor: SUPIR's adaptor and connectors; none where the strength is 0 throughout.
        z_lq: low-quality latent, ``(B, 4, h, w)``, scaled.
        positives: what to restore towards: one for the whole picture, or one for each tile, row-major.
        negative: what to keep away from.
        cfg: classifier-free guidance scale; larger follows the prompts more and the input less.
        control: strength of the adaptor, 0 to 1; larger follows the input more.
        texts: what is kept of the prompts from call to call; it goes with the denoiser.
    """

    unet: UNet
    adaptor: Adaptor | None
    z_lq: Tensor
    positives: Sequence[Conditioning]
    negative: Conditioning
    cfg: LinearSchedule
    control: LinearSchedule
    texts: ConditioningCache = field(default_factory=ConditioningCache, repr=False)

    def __post_init__(self) -> None:
        check_latent(self.z_lq.shape, "z_lq")

    def __call__(self, x: Tensor, sigma: Tensor, schedule_sigma: float) -> Tensor:
        """See Denoiser."""
        self._check(x)
        conditions = self.positives if self.cfg == UNGUIDED else [self.negative, *self.positives]
        index = nearest_index(sigma)
        snapped = training_sigmas(x.device)[index][:, None, None, None]
        scaled = x / (snapped**2 + 1).sqrt()
        eps = self._eps(scaled, index, conditions, self.control.at(schedule_sigma))
        denoised = x - snapped * eps
        if len(conditions) == 1:
            return denoised[0]
        uncond, cond = denoised
        return uncond + self.cfg.at(sigma)[:, None, None, None] * (cond - uncond)

    def crop(self, tiles: Sequence[Tile]) -> GuidedDenoiser:
        """The denoiser of a batch of tiles (tile-major rows), each with its own crop and positive prompt."""
        positives = self.positives
        if len(positives) > 1:
            batch = len(self.z_lq)
            rows = [positives[tile.number].rows(batch) for tile in tiles]
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
        x = x.to(self.unet.dtype)
        text, y = self.texts.rows(conditions, len(x), x)
        copies = len(conditions)
        x, z_lq = (t.to(x).repeat(copies, 1, 1, 1) for t in (x, self.z_lq))
        index = index.repeat(copies)
        fusion = self.adaptor(z_lq, x, index, text, y, strength) if strength and self.adaptor is not None else None
        return self.unet(x, index, text, y, fusion).float().unflatten(0, (copies, -1))
