"""From the names of the published files to ours: a few rules for diffusers' layout."""

from __future__ import annotations

import re

from ..files.diffusers import RESBLOCK, TOP, beginning_replaced
from ..sdxl.config import UNetConfig
from .image_attention import adapter_site

RESAMPLER = "encoder_hid_proj.image_projection_layers.0"

LORA_ENDS = {True: ("lora.down", "lora.up"), False: ("lora_A", "lora_B")}
"""How the released LoRA calls both halves of a branch: of attention layers, and of others."""


def diffusers_path(path: str) -> str:
    """The name in diffusers' layout of a module of an SDXL UNet, or of a weight; other names stay.

    Input block i is place (i - 1) % 3 of level (i - 1) // 3, output block i place i % 3 of level i // 3; the last place
    of a level of the encoder halves the picture, the last one of the decoder doubles it.
    """
    if (top := beginning_replaced(path, TOP)) != path:
        return top
    if block := re.match(r"middle_block\.([012])\.", path):
        index = int(block[1])
        part = "attentions.0" if index == 1 else f"resnets.{index // 2}"
        return f"mid_block.{part}.{beginning_replaced(path[block.end() :], RESBLOCK)}"
    block = re.match(r"(input|output)_blocks\.(\d+)\.(\d+)\.", path)
    if not block:
        return path
    kind, number, index, rest = block[1], int(block[2]), int(block[3]), path[block.end() :]
    level, place = divmod(number - 1 if kind == "input" else number, 3)
    half = "down_blocks" if kind == "input" else "up_blocks"
    if resampling := re.match(r"(op|conv)\b", rest):
        part = "downsamplers" if kind == "input" else "upsamplers"
        return f"{half}.{level}.{part}.0.conv{rest[resampling.end() :]}"
    part = "attentions" if index else "resnets"
    return f"{half}.{level}.{part}.{place}.{beginning_replaced(rest, RESBLOCK)}"


def lora_name(key: str, config: UNetConfig) -> str:
    """The name in the LoRA file, aliases aside, of one of our branches' weights: ``unet.PATH`` or ``adapter.PATH``."""
    network, _, path = key.partition(".")
    if network == "unet":
        return f"unet.{diffusers_path(path)}"
    part, _, rest = path.partition(".")
    if part == "image_proj":
        return f"unet.{RESAMPLER}.{rest}"
    index, _, layer = rest.partition(".")
    return f"unet.{diffusers_path(adapter_site(int(index), config).path)}.{layer}"


def released_lora_name(key: str, config: UNetConfig) -> str:
    """The key in the released LoRA file of one of our branches' weights."""
    stem, half, _ = lora_name(key, config).rsplit(".", 2)
    ends = LORA_ENDS[stem.endswith(("to_q", "to_k", "to_v", "to_out.0"))]
    return f"{stem}.{ends[half == 'up']}.weight"
