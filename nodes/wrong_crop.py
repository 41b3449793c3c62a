"""A latent that is not of the picture that z_lq is of: what nodes that sample crops give."""

from __future__ import annotations

from typing import Any

from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from .notices import warn
from .wrappers import replace_wrappers

LIKE = 0.35
"""Least correlation of a latent with z_lq that is of the same picture.

Measured with the demo weights on 14 pictures, each under three kinds of damage: 0.56 and more for the damaged picture, stage 1,
the result and the undamaged picture; for crops of it 0.27 and less, but for 1 in 20, which lie over much of themselves.
"""


def warn_of_crops(model: ModelPatcher, key: str, z_lq: Tensor, remedy: str) -> None:
    """Have a model warn, once a sampling, where a latent is neither empty nor like z_lq; both as ComfyUI has them.

    Args:
        model: is changed.
        key: of the method.
        z_lq: ``(B, 4, h, w)``.
        remedy: which node to give the crop to.
    """

    def wrapper(executor: Any, noise: Tensor, latent: Tensor, *rest: Any, **more: Any) -> Tensor:
        if noise.any():  # else the latent has noise in it, and goes on from another sampling
            _, _, mask, *_ = (*rest, None, None, None)
            found = likeness(latent, z_lq, more.get("denoise_mask", mask))
            if found < LIKE:
                warn(_text(found, remedy))
        return executor(noise, latent, *rest, **more)

    replace_wrappers(model, f"{key}_crop", {WrappersMP.OUTER_SAMPLE: wrapper})


def likeness(latent: Tensor, z_lq: Tensor, mask: Tensor | None = None) -> float:
    """Least correlation of a row of a latent with that of z_lq, without the channels' means; 1 where there is nothing to compare.

    Args:
        latent: to be sampled; where it is empty it is not compared.
        z_lq: 1 row or as many. Of another size it is not compared: that is an error of its own.
        mask: 1 where the latent is sampled anew; what is kept is compared, if there is any.
    """
    if latent.shape[1:] != z_lq.shape[1:] or len(z_lq) not in (1, len(latent)):
        return 1.0
    latent, z_lq = latent.float().cpu(), z_lq.float().cpu().expand(len(latent), -1, -1, -1)
    compared = latent.ne(0).any(1, keepdim=True)
    if mask is not None and (kept := compared & mask.cpu().lt(1).all(1, keepdim=True)).any():
        compared = kept
    return min(
        _correlation(*(t[:, where] for t in pair)) for *pair, where in zip(latent, z_lq, compared[:, 0], strict=True)
    )


def _correlation(one: Tensor, other: Tensor) -> float:
    """Of two samples ``(channels, N)``."""
    one, other = (some - some.mean(1, keepdim=True) for some in (one, other))
    scale = one.norm() * other.norm()
    return ((one * other).sum() / scale).item() if scale else 1.0


def _text(found: float, remedy: str) -> str:
    return (
        f"the latent to be sampled is neither empty nor like z_lq (correlation {found:.2f}; a latent of the same picture has "
        f"{LIKE} and more): the whole picture would be restored into it. Detailers such as FaceDetailer, Ultimate SD Upscale, "
        "and inpaint crop and stitch sample crops, which z_lq does not know of. Crop the picture first, give the crop to "
        f"{remedy}, and paste the result back; for large pictures use SUPIR Tiles"
    )
