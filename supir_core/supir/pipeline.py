"""Picture in, picture out, with SUPIR."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import prod
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
from ..sdxl.memory import upload
from .denoiser import GuidedDenoiser
from .model import SupirModel
from .sampling import published_sampler
from .settings import Settings, preset
from .stage1 import Stage1, encode_stage1


@torch.no_grad()
@restoring
def restore(
    model: SupirModel,
    picture: Any,
    settings: Settings | str = "quality",
    *,
    scale: float = SCALE.default,
    size: tuple[int, int] | None = None,
    caption: str | Sequence[str] = "",
    seed: int | torch.Generator | None = None,
    callback: Callable[[Progress], None] | None = None,
) -> Restored:
    """Restore pictures with SUPIR.

    Args:
        model: from ``load_model``.
        picture: a tensor ``(B, 3 or 4, H, W)``, a numpy array ``(H, W, 3 or 4)`` or a batch of them, uint8 or floats in
            [0, 1], or a Pillow image. A fourth channel is alpha, which is resized and kept. Those of a batch are restored
            one after the other.
        settings: how: a preset by its name, or a ``Settings`` (see ``preset``).
        scale: factor of enlargement, 0.1 to 16.
        size: exact (height, width) of the result in pixels instead.
        caption: what the picture shows; several are one for each tile, row-major.
        seed: of the noise, in place of the settings' own, or a generator that draws one.
        callback: told of progress, with a preview latent after each step; an exception from it stops the work.

    Returns:
        The restored and the stage-1 pictures, of exactly the size asked for, of the kind and on the device of ``picture``;
        with ``same_noise`` the stage-1 picture of the first only.

    Raises:
        ValueError: the picture is not of such a form, there is no such preset, or the number of captions does not fit the
            tiles.
        NotFiniteError: a stage gave values that are not finite.
        MemoryFullError: a memory is full; says at which part, and what to make smaller.
    """
    settings = Settings.require(preset(settings) if isinstance(settings, str) else settings).seeded(seed)
    picture, back = as_tensor(picture)
    canvas = plan_canvas(picture, settings, scale, size, model.min_side)
    captions = as_captions(caption)
    _check_captions(captions, canvas, settings)

    def restore_frame(picture: Tensor, settings: Settings, frame: Frame) -> Restored:
        return restore_one(model, picture, settings, canvas, prompts, frame.report(callback or silent))

    with model.lock:
        prompts = encode_prompts(model.encode_texts, captions, settings.positive, settings.negative)
        restored = restore_each(picture, settings, restore_frame)
    return Restored(*map(back, restored))


def restore_one(
    model: SupirModel,
    picture: Tensor,
    settings: Settings,
    canvas: Canvas,
    prompts: tuple[list[Conditioning], Conditioning],
    report: Report,
) -> Restored:
    """Restore one picture ``(1, 3 or 4, H, W)`` with encoded prompts: one for it, or one for each tile."""
    center = settings.restoration_scale > 0
    report(Progress("encode", 0, 1))
    stage1 = read_stage1(model, canvas.place(upload(picture, model.device)), settings.vae_memory, center)
    report(Progress("encode", 1, 1))
    denoiser = GuidedDenoiser(model.unet, model.adaptor, stage1.z_lq, *prompts, settings.cfg, settings.control)
    networks, pixel = (model.unet, model.adaptor), model.pixel_bytes(2 * settings.tiles_per_call)
    captioned = len(prompts[0]) > 1  # the tiles are those that have a caption each
    if not captioned:
        room = model.residency.room(*networks, least=pixel * SMALLEST_TILE**2)
        settings = fitting_tiles(settings, canvas.latent, room // pixel)
    with model.at_work(*networks, wishes=[pixel * tile_pixels(settings, canvas.latent)]):
        latent = with_smaller_tiles(
            settings,
            canvas.latent,
            lambda tiles: sample(denoiser, stage1.z_center, tiles, report),
            fixed=captioned,
        )
    report(Progress("decode", 0, 1))
    image = require_finite(model.decode(latent, settings.vae_memory), "decoding")
    report(Progress("decode", 1, 1))
    return finish(image, stage1.picture, picture, canvas, settings)


def read_stage1(model: SupirModel, picture: Tensor, memory: int | None, center: bool) -> Stage1:
    """Stage 1 of a picture ``(B, 3, H, W)`` in [0, 1] on the model's device, sides multiples of 64.

    ``memory`` is the VAE's, ``center`` says whether restoration guidance needs the latent of the stage-1 picture.
    """
    encode = partial(model.encode, side=memory)
    read = partial(encode, encoder=model.dr_encoder)
    return encode_stage1(picture, read, partial(model.decode, side=memory), encode if center else None)


def sample(denoiser: GuidedDenoiser, z_center: Tensor | None, settings: Settings, report: Report) -> Tensor:
    """Sample the restored latent, shaped as ``denoiser.z_lq``."""
    sampler = partial(
        published_sampler(settings.sampler, settings.s_churn, settings.s_noise),
        z_center=z_center,
        restoration_scale=settings.restoration_scale,
    )
    z_lq = denoiser.z_lq
    start = start_latent if settings.strength == 1 else partial(start_from, z_lq)
    return sample_in_tiles(denoiser, sampler, start, z_lq, settings.sigmas(), settings, report)


def _check_captions(captions: Sequence[str], canvas: Canvas, settings: Settings) -> None:
    tiles = prod(settings.plan(*canvas.latent).counts(*canvas.latent))
    if len(captions) not in (1, tiles):
        raise ValueError(f"got {len(captions)} captions for {tiles} tiles; give one, or one for each tile, row by row")
