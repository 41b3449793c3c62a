"""What the nodes share of ComfyUI: its layers and attention, our type of socket, pictures, where files are."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from os.path import splitext
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.model_patcher
import comfy.ops
import folder_paths
import torch
from comfy.ldm.modules.attention import optimized_attention
from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io
from torch import Tensor, nn

CATEGORY = "SUPIR"
KEY = "supir"
"""Under which wrappers, models and options are registered with ComfyUI."""

FOLDERS = ("model_patches", "checkpoints")
"""Where users keep the weights of both methods."""

SupirModelType = io.Custom("SUPIR_MODEL")
SupirCaptionerType = io.Custom("SUPIR_CAPTIONER")
SupirTileCaptionsType = io.Custom("SUPIR_TILE_CAPTIONS")


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
    """IMAGE ``(B, H, W, C)`` as ``(B, C, H, W)``; a grey one, of one channel, gets three.

    Raises:
        ValueError: there is no picture in it, or values that are no numbers.
    """
    if image.ndim != 4 or 0 in image.shape or image.shape[-1] not in (1, 3, 4):
        raise ValueError(
            f"expected pictures of shape (B, H, W, 1, 3 or 4), got {tuple(image.shape)}; connect a node that gives an IMAGE"
        )
    picture = image.movedim(-1, 1).float()
    if not torch.isfinite(picture.sum()):  # one that is not makes the sum so
        raise ValueError(
            "the picture that came in has values that are no numbers (NaN or infinite). Look at the node before this one: "
            "networks in float16 give such pictures, so start ComfyUI with --bf16-unet and --fp32-vae"
        )
    return picture.expand(-1, 3, -1, -1) if picture.shape[1] == 1 else picture


def to_masks(mask: Tensor) -> Tensor:
    """MASK ``(M, H, W)``, also one without M or with more before it, as ComfyUI's own nodes take it.

    Raises:
        ValueError: there are values that are no numbers.
    """
    if not torch.isfinite(mask.sum(dtype=torch.float32)):
        raise ValueError("the mask has values that are no numbers (NaN or infinite); look at the node that made it")
    return mask.reshape(-1, *mask.shape[-2:])


def to_image(picture: Tensor) -> Tensor:
    """``(B, C, H, W)`` as IMAGE."""
    return picture.movedim(1, -1).contiguous()


def weight_files(word: str) -> list[str]:
    """Names of the files in the folders for weights, those with a word in their name first."""
    names = {name for folder in FOLDERS for name in folder_paths.get_filename_list(folder)}
    return sorted(names, key=lambda name: (word not in name.lower(), name.lower()))


def find_weights(name: str, what: str) -> Path:
    """The file of that name in the first of the folders that has it; ``what`` it should be, for the error.

    Else one whose name differs in its ending only: browsers keep the ending that a file has on the hub.

    Raises:
        FileNotFoundError: it is in none of them.
    """
    name = str(name)  # any node may be linked to it
    stem = splitext(name)[0]
    names = [name, *(other for other in weight_files("") if splitext(other)[0] == stem)]
    found = (folder_paths.get_full_path(folder, name) for name in names for folder in FOLDERS)
    path = next((path for path in found if path), None)
    if path is None:
        raise FileNotFoundError(
            f'"{name}" is not there. Put {what} into models/{FOLDERS[0]} or models/{FOLDERS[1]}, press R to refresh, and '
            "choose it"
        )
    return Path(path)


def missing_weights(files: Iterable[tuple[str | None, str]]) -> bool | str:
    """What ``validate_inputs`` says of files and what each should be: the first that is not there, else True.

    What comes through a link is not known yet, and is None.
    """
    try:
        for name, what in files:
            if name is not None:
                find_weights(name, what)
    except FileNotFoundError as error:
        return str(error)
    return True


def managed(module: nn.Module, load: Callable[..., ModelPatcher], *given: Any, disable_dynamic: bool) -> ModelPatcher:
    """A network as ComfyUI manages models.

    Args:
        module: the network.
        load: what ComfyUI calls where it needs another copy, with ``given`` and ``disable_dynamic``.
        given: its arguments.
        disable_dynamic: whether ComfyUI asked for a patcher that does not load weights one by one.
    """
    # looked up at every call: ComfyUI decides at its start which class it is
    manager = ModelPatcher if disable_dynamic else comfy.model_patcher.CoreModelPatcher
    patcher = manager(
        module,
        load_device=comfy.model_management.get_torch_device(),
        offload_device=comfy.model_management.unet_offload_device(),
    )
    patcher.cached_patcher_init = (load, given)
    return patcher
