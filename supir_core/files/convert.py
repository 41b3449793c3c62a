"""Pictures as people have them: tensors, numpy arrays and Pillow images in, the same kind out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .decoding.decode import shown
from .decoding.with_pillow import from_memory

SLACK = 0.05
"""How far a float may lie outside of [0, 1], as after bicubic resizing, and still be taken for a picture in [0, 1]."""

ARRAYS = (np.uint8, np.float16, np.float32, np.float64)

Back = Callable[[Tensor], Any]


def as_tensor(picture: Any) -> tuple[Tensor, Back]:
    """A picture as ``(B, 3 or 4, H, W)`` float in [0, 1], and the way back to what it was.

    Args:
        picture: a tensor ``(B, 3 or 4, H, W)``, an array ``(H, W, 3 or 4)`` or ``(B, H, W, 3 or 4)``, each uint8 or float
            in [0, 1], or a Pillow image.

    Returns:
        The tensor, and a function that makes the given kind of a tensor of any size: the same type, precision and device.

    Raises:
        ValueError: it is of another form, not finite, or beyond [0, 1].
    """
    if isinstance(picture, Image.Image):
        if 0 in picture.size:
            raise ValueError(f"expected a picture, got a Pillow image of {picture.size[0]}x{picture.size[1]} pixels")
        return to_tensor(picture), lambda tensor: to_image(tensor[0])
    if isinstance(picture, np.ndarray):
        native = picture.dtype.newbyteorder("=")
        if picture.ndim not in (3, 4) or native not in ARRAYS:
            raise ValueError(
                "expected an array of shape (H, W, 3 or 4) or (B, H, W, 3 or 4), of uint8 or floats in [0, 1], got "
                f"{picture.shape} of {picture.dtype}; convert the picture"
            )
        batch = picture if picture.ndim == 4 else picture[None]
        tensor, back = as_tensor(torch.from_numpy(np.ascontiguousarray(batch, native)).movedim(-1, 1))
        rows = slice(None) if picture.ndim == 4 else 0
        return tensor, lambda result: back(result).movedim(1, -1).numpy()[rows]
    if not isinstance(picture, Tensor):
        raise ValueError(
            f"expected a tensor, a numpy array or a Pillow image, got {type(picture).__name__}; read a file with "
            "read_picture"
        )
    if picture.ndim != 4 or picture.shape[1] not in (3, 4) or 0 in picture.shape:
        raise ValueError(
            f"expected pictures of shape (B, 3 or 4, H, W) in [0, 1], got {tuple(picture.shape)}; "
            "convert to RGB or RGBA and put the channels second (last in an array)"
        )
    if picture.dtype == torch.uint8:
        return picture.float() / 255, lambda tensor: _back(tensor * 255, picture, rounded=True)
    if not picture.is_floating_point():
        raise ValueError(f"expected uint8 or floats in [0, 1], got {picture.dtype}; convert the picture")
    values = picture.float()
    low, high = values.min().item(), values.max().item()
    if not (low >= -SLACK and high <= 1 + SLACK):  # NaN too
        raise ValueError(f"expected values in [0, 1], got {low:g} to {high:g}; scale the picture first")
    return values if low >= 0 and high <= 1 else values.clamp(0, 1), lambda tensor: _back(tensor, picture)


def _back(tensor: Tensor, like: Tensor, rounded: bool = False) -> Tensor:
    return (tensor.round() if rounded else tensor).to(like)


def to_tensor(image: Image.Image) -> Tensor:
    """Any Pillow image as ``(1, 3 or 4, H, W)`` in [0, 1] and in sRGB. It is not turned, whatever its EXIF says."""
    return shown(from_memory(image))


def to_image(picture: Tensor) -> Image.Image:
    """``(3 or 4, H, W)`` in [0, 1] as a Pillow image of 8 bits."""
    return Image.fromarray((picture * 255).round().byte().permute(1, 2, 0).cpu().numpy())
