"""Picture in, picture out, with InstantIR."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..files.convert import as_tensor
from ..restoration.canvas import Canvas, Restored, finish, plan_canvas
from ..restoration.finite import require_finite
from ..restoration.frames import Frame, restore_each, restoring
from ..restoration.knobs import SCALE
from ..restoration.noise import start_latent
from ..restoration.progress import Progress, Report, sample_in_tiles, silent
from ..restoration.prompts import as_captions, encode_prompts
from ..restoration.retry import SMALLEST_TILE, fitting_tiles, tile_pixels, with_smaller_tiles
from ..restoration.strength import start_from
from ..sdxl.conditioning import Conditioning
from ..sdxl.config import LATENT_PIXELS
from ..sdxl.memory import upload
from .adaptive import Adaptive
from .denoiser import InstantDenoiser, build_denoiser
from .model import InstantIRModel
from .perception import dino_pixels, no_picture, perceive
from .sampling import sample_ddpm
from .settings import InstantSettings


@torch.no_grad()
@restoring
def restore_instantir(
    model: InstantIRModel,
    picture: Any,
    settings: InstantSettings | None = None,
    *,
    scale: float = SCALE.default,
    size: tuple[int, int] | None = None,
    caption: str | Sequence[str] = "",
    seed: int | torch.Generator | None = None,
    callback: Callable[[Progress], None] | None = None,
) -> Restored:
    """Restore pictures with InstantIR.

    The picture is enlarged and padded to multiples of 64 pixels, as the aggregator needs a height that is a multiple of
    32. There is no largest size: what is larger than a tile is sampled in tiles, each with its own crop of the damaged
    latent, its own preview and residuals; the image prompt is of the whole picture.

    Args:
        model: from ``load_instantir``.
        picture: of any kind that ``restore`` takes; those of a batch are restored one after the other.
        settings: how; the published ones by default.
        scale: factor of enlargement, 0.1 to 16.
        size: exact (height, width) of the result in pixels instead.
        caption: what the picture shows; the quality words follow. A sequence has one, for the whole picture.
        seed: of the noise, in place of the settings' own, or a generator that draws one.
        callback: told of progress, with a preview latent after each step; an exception from it stops the work.

    Returns:
        The restored and the enlarged damaged picture, of exactly the size asked for, of the kind and on the device of
        ``picture``; with ``same_noise`` the enlarged one of the first only.

    Raises:
        ValueError: the picture is not of such a form, or there are several captions.
        NotFiniteError: a stage gave values that are not finite.
        MemoryFullError: a memory is full; says at which part, and what to make smaller.
    """
    settings = InstantSettings.require(InstantSettings() if settings is None else settings).seeded(seed)
    captions = as_captions(caption)
    if len(captions) > 1:
        raise ValueError(f"got {len(captions)} captions, but InstantIR takes one for the whole picture; give one")
    picture, back = as_tensor(picture)
    canvas = plan_canvas(picture, settings, scale, size, model.min_side)

    def restore_frame(picture: Tensor, settings: InstantSettings, frame: Frame) -> Restored:
        return restore_one(model, picture, settings, canvas, (negative, positive), frame.report(callback or silent))

    with model.lock:
        (positive,), negative = encode_prompts(model.encode_texts, captions, settings.positive, settings.negative)
        restored = restore_each(picture, settings, restore_frame)
    return Restored(*map(back, restored))


def restore_one(
    model: InstantIRModel,
    picture: Tensor,
    settings: InstantSettings,
    canvas: Canvas,
    prompts: tuple[Conditioning, Conditioning],
    report: Report,
) -> Restored:
    """Restore one picture ``(1, 3 or 4, H, W)`` with the encoded negative and positive prompt."""
    report(Progress("encode", 0, 1))
    placed = canvas.place(upload(picture, model.device))
    z_lq = require_finite(model.encode(placed, settings.vae_memory), "encoding")
    features = perceive_pair(model, canvas.visible(placed))  # as published, a picture has no padding
    report(Progress("encode", 1, 1))
    networks = model.unet, model.aggregator, model.previewer
    pixel = model.pixel_bytes(4 * settings.tiles_per_call)  # the aggregator reads two pictures
    room = model.residency.room(*networks, least=pixel * SMALLEST_TILE**2)
    settings = fitting_tiles(settings, canvas.latent, room // pixel)

    def attempt(tiles: InstantSettings) -> Tensor:
        denoiser = prepare(model, z_lq, features, prompts, tiles)
        wish = pixel * tile_pixels(tiles, canvas.latent)
        with model.at_work(model.unet, model.aggregator, whole=[model.previewer], wishes=[wish]):
            return sample(denoiser, tiles, report)

    latent = with_smaller_tiles(settings, canvas.latent, attempt)
    report(Progress("decode", 0, 1))
    image = require_finite(model.decode(latent, settings.vae_memory), "decoding")
    report(Progress("decode", 1, 1))
    return finish(image, placed, picture, canvas, settings)


def perceive_pair(model: InstantIRModel, picture: Tensor) -> tuple[Tensor, Tensor]:
    """DINOv2's features of no picture, ``(1, 257, C)``, and of pictures ``(B, 3, H, W)`` in [0, 1]."""
    pixels = dino_pixels(picture)
    with model.at_work(model.dino):
        features = perceive(model.dino, torch.cat([no_picture(pixels), pixels]))
    return features[:1], features[1:]


def prepare(
    model: InstantIRModel,
    z_lq: Tensor,
    features: tuple[Tensor, Tensor],
    prompts: tuple[Conditioning, Conditioning],
    settings: InstantSettings,
) -> InstantDenoiser:
    """A denoiser for one run of the sampler, under the size of the tiles, which is what the networks see at once."""
    height, width = (LATENT_PIXELS * side for side in settings.plan(*z_lq.shape[2:]).window)
    sizes = (height, width, 0, 0, height, width)
    with model.at_work(model.unet, whole=[model.adapter, model.previewer]):
        return build_denoiser(
            model.networks,
            z_lq,
            features,
            (prompts[0].with_sizes(sizes), prompts[1].with_sizes(sizes)),
            settings.sigmas(),
            cfg=settings.cfg,
            control=settings.schedule_of_control,
            adaptive=Adaptive(settings.adaptive),
        )


def sample(denoiser: InstantDenoiser, settings: InstantSettings, report: Report) -> Tensor:
    """Sample the restored latent, shaped as ``denoiser.z_lq``."""
    z_lq = denoiser.z_lq
    start = partial(start_from, z_lq) if settings.start == "picture" or settings.strength < 1 else start_latent
    end_step = denoiser.correction.end_step
    return sample_in_tiles(denoiser, sample_ddpm, start, z_lq, settings.sigmas(), settings, report, end_step)
