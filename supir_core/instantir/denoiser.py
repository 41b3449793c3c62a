"""From networks to a denoiser: one guided step of InstantIR (Huang et al. 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from ..restoration.denoiser import ConditioningCache
from ..restoration.tiling import Tile, crop_tiles
from ..sdxl.blocks import TextContext
from ..sdxl.conditioning import Conditioning
from ..sdxl.config import check_latent
from ..sdxl.schedule import nearest_index
from ..sdxl.unet import UNet
from .adaptive import Adaptive
from .aggregator import Aggregator, ResidualFusion, Residuals, check_height
from .correction import Correction, Rows
from .image_attention import ImageAdapter, KeyValue, Modulation, TextAndImage, attention_sites, image_rows
from .previewer import PreviewerLora
from .sampling import Control, step_at


@dataclass(frozen=True)
class Networks:
    """What works at every step.

    Attributes:
        unet: SDXL's frozen UNet.
        adapter: what lets it read image features; needed only before the sampling.
        previewer: the low-rank branches that make a previewer of it.
        aggregator: what corrects it.
    """

    unet: UNet
    adapter: ImageAdapter
    previewer: PreviewerLora
    aggregator: Aggregator


class ImagePrompt:
    """The damaged picture as the UNet's layers read it at every step, for one run of a sampler.

    All that needs the adapter is made here, without the previewer's branches and with them.

    Args:
        networks: of which UNet, adapter and previewer are used.
        features: DINOv2 features for each prompt of a call, ``(1 or B, 257, feature_width)``.
        y: pooled text and sizes of the rows of a call, prompts, then pictures, ``(prompts * B, vector_width)``.
        sigmas: the noise levels of the run, ending in 0, ``(steps + 1,)``.
    """

    def __init__(self, networks: Networks, features: Sequence[Tensor], y: Tensor, sigmas: Tensor):
        self.sigmas = sigmas
        self.prompts = range(len(features))
        self.pictures = len(y) // len(features)
        timesteps = nearest_index(sigmas[:-1]).to(y.device)
        steps, rows = len(timesteps), len(y)
        embedding = networks.unet.embed(timesteps.repeat_interleave(rows), y.repeat(steps, 1))
        embedding = embedding.unflatten(0, (steps, rows))
        self._read: dict[bool, list[list[KeyValue]]] = {}
        self._modulations: dict[bool, list[Modulation]] = {}
        for branched in (False, True):
            with networks.previewer.applied_to(adapter=networks.adapter) if branched else nullcontext():
                self._read[branched] = [networks.adapter.read(some.to(y)) for some in features]
                self._modulations[branched] = networks.adapter.modulations(embedding)

    def at(self, step: int, branched: bool, tiles: int) -> list[KeyValue]:
        """Keys and values of every layer at a step, for rows (prompts, tiles, B)."""
        now = [Modulation(m.k[step], m.v[step]) for m in self._modulations[branched]]
        return image_rows(self._read[branched], now, self.prompts, self.pictures, tiles)


@dataclass(frozen=True)
class InstantDenoiser:
    """InstantIR's denoiser: preview, residuals, and the corrected UNet, on all rows together, then CFG.

    At noise level sigma, with z = x / sqrt(1 + sigma^2) and c the image prompt::

        preview   = one step of the UNet with the previewer's branches, at z, c and the text
        residuals = aggregator(z_lq, preview)
        eps       = UNet at z, c and the text, with the residuals
        x0        = x - sigma * (eps_uncond + cfg * (eps_cond - eps_uncond))

    As released, the previewer is not guided: each row has its own preview. See ``denoiser.Denoiser`` for the contract.

    Attributes:
        networks: what works.
        correction: how the residuals are made.
        image: the damaged picture as the UNet reads it.
        z_lq: its latent, ``(B, 4, h, w)``, scaled; the height a multiple of 4.
        conditions: of each copy of the rows: negative and positive with guidance, else the positive alone.
        cfg: classifier-free guidance scale.
        tiles: where these rows lie; none where they are the whole picture.
        texts: what is kept of the prompts from call to call; it goes with the denoiser.
    """

    networks: Networks
    correction: Correction
    image: ImagePrompt
    z_lq: Tensor
    conditions: Sequence[Conditioning]
    cfg: float
    tiles: Sequence[Tile] = ()
    texts: ConditioningCache = field(default_factory=ConditioningCache, repr=False)

    def __post_init__(self) -> None:
        check_latent(self.z_lq.shape, "z_lq")

    def __call__(self, x: Tensor, sigma: Tensor, schedule_sigma: float) -> Tensor:
        """See Denoiser."""
        if x.shape != self.z_lq.shape:
            raise ValueError(
                f"x is {tuple(x.shape)} but z_lq is {tuple(self.z_lq.shape)}; encode a picture of the same size"
            )
        copies = len(self.conditions)
        level = sigma[:, None, None, None]
        z = (x / (1 + level**2).sqrt()).to(self.networks.unet.dtype)
        text, y = self.texts.rows(self.conditions, len(x), z)
        z, z_lq = (t.to(z).repeat(copies, 1, 1, 1) for t in (z, self.z_lq))
        rows = Rows(z, sigma.repeat(copies), nearest_index(sigma).repeat(copies), y, z_lq, copies, copies - 1)
        step = step_at(schedule_sigma, self.image.sigmas)

        def predict(branched: bool, residuals: Residuals | None = None) -> Tensor:
            return self._eps(rows, text, step, branched, residuals)

        residuals = self.correction.residuals(
            self.networks.aggregator, rows, schedule_sigma, lambda: predict(True), self.tiles
        )
        eps = predict(False, residuals).float().unflatten(0, (copies, -1))
        guided = eps[0] if copies == 1 else eps[0] + self.cfg * (eps[1] - eps[0])
        return x - level * guided

    def crop(self, tiles: Sequence[Tile]) -> InstantDenoiser:
        """The denoiser of a batch of tiles (tile-major rows), each with its own crop; the image prompt is shared."""
        return replace(self, z_lq=crop_tiles(self.z_lq, tiles), tiles=tiles)

    def _eps(self, rows: Rows, text: TextContext, step: int, branched: bool, residuals: Residuals | None) -> Tensor:
        unet, previewer = self.networks.unet, self.networks.previewer
        image = self.image.at(step, branched, max(len(self.tiles), 1))
        context = TextAndImage(text, dict(zip(attentions(unet), image, strict=True)))
        fusion = ResidualFusion(residuals) if residuals else None
        with previewer.applied_to(unet) if branched else nullcontext():
            return unet(rows.z, rows.timesteps, context, rows.y, fusion)


def attentions(unet: UNet) -> list[nn.Module]:
    """The UNet's attentions over text, in the order of ``image_attention.attention_sites``."""
    return [unet.get_submodule(place.path) for place in attention_sites(unet.config)]


@torch.no_grad()
def build_denoiser(
    networks: Networks,
    z_lq: Tensor,
    features: tuple[Tensor, Tensor],
    prompts: tuple[Conditioning, Conditioning],
    sigmas: Tensor,
    *,
    cfg: float = 7.0,
    control: Control | None = None,
    adaptive: Adaptive | None = None,
) -> InstantDenoiser:
    """A denoiser for one run of a sampler. The adapter has done its work when this returns.

    Args:
        networks: what works.
        z_lq: latent of the damaged picture, ``(B, 4, h, w)``, scaled.
        features: DINOv2 features of no picture, ``(1, 257, width)``, and of the pictures, ``(B, 257, width)``.
        prompts: negative and positive, of 1 row or B each.
        sigmas: noise levels of the run, ending in 0.
        cfg: classifier-free guidance scale; at most 1 leaves the negative prompt out.
        control: how strongly and when aggregator and previewer work.
        adaptive: adaptive restoration; none by default.

    Raises:
        ValueError: the height of the latent is not a multiple of 4.
    """
    check_height(z_lq.shape[2])
    like = z_lq.to(networks.unet.dtype)
    first = 0 if cfg > 1 else 1
    rows = Conditioning.concatenate([prompt.rows(len(z_lq)) for prompt in prompts[first:]])
    image = ImagePrompt(networks, features[first:], rows.vector.to(like), sigmas)
    correction = Correction(control or Control(), adaptive or Adaptive(), sigmas)
    return InstantDenoiser(networks, correction, image, z_lq, prompts[first:], cfg)
