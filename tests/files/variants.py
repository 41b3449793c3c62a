"""Weights as people have them, made of the demo weights, and whether they load."""

import json

import torch
from safetensors.torch import save_file

from supir_core.command.demo import WEIGHTS
from supir_core.files.checkpoint import open_checkpoint
from supir_core.files.kinds import SUPIR
from supir_core.sdxl.model import load_text, load_unet, load_vae, open_vae
from supir_core.sdxl.text import load_tokenizer
from supir_core.supir.model import load_adaptor, load_dr_encoder

CLIP_G, UNET = "conditioner.embedders.1.model.", "model.diffusion_model."
FIRST_STAGE, DR = "first_stage_model.", "first_stage_model.denoise_encoder."


def prefixed(prefix):
    return lambda t: {prefix + key: value for key, value in t.items()}


def renamed(old, new):
    return lambda t: {new + key[len(old) :] if key.startswith(old) else key: value for key, value in t.items()}


def without(prefix):
    return lambda t: {key: value for key, value in t.items() if not key.startswith(prefix)}


def extra(*keys, of=None):
    return lambda t: t | {key: torch.ones(2, 2) if of is None else of.clone() for key in keys}


def linear_attention(t):
    return {key: v[:, :, 0, 0].contiguous() if "attn_1" in key and v.ndim == 4 else v for key, v in t.items()}


def layer_projection(t):
    """As converters write it: the weight of a layer, (out, in)."""
    rest = dict(t)
    rest[CLIP_G + "text_projection.weight"] = rest.pop(CLIP_G + "text_projection").T.contiguous()
    return rest


def quantised(old_names):
    """Eight bits and a scale, for matrices; the weights are such that nothing is lost."""

    def change(t):
        result = dict(t)
        for key, value in t.items():
            if key.startswith((UNET, "model.control_model.")) and key.endswith(".weight") and value.ndim > 1:
                stem = key.removesuffix("weight")
                result[key] = (value.float() / 0.25).to(torch.float8_e4m3fn)
                result[stem + ("scale_weight" if old_names else "weight_scale")] = torch.tensor(0.25)
                if old_names:
                    result[stem + "scale_input"] = torch.tensor(1.0)
                else:
                    marked = json.dumps({"format": "float8_e4m3fn"}).encode()
                    result[stem + "comfy_quant"] = torch.tensor(list(marked), dtype=torch.uint8)
        if old_names:
            result[UNET + "scaled_fp8"] = torch.zeros(2, dtype=torch.float8_e4m3fn)
        return result

    return change


def representable(t):
    """Weights that eight bits hold exactly under a scale of a quarter."""
    change = (UNET, "model.control_model.")
    return {
        key: (v.float() / 0.25).to(torch.float8_e4m3fn).float().mul(0.25).half()
        if key.startswith(change) and key.endswith(".weight") and v.ndim > 1
        else v
        for key, v in t.items()
    }


def loaded(path, kind, vae=None):
    """All the weights that are built of a file."""
    checkpoint = open_checkpoint(path, kind)
    if kind == SUPIR:
        modules = [load_adaptor(checkpoint), load_dr_encoder(checkpoint)]
    else:
        text = load_text(checkpoint, load_tokenizer(WEIGHTS / "tokenizer"))
        modules = [load_unet(checkpoint), load_vae(open_vae(vae, checkpoint)), text]
    return [tensor for module in modules for tensor in module.state_dict().values()]


def assert_equal(path, kind, expected, tmp_path, vae=None):
    save_file({k: v.contiguous() for k, v in expected.items()}, tmp_path / "expected.safetensors")
    pairs = zip(loaded(path, kind, vae), loaded(tmp_path / "expected.safetensors", kind), strict=True)
    assert all(torch.equal(ours, theirs) for ours, theirs in pairs)


def under(t, prefix):
    return {key[len(prefix) :]: value for key, value in t.items() if key.startswith(prefix)}


def changed(key, make):
    return lambda t: t | {key: make(t[key])}


def tail_of_zeros(t):
    """As a download leaves that broke off in a file of full length."""
    keys = sorted(t)
    return {key: torch.zeros_like(t[key]) if i > len(keys) // 2 else t[key] for i, key in enumerate(keys)}


def half_of_zeros(value):
    value = value.clone()
    value[len(value) // 2 :] = 0
    return value


def one_nan(value):
    value = value.clone()
    value.view(-1)[value.numel() // 2] = float("nan")
    return value
