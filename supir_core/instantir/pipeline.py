"""Picture in, picture out, with InstantIR."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..restoration.canvas import Restored, finish, plan_canvas
from ..restoration.noise import seeded_noise, start_latent
from ..restoration.progress import Progress, in_tiles
from ..restoration.prompts import encode_prompts
from ..sdxl.vae import from_unit, to_unit
from .adaptive import Adaptive
from .denoiser import InstantDenoiser, build_denoiser
from .model import InstantIRModel
from .perception import dino_pixels, no_picture, perceive
from .sampling import instantir_sigmas, noised, sample_ddpm
from .settings import InstantSettings


@torch.no_grad()
def restore_instantir(
    model: InstantIRModel,
    picture: Tensor,
    settings: InstantSettings | None = None,
    *,
    scale: float = 1.0,
    size: tuple[int, int] | None = None,
    caption: str | Sequence[str] = "",
    callback: Callable[[Progress], None] | None = None,
) -> Restored:
    """Restore pictures with InstantIR.

    The picture is enlarged and padded to multiples of 64 pixels, as the aggregator needs a height that is a multiple of
    32. There is no largest size: what is larger than a tile is sampled in tiles, each with its own crop of the damaged
    latent, its own preview and residuals; the image prompt is of the whole picture.

    Args:
        model: from ``load_instantir``.
        picture: ``(B, 3 or 4, H, W)`` in [0, 1]; a fourth channel is alpha, which is resized and kept.
        settings: how; the published ones by default.
        scale: factor of enlargement.
        size: exact (height, width) of the result instead.
        caption: what the picture shows; the quality words follow. A sequence has one, for the whole picture.
        callback: told of progress, with a preview latent after each step; an exception from it stops the work.

    Returns:
        The restored and the enlarged damaged picture, of exactly the size asked for.

    Raises:
        ValueError: the picture is not of that form.
    """
    settings = settings or InstantSettings()
    canvas = plan_canvas(model, picture, settings, scale, size)
    report = callback or (lambda progress: None)
    report(Progress("encode", 0, 1))
    placed = canvas.place(picture[:, :3].to(model.device, torch.float32))
    with model.at_work(model.vae):
        z_lq = model.vae.encode(from_unit(placed), tile=settings.vae_tile)
    features = perceive_pair(model, placed)
    captions = [caption] if isinstance(caption, str) else list(caption) or [""]
    if len(captions) > 1:
        raise ValueError(
            f"got {len(captions)} captions, but InstantIR takes one for the whole picture; give one"
        )
    positives, negative = encode_prompts(model, captions, settings.positive, settings.negative)
    height, width = (min(side, settings.tile) for side in canvas.outer)  # what the networks see at once
    sizes = (height, width, 0, 0, height, width)
    prompts = negative.with_sizes(sizes), positives[0].with_sizes(sizes)
    sigmas = instantir_sigmas(settings.steps)
    with model.at_work(model.unet, model.previewer):
        with model.at_work(model.adapter):
            denoiser = build_denoiser(
                model.networks,
                z_lq,
                features,
                prompts,
                sigmas,
                cfg=settings.cfg,
                control=settings.schedule_of_control,
                adaptive=Adaptive(settings.adaptive),
            )
        with model.at_work(model.aggregator):
            latent = sample(denoiser, sigmas, settings, report)
    report(Progress("decode", 0, 1))
    with model.at_work(model.vae):
        image = to_unit(model.vae.decode(latent, settings.vae_tile))
    return finish(image, placed, picture, canvas, settings)


def perceive_pair(model: InstantIRModel, picture: Tensor) -> tuple[Tensor, Tensor]:
    """DINOv2's features of no picture, ``(1, 257, C)``, and of pictures ``(B, 3, H, W)`` in [0, 1]."""
    pixels = dino_pixels(picture)
    with model.at_work(model.dino):
        features = perceive(model.dino, torch.cat([no_picture(pixels), pixels]))
    return features[:1], features[1:]


def sample(
    denoiser: InstantDenoiser,
    sigmas: Tensor,
    settings: InstantSettings,
    report: Callable[[Progress], None],
) -> Tensor:
    """Sample the restored latent, in tiles where it is larger than one: shaped as ``denoiser.z_lq``."""
    z_lq = denoiser.z_lq
    tiled, report_step = in_tiles(denoiser, z_lq, sigmas, settings, report)

    def on_step(step: int, denoised: Tensor) -> None:
        denoiser.correction.end_step(denoised)
        report_step(step, denoised)

    noise = seeded_noise([settings.seed + row for row in range(len(z_lq))])
    first = noise(z_lq.float())
    x = noised(z_lq, first, sigmas) if settings.start == "picture" else start_latent(first, sigmas)
    return sample_ddpm(tiled, x, sigmas, noise, callback=on_step)
