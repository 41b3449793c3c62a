"""Picture in, picture out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .colorfix import fix_color
from .conditioning import Conditioning, full_prompt
from .config import LATENT_PIXELS
from .denoiser import Denoiser, GuidedDenoiser
from .model import SdxlModel, SupirModel
from .sampling import (
    Callback,
    sample_restore_dpmpp_2m_sde,
    sample_restore_edm,
    schedule,
    seeded_noise,
    start_latent,
)
from .settings import PRESETS, SIDE_MULTIPLE, Common, Settings
from .tiling import TileableDenoiser, count_calls, tile_denoiser, tile_grid
from .vae import from_unit, to_unit


class Progress(NamedTuple):
    """Where a restoration stands: ``done`` of ``total`` network calls in ``stage``; ``preview`` after each step."""

    stage: str
    done: int
    total: int
    preview: Tensor | None = None


class Restored(NamedTuple):
    """Both pictures ``(B, 3 or 4, H, W)`` in [0, 1]: the result, and what it began from.

    With SUPIR that is what the degradation-robust VAE makes alone, with InstantIR the damaged picture, enlarged.
    """

    image: Tensor
    stage1: Tensor


class Canvas(NamedTuple):
    """How a picture is laid out for work: enlarged to ``inner``, padded to ``outer``; each (height, width)."""

    target: tuple[int, int]
    inner: tuple[int, int]
    outer: tuple[int, int]

    @classmethod
    def plan(cls, target: tuple[int, int], min_side: int) -> Canvas:
        """Enlarge until the short side has ``min_side`` pixels, then round both sides up to 64."""
        factor = max(1.0, min_side / min(target))
        inner = tuple(round(side * factor) for side in target)
        outer = tuple(-(-side // SIDE_MULTIPLE) * SIDE_MULTIPLE for side in inner)
        return cls(target, inner, outer)  # type: ignore[arg-type]

    def place(self, image: Tensor) -> Tensor:
        """Resize a picture and repeat its border into the padding."""
        image = resize(image, self.inner)
        bottom, right = (outer - inner for outer, inner in zip(self.outer, self.inner, strict=True))
        return F.pad(image, (0, right, 0, bottom), mode="replicate")

    def take(self, image: Tensor) -> Tensor:
        """Cut the padding off and resize to the target."""
        return resize(image[:, :, : self.inner[0], : self.inner[1]], self.target)


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


def plan_canvas(
    model: SdxlModel, picture: Tensor, settings: Common, scale: float, size: tuple[int, int] | None
) -> Canvas:
    """Lay out pictures; arguments as in :func:`restore`.

    Raises:
        ValueError: the picture is not of the form expected, or the scale is not above 0.
    """
    _check_picture(picture)
    target = target_size(picture, scale, size)
    return Canvas.plan(target, model.min_side if settings.min_side is None else settings.min_side)


def finish(image: Tensor, start: Tensor, picture: Tensor, canvas: Canvas, settings: Common) -> Restored:
    """Fix the colours of ``image`` by ``start``, cut both to the target and give them the alpha of ``picture``."""
    image = fix_color(image, start, settings.color_fix, settings.color_strength).clamp_(0, 1)
    alpha = resize(picture[:, 3:].to(image), canvas.target)
    return Restored(*(torch.cat([canvas.take(part), alpha], dim=1) for part in (image, start)))


def target_size(picture: Tensor, scale: float, size: tuple[int, int] | None = None) -> tuple[int, int]:
    """(height, width) of the result: ``size``, else the picture's times ``scale``.

    Raises:
        ValueError: the scale is not above 0.
    """
    if scale <= 0:
        raise ValueError(f"scale must be above 0, got {scale}")
    height, width = (max(1, round(side * scale)) for side in picture.shape[2:])
    return size or (height, width)


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


def encode_prompts(
    model: SdxlModel, captions: Sequence[str], quality: str, negative: str
) -> tuple[list[Conditioning], Conditioning]:
    """Encode the captions with the quality words, and the negative prompt: positives, negative."""
    texts = [full_prompt(caption, quality) for caption in captions]
    with model.at_work(model.text):
        encoded = model.text.encode([*texts, negative])
    rows = [
        Conditioning(context[None], vector[None])
        for context, vector in zip(encoded.context, encoded.vector, strict=True)
    ]
    return rows[:-1], rows[-1]


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


def in_tiles(
    denoiser: TileableDenoiser,
    z_lq: Tensor,
    sigmas: Tensor,
    settings: Common,
    report: Callable[[Progress], None],
) -> tuple[Denoiser, Callback]:
    """A denoiser in the tiles that the settings ask for, and a sampler's callback, which both report their progress."""
    window, overlap = settings.latent_tile
    grid = {"shifting": settings.shifting, "tiles_per_call": settings.tiles_per_call}
    height, width = z_lq.shape[2:]
    total = count_calls((height, width), window, overlap, sigmas[:-1].tolist(), **grid)
    done = 0

    def on_tile() -> None:
        nonlocal done
        report(Progress("sample", done, total))
        done += 1

    def on_step(step: int, denoised: Tensor) -> None:
        report(Progress("sample", done, total, denoised))

    tiled = tile_denoiser(denoiser, window, overlap, blend=settings.blend, on_tile=on_tile, **grid)
    return tiled, on_step


def resize(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Bicubic, with antialiasing when shrinking; [0, 1] stays within."""
    if tuple(image.shape[2:]) == tuple(size) or not image.shape[1]:
        return image if image.shape[1] else image.new_zeros(len(image), 0, *size)
    return F.interpolate(image, size=size, mode="bicubic", antialias=True).clamp_(0, 1)


def _check_picture(picture: Tensor) -> None:
    if picture.ndim != 4 or picture.shape[1] not in (3, 4) or 0 in picture.shape:
        raise ValueError(
            f"expected pictures of shape (B, 3 or 4, H, W) in [0, 1], got {tuple(picture.shape)}; "
            "convert to RGB or RGBA and put the channels second"
        )


def _check_captions(captions: Sequence[str], canvas: Canvas, settings: Settings) -> None:
    height, width = (side // LATENT_PIXELS for side in canvas.outer)
    tiles = len(tile_grid(height, width, *settings.latent_tile))
    if len(captions) not in (1, tiles):
        raise ValueError(
            f"got {len(captions)} captions for {tiles} tiles; give one, or one for each tile, row by row"
        )
