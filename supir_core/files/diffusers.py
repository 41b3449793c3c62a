"""Models in diffusers' layout: which files a folder holds, and what their tensors are called in a single-file checkpoint."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from .errors import UnsupportedCheckpointError

RESBLOCK = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
"""Layers of a residual block of the UNet: the single file's, diffusers'."""

TOP = {
    "input_blocks.0.0": "conv_in",
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "label_emb.0.0": "add_embedding.linear_1",
    "label_emb.0.2": "add_embedding.linear_2",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
}
"""Layers of the UNet outside of its blocks: the single file's, diffusers'."""

VAE_NAMES = (
    (r"\bdown_blocks\.(\d+)\.resnets\.(\d+)\.", r"down.\1.block.\2."),
    (r"\bdown_blocks\.(\d+)\.downsamplers\.0\.", r"down.\1.downsample."),
    (r"\bup_blocks\.(\d+)\.resnets\.(\d+)\.", lambda m: f"up.{3 - int(m[1])}.block.{m[2]}."),
    (r"\bup_blocks\.(\d+)\.upsamplers\.0\.", lambda m: f"up.{3 - int(m[1])}.upsample."),
    (r"\bmid_block\.resnets\.(\d)\.", lambda m: f"mid.block_{int(m[1]) + 1}."),
    (r"\bmid_block\.attentions\.0\.", "mid.attn_1."),
    (r"\battn_1\.group_norm\.", "attn_1.norm."),
    (r"\battn_1\.(to_)?([qkv])(uery|ey|alue)?\.", r"attn_1.\2."),
    (r"\battn_1\.(to_out\.0|proj_attn)\.", "attn_1.proj_out."),
    (r"\bconv_norm_out\.", "norm_out."),
    (r"\bconv_shortcut\.", "nin_shortcut."),
)
"""Of a VAE of four levels, as SDXL's: diffusers' names, older ones of the attention too; those of single files are left alone."""

BIGG_NAMES = (
    (r"^(text_model\.)?embeddings\.token_embedding\.", "token_embedding."),
    (r"^(text_model\.)?embeddings\.position_embedding\.weight$", "positional_embedding"),
    (r"^(text_model\.)?final_layer_norm\.", "ln_final."),
    (r"^(text_model\.)?encoder\.layers\.", "transformer.resblocks."),
    (r"\.self_attn\.[qkv]_proj\.(weight|bias)$", r".attn.in_proj_\1"),
    (r"\.self_attn\.", ".attn."),
    (r"\.layer_norm(\d)\.", r".ln_\1."),
    (r"\.mlp\.fc1\.", ".mlp.c_fc."),
    (r"\.mlp\.fc2\.", ".mlp.c_proj."),
)
"""Of the second text encoder: transformers' names, OpenCLIP's. Query, key and value get one name, as they are one tensor there."""

UNET, AUTOENCODER, FIRST_TEXT, SECOND_TEXT = "unet", "vae", "text_encoder", "text_encoder_2"
REQUIRED = (UNET, FIRST_TEXT, SECOND_TEXT)
PREFIXES = {
    UNET: "model.diffusion_model.",
    AUTOENCODER: "first_stage_model.",
    FIRST_TEXT: "conditioner.embedders.0.transformer.",
    SECOND_TEXT: "conditioner.embedders.1.model.",
}
"""The folders of a model, and where a single file has what is in them."""

_WEIGHTS = re.compile(r"(diffusion_pytorch_model|pytorch_model|model)\b.*\.(safetensors|bin)")
_SHARD = re.compile(r"-\d+-of-\d+\.")


def is_diffusers(path: Path) -> bool:
    """Whether this is a folder that holds a model in diffusers' layout."""
    return (path / UNET).is_dir()


def part_files(folder: Path) -> dict[str, list[Path]]:
    """The files with the weights of each part of a model, those in full precision before others, safetensors before pickles.

    Raises:
        UnsupportedCheckpointError: a part is missing, or the model does not predict noise.
    """
    found = {part: _weights_in(folder / part) for part in PREFIXES}
    missing = [part for part in REQUIRED if not found[part]]
    if missing:
        raise UnsupportedCheckpointError(
            f"{folder.name}: a model in diffusers' layout without weights in {', '.join(missing)}; expected "
            f"{', '.join(PREFIXES)} with a .safetensors or .bin file each. Download the folders that are missing"
        )
    scheduler = folder / "scheduler" / "scheduler_config.json"
    predicts = _entry(scheduler, "prediction_type") if scheduler.is_file() else None
    if predicts not in (None, "epsilon"):
        raise UnsupportedCheckpointError(
            f"{folder.name}: a model that predicts {predicts} (scheduler/scheduler_config.json), where SUPIR and InstantIR need "
            "one that predicts noise (epsilon), such as sd_xl_base_1.0"
        )
    return found


def _weights_in(folder: Path) -> list[Path]:
    """One whole file, or all the shards that an index lists."""
    names = sorted(
        (path for path in folder.glob("*") if _WEIGHTS.fullmatch(path.name)), key=lambda p: (len(p.name), p.name)
    )
    for suffix in (".safetensors", ".bin"):
        some = [path for path in names if path.suffix == suffix]
        whole = [path for path in some if not _SHARD.search(path.name)]
        if whole:
            return whole[:1]
        index = sorted(folder.glob(f"*{suffix}.index*.json"), key=lambda path: len(path.name))
        if some and index:
            return _shards(index[0])
    return []


def _entry(file: Path, key: str) -> Any:
    try:
        return json.loads(file.read_bytes()).get(key)
    except (ValueError, AttributeError) as error:
        raise UnsupportedCheckpointError(f"{file}: expected JSON with a {key}; download it again") from error


def _shards(index: Path) -> list[Path]:
    try:
        names = sorted(set(_entry(index, "weight_map").values()))
        return [index.with_name(Path(name).name) for name in names]
    except (ValueError, TypeError, AttributeError) as error:
        raise UnsupportedCheckpointError(
            f"{index}: expected an index of shards with a weight_map; download it again"
        ) from error


def single_file_name(part: str, key: str, keys: Collection[str]) -> str:
    """The name in a single-file checkpoint of ``key``, one of the ``keys`` of a part."""
    match part:
        case "unet":
            key = unet_name(key, keys)
        case "vae":
            key = vae_name(key)
        case "text_encoder":
            key = "text_model." + key.removeprefix("text_model.")
        case _:
            key = _replaced(key, BIGG_NAMES)
    return PREFIXES[part] + key


def query_key_value(key: str) -> int:
    """By which to sort so that query, key and value of an attention come in this order."""
    place = re.search(r"\.([qkv])_proj\.", key)
    return "qkv".index(place[1]) if place else 0


def unet_name(key: str, keys: Collection[str]) -> str:
    """Of a tensor of the UNet; three places a level, of which the last also resamples, beside the attention if it has one."""
    block = re.match(r"(down|mid|up)_block(?:s\.(\d+))?\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.", key)
    if not block:
        return beginning_replaced(key, {theirs: ours for ours, theirs in TOP.items()})
    half, level, kind, place = block[1], int(block[2] or 0), block[3], int(block[4])
    rest = beginning_replaced(key[block.end() :], {theirs: ours for ours, theirs in RESBLOCK.items()})
    if half == "mid":
        return f"middle_block.{1 if kind == 'attentions' else 2 * place}.{rest}"
    if kind == "downsamplers":
        return f"input_blocks.{3 * level + 3}.0.op{rest.removeprefix('conv')}"
    if kind == "upsamplers":
        attended = any(other.startswith(f"up_blocks.{level}.attentions.2.") for other in keys)
        return f"output_blocks.{3 * level + 2}.{1 + attended}.{rest}"
    blocks, number = ("input_blocks", 3 * level + place + 1) if half == "down" else ("output_blocks", 3 * level + place)
    return f"{blocks}.{number}.{int(kind == 'attentions')}.{rest}"


def vae_name(key: str) -> str:
    """Of a tensor of the VAE, in either layout."""
    return _replaced(key, VAE_NAMES)


def _replaced(key: str, names: Collection) -> str:
    for pattern, name in names:
        key = re.sub(pattern, name, key)
    return key


def beginning_replaced(path: str, names: Mapping[str, str]) -> str:
    """``path`` with its beginning by another name, where it has one."""
    for old, new in names.items():
        if path == old or path.startswith(f"{old}."):
            return new + path[len(old) :]
    return path
