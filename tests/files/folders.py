"""A folder in the layout of diffusers, made of the demo weights."""

import json
import re

import torch
from safetensors.torch import save_file

from supir_core.instantir.keys import diffusers_path

from .variants import CLIP_G, FIRST_STAGE, UNET, under


def diffusers_vae(vae):
    """The VAE's names as diffusers has them, with its attention as layers."""
    names = (
        ("decoder.mid.block_", "decoder.mid_block.resnets."),
        ("encoder.mid.block_", "encoder.mid_block.resnets."),
        ("mid.attn_1.", "mid_block.attentions.0."),
        ("norm_out", "conv_norm_out"),
        ("nin_shortcut", "conv_shortcut"),
    )
    result = {}
    for key, value in vae.items():
        for old, new in names:
            key = key.replace(old, new)
        key = re.sub(r"resnets\.(\d)", lambda m: f"resnets.{int(m[1]) - 1}", key)
        key = re.sub(r"down\.(\d)\.block\.", r"down_blocks.\1.resnets.", key)
        key = re.sub(r"down\.(\d)\.downsample\.", r"down_blocks.\1.downsamplers.0.", key)
        key = re.sub(r"up\.(\d)\.block\.", lambda m: f"up_blocks.{3 - int(m[1])}.resnets.", key)
        key = re.sub(r"up\.(\d)\.upsample\.", lambda m: f"up_blocks.{3 - int(m[1])}.upsamplers.0.", key)
        if "attentions" in key:
            for old, new in (("0.norm", "0.group_norm"), ("0.proj_out", "0.to_out.0")):
                key = key.replace(old, new)
            key = re.sub(r"\.0\.([qkv])\.", r".0.to_\1.", key)
            value = value[:, :, 0, 0].contiguous() if value.ndim == 4 else value
        result[key] = value
    return result


def transformers_text(t):
    """OpenCLIP's encoder as transformers has it."""
    names = (
        (r"^token_embedding\.", "text_model.embeddings.token_embedding."),
        (r"^positional_embedding$", "text_model.embeddings.position_embedding.weight"),
        (r"^ln_final\.", "text_model.final_layer_norm."),
        (r"^transformer\.resblocks\.", "text_model.encoder.layers."),
        (r"\.attn\.", ".self_attn."),
        (r"\.ln_(\d)\.", r".layer_norm\1."),
        (r"\.c_fc\.", ".fc1."),
        (r"\.c_proj\.", ".fc2."),
    )
    result = {}
    for key, value in t.items():
        if key == "text_projection":
            result["text_projection.weight"] = value.T.contiguous()
        elif "in_proj" in key:
            for part, piece in zip("qkv", value.chunk(3), strict=True):
                new = re.sub(r"attn\.in_proj_", f"self_attn.{part}_proj.", key)
                result[new.replace("transformer.resblocks", "text_model.encoder.layers")] = piece.contiguous()
        elif key != "logit_scale":
            for old, new in names:
                key = re.sub(old, new, key)
            result[key] = value
    return result


def unet_names(t):
    named = {diffusers_path(key): value for key, value in t.items()}
    assert "conv_norm_out.weight" in named
    return named


def diffusers_folder(sdxl, folder, form="safetensors"):
    parts = {
        "unet/diffusion_pytorch_model": unet_names(under(sdxl, UNET)),
        "vae/diffusion_pytorch_model": diffusers_vae(under(sdxl, FIRST_STAGE)),
        "text_encoder/model": under(sdxl, "conditioner.embedders.0.transformer."),
        "text_encoder_2/model": transformers_text(under(sdxl, CLIP_G)),
    }
    for name, tensors in parts.items():
        path = folder / name
        path.parent.mkdir(parents=True)
        if form == "bin":
            torch.save(
                tensors,
                path.with_name(
                    path.name.replace("model", "pytorch_model", 1).replace("pytorch_pytorch", "pytorch") + ".bin"
                ),
            )
        elif form == "shards" and "unet" in name:
            shards = [f"{path.name}-0000{i}-of-00002.safetensors" for i in (1, 2)]
            keys = sorted(tensors)
            halves = [keys[: len(keys) // 2], keys[len(keys) // 2 :]]
            for shard, some in zip(shards, halves, strict=True):
                save_file({key: tensors[key] for key in some}, path.with_name(shard))
            index = {key: shard for shard, some in zip(shards, halves, strict=True) for key in some}
            path.with_name(path.name + ".safetensors.index.json").write_text(json.dumps({"weight_map": index}))
        else:
            save_file(tensors, path.with_name(path.name + (".fp16" if form == "fp16" else "") + ".safetensors"))
    (folder / "text_encoder" / "openvino_model.bin").write_bytes(b"of another program")
    return folder
