"""Checkpoints as people have them, which load with equal weights."""

import logging
import re

import pytest
import torch
from safetensors.torch import save_file

from supir_core.command import cli
from supir_core.command.demo import WEIGHTS
from supir_core.files.checkpoint import open_checkpoint
from supir_core.files.kinds import SDXL, SUPIR, VAE
from supir_core.sdxl.model import load_vae, open_vae

from .folders import diffusers_vae
from .variants import (
    CLIP_G,
    DR,
    FIRST_STAGE,
    UNET,
    assert_equal,
    extra,
    layer_projection,
    linear_attention,
    prefixed,
    quantised,
    renamed,
    representable,
    under,
    without,
)

LOADS = {
    "module prefix": (SUPIR, prefixed("module.")),
    "model.model prefix": (SUPIR, lambda t: {re.sub(r"^model\.", "model.model.", key): v for key, v in t.items()}),
    "compiled": (SUPIR, prefixed("_orig_mod.")),
    "module prefix of SDXL": (SDXL, prefixed("module.")),
    "a second encoder": (
        SUPIR,
        lambda t: t | renamed(DR, FIRST_STAGE + "denoise_encoder_s1.")({k: v.clone() for k, v in t.items()}),
    ),
    "mask_LQ": (SUPIR, extra("model.control_model.mask_LQ")),
    "SUPIR with a discriminator": (SUPIR, extra("first_stage_model.loss.discriminator.main.0.weight")),
    "SUPIR's VAE attention as layers": (SUPIR, linear_attention),
    "discriminator": (
        SDXL,
        extra("first_stage_model.loss.discriminator.main.0.weight", "first_stage_model.loss.logvar"),
    ),
    "averaged weights": (
        SDXL,
        extra("model_ema.decay", "model_ema.num_updates", "model_ema.diffusion_modelout0weight"),
    ),
    "attention mask": (SDXL, extra(CLIP_G + "attn_mask")),
    "position ids": (
        SDXL,
        extra("conditioner.embedders.0.transformer.text_model.embeddings.position_ids", of=torch.arange(77)[None]),
    ),
    "leftover of a LoRA": (
        SDXL,
        extra("lora_unet_down_blocks_1_attentions_0_proj_in.lora_down.weight", UNET + "lora_up.weight"),
    ),
    "conditioner's extras": (SDXL, extra("conditioner.embedders.2.x", CLIP_G + "visual.conv1.weight")),
    "noise schedule": (SDXL, extra("betas", "alphas_cumprod", "denoiser.sigmas", of=torch.arange(9))),
    "UNet of bare names": (SDXL, renamed(UNET, "")),
    "UNet under diffusion_model": (SDXL, renamed(UNET, "diffusion_model.")),
    "VAE's attention as layers": (SDXL, linear_attention),
    "projection of converters": (SDXL, layer_projection),
}


@pytest.mark.parametrize("variant", LOADS)
def test_it_loads_with_equal_weights(variant, sdxl, supir, tmp_path):
    kind, change = LOADS[variant]
    plain = supir if kind == SUPIR else sdxl
    save_file(change(plain), tmp_path / "variant.safetensors")
    assert_equal(tmp_path / "variant.safetensors", kind, plain, tmp_path)


@pytest.mark.parametrize("kind", [SDXL, SUPIR])
def test_both_in_one_file_serve_as_either(kind, sdxl, supir, tmp_path):
    save_file(sdxl | supir, tmp_path / "both.safetensors")
    assert_equal(tmp_path / "both.safetensors", kind, sdxl if kind == SDXL else supir, tmp_path)


@pytest.mark.parametrize("kind", [SDXL, SUPIR])
@pytest.mark.parametrize("old_names", [True, False])
def test_scaled_weights_of_eight_bits_are_dequantised(kind, old_names, sdxl, supir, tmp_path):
    plain = representable(supir if kind == SUPIR else sdxl)
    save_file(quantised(old_names)(plain), tmp_path / "fp8.safetensors")
    assert_equal(tmp_path / "fp8.safetensors", kind, plain, tmp_path)


def test_what_is_not_used_is_named_in_one_line(sdxl, tmp_path, caplog):
    keys = ("model_ema.a", "model_ema.b", "first_stage_model.loss.logvar", "lora_te1_x.alpha", CLIP_G + "logit_scale")
    save_file(extra(*keys)(sdxl), tmp_path / "more.safetensors")
    with caplog.at_level(logging.WARNING):
        open_checkpoint(tmp_path / "more.safetensors", SDXL)
    (line,) = caplog.messages
    assert line.endswith("left alone: first_stage_model.loss (1), lora (1), model_ema (2)")


def test_the_demo_files_have_nothing_to_tell(caplog):
    with caplog.at_level(logging.WARNING):
        open_checkpoint(WEIGHTS / "demo_sdxl.safetensors", SDXL)
    assert not caplog.messages


@pytest.mark.parametrize("form", ["VAE", "checkpoint", "diffusers"])
def test_a_vae_of_its_own_serves(form, sdxl, tmp_path):
    save_file(without(FIRST_STAGE)(sdxl), tmp_path / "bare.safetensors")
    vae = {key.removeprefix(FIRST_STAGE): v for key, v in sdxl.items() if key.startswith(FIRST_STAGE)}
    content = {"VAE": vae, "checkpoint": sdxl, "diffusers": diffusers_vae(vae)}[form]
    save_file(content, tmp_path / "vae.safetensors")
    assert_equal(tmp_path / "bare.safetensors", SDXL, sdxl, tmp_path, vae=tmp_path / "vae.safetensors")


def test_a_named_vae_replaces_the_one_in_the_checkpoint(sdxl, tmp_path):
    other = {key: value * 2 for key, value in sdxl.items() if key.startswith(FIRST_STAGE)}
    save_file(other, tmp_path / "vae.safetensors")
    opened = open_vae(tmp_path / "vae.safetensors", open_checkpoint(WEIGHTS / "demo_sdxl.safetensors", SDXL))
    assert torch.equal(load_vae(opened).quant_conv.weight, sdxl[FIRST_STAGE + "quant_conv.weight"] * 2)


def test_inspect_names_a_vae(sdxl, tmp_path, capsys):
    save_file(under(sdxl, FIRST_STAGE), tmp_path / "vae.safetensors")
    assert open_checkpoint(tmp_path / "vae.safetensors").kind == VAE
    assert cli.main(["inspect", str(tmp_path / "vae.safetensors")]) == 0
    assert "a VAE, " in capsys.readouterr().out
