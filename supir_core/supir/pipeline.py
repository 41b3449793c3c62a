"""Picture in, picture out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..restoration.canvas import Canvas, Restored, finish, plan_canvas
from ..restoration.noise import seeded_noise, start_latent
from ..restoration.progress import Progress, in_tiles
from ..restoration.prompts import encode_prompts
from ..restoration.tiling import tile_grid
from ..sdxl.config import LATENT_PIXELS
from ..sdxl.vae import from_unit, to_unit
from .denoiser import GuidedDenoiser
from .model import SupirModel
from .sampling import sample_restore_dpmpp_2m_sde, sample_restore_edm, schedule
from .settings import PRESETS, Settings


@torch.no_grad()
def restore(
    model: SupirModel,
    picture: Tensor,
    settings: Settings = PRESETS["quality"],
    *,
    scale: float = 1.0,
    size: tuple[int, int] | None = None,
    caption: str | Sequence[str] = "",
    callback: Callable[[Progress], None] | None = None,
) -> Restored:
    """Restore pictures with SUPIR.

    Args:
        model: from ``load_model``.
        picture: ``(B, 3 or 4, H, W)`` in [0, 1]; a fourth channel is alpha, which is resized and kept.
        settings: how; a preset or ``dataclasses.replace`` of one.
        scale: factor of enlargement.
        size: exact (height, width) of the result instead.
        caption: what the picture shows; several are one for each tile, row-major.
        callback: told of progress, with a preview latent after each step; an exception from it stops the work.

    Returns:
        The restored and the stage-1 picture, of exactly the size asked for.

    Raises:
        ValueError: the picture is not of that form, or the number of captions does not fit the tiles.
    """
    canvas = plan_canvas(model, picture, settings, scale, size)
    report = callback or (lambda progress: None)
    captions = [caption] if isinstance(caption, str) else list(caption)
    _check_captions(captions, canvas, settings)

    report(Progress("encode", 0, 1))
    placed = canvas.place(picture[:, :3].to(model.device, torch.float32))
    z_lq, stage1, z_center = encode_stage1(model, placed, settings.vae_tile, settings.restoration_scale > 0)
    del placed  # a large picture is large
    positives, negative = encode_prompts(model, captions, settings.positive, settings.negative)
    denoiser = GuidedDenoiser(
        model.unet, model.adaptor, z_lq, positives, negative, settings.cfg, settings.control
    )
    with model.at_work(model.unet, model.adaptor):
        latent = sample(denoiser, z_center, settings, report)
    report(Progress("decode", 0, 1))
    with model.at_work(model.vae):
        image = to_unit(model.vae.decode(latent, settings.vae_tile))
    return finish(image, stage1, picture, canvas, settings)


def encode_stage1(
    model: SupirModel, picture: Tensor, vae_tile: int, center: bool
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Read the damaged picture with the degradation-robust encoder.

    Args:
        model: whose VAE to use.
        picture: ``(B, 3, H, W)`` in [0, 1], sides multiples of 8.
        vae_tile: side of the square of pixels whose memory the VAE may use.
        center: whether restoration guidance needs the latent of the stage-1 picture.

    Returns:
        The low-quality latent, the stage-1 picture in [0, 1], and the latent of that picture where it is needed.
    """
    with model.at_work(model.vae, model.dr_encoder):
        z_lq = model.vae.encode(from_unit(picture), model.dr_encoder, vae_tile)
        stage1 = to_unit(model.vae.decode(z_lq, vae_tile))
        z_center = model.vae.encode(from_unit(stage1), tile=vae_tile) if center else None
    return z_lq, stage1, z_center


def sample(
    denoiser: GuidedDenoiser,
    z_center: Tensor | None,
    settings: Settings,
    report: Callable[[Progress], None],
) -> Tensor:
    """Sample the restored latent, in tiles where it is larger than one: shaped as ``denoiser.z_lq``."""
    z_lq = denoiser.z_lq
    sigmas = schedule(settings.steps, settings.sampler)
    tiled, on_step = in_tiles(denoiser, z_lq, sigmas, settings, report)
    noise = seeded_noise([settings.seed + row for row in range(len(z_lq))])
    x = start_latent(noise(z_lq.float()), sigmas)
    shared = {
        "z_center": z_center,
        "restoration_scale": settings.restoration_scale,
        "s_noise": settings.s_noise,
        "callback": on_step,
    }
    if settings.sampler == "edm":
        return sample_restore_edm(tiled, x, sigmas, noise, s_churn=settings.s_churn, **shared)
    return sample_restore_dpmpp_2m_sde(tiled, x, sigmas, noise, **shared)


def _check_captions(captions: Sequence[str], canvas: Canvas, settings: Settings) -> None:
    height, width = (side // LATENT_PIXELS for side in canvas.outer)
    tiles = len(tile_grid(height, width, *settings.latent_tile))
    if len(captions) not in (1, tiles):
        raise ValueError(
            f"got {len(captions)} captions for {tiles} tiles; give one, or one for each tile, row by row"
        )
