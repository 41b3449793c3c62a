"""What the nodes share of ComfyUI: its layers and attention, our type of socket, pictures, where files are."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import comfy.ops
import folder_paths
import torch
from comfy.ldm.modules.attention import optimized_attention
from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io
from torch import Tensor

CATEGORY = "SUPIR"
KEY = "supir"
"""Under which wrappers, models and options are registered with ComfyUI."""

FOLDERS = ("model_patches", "checkpoints")
"""Where users keep SUPIR's weights."""

SupirModelType = io.Custom("SUPIR_MODEL")
SupirCaptionerType = io.Custom("SUPIR_CAPTIONER")


def require_comfyui() -> None:
    """Refuse a ComfyUI whose UNet lacks the hooks that the connectors need.

    Raises:
        RuntimeError: it is older than 0.20.0.
    """
    if not hasattr(ModelPatcher, "set_model_middle_block_after_patch"):
        raise RuntimeError("SUPIR's nodes need ComfyUI 0.20.0 or newer; update ComfyUI and restart it")


class Layers:
    """ComfyUI's layers in the form of ``torch.nn``: weights of one type, cast to the input's when they run."""

    def __init__(self, dtype: torch.dtype):
        for kind in ("Linear", "Conv2d", "GroupNorm", "LayerNorm"):
            setattr(self, kind, partial(getattr(comfy.ops.manual_cast, kind), dtype=dtype))


def attention(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """The attention that ComfyUI was started with."""
    return optimized_attention(q, k, v, heads)


def to_picture(image: Tensor) -> Tensor:
    """IMAGE ``(B, H, W, C)`` as ``(B, C, H, W)``.

    Raises:
        ValueError: there is no picture in it.
    """
    if image.ndim != 4 or 0 in image.shape or image.shape[-1] not in (3, 4):
        raise ValueError(
            f"expected pictures of shape (B, H, W, 3 or 4), got {tuple(image.shape)}; connect a node that gives an IMAGE"
        )
    return image.movedim(-1, 1).float()


def to_image(picture: Tensor) -> Tensor:
    """``(B, C, H, W)`` as IMAGE."""
    return picture.movedim(1, -1).contiguous()


def weight_files() -> list[str]:
    """Names of the files in the folders for SUPIR's weights, those named after it first."""
    names = {name for folder in FOLDERS for name in folder_paths.get_filename_list(folder)}
    return sorted(names, key=lambda name: ("supir" not in name.lower(), name.lower()))


def find_weights(name: str) -> Path | None:
    """The file of that name in the first of the folders that has it."""
    found = (folder_paths.get_full_path(folder, name) for folder in FOLDERS)
    return next((Path(path) for path in found if path), None)


def advanced(**given: Any) -> dict[str, Any]:
    """Arguments of an input that is folded away until it is asked for."""
    return {"advanced": True, **given}
