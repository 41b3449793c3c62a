"""Weights that are refused, each with a sentence that helps."""

import pytest
import torch
from safetensors.torch import save_file

from supir_core.files.checkpoint import UnsupportedCheckpointError
from supir_core.files.kinds import SDXL, SUPIR
from supir_core.sdxl.model import open_vae

from .folders import unet_names
from .variants import (
    CLIP_G,
    DR,
    FIRST_STAGE,
    UNET,
    changed,
    extra,
    half_of_zeros,
    loaded,
    one_nan,
    renamed,
    tail_of_zeros,
    under,
    without,
)

CONV = UNET + "input_blocks.1.0.in_layers.2.weight"
BIAS = UNET + "input_blocks.1.0.in_layers.2.bias"
REFUSED = {
    "no encoder": (
        SUPIR,
        without(DR),
        "SUPIR weights without denoise_encoder, the encoder that reads the damaged picture. Take",
    ),
    "no connectors": (
        SUPIR,
        without(UNET),
        "this is SUPIR's adaptor without its connectors .project_modules.. Take SUPIR-v0Q",
    ),
    "no VAE": (SDXL, without(FIRST_STAGE), "no VAE in it .* --vae FILE .vae= in Python."),
    "inpainting": (
        SDXL,
        changed(UNET + "input_blocks.0.0.weight", lambda v: v[:, :1].repeat(1, 9, 1, 1)),
        "takes 9 channels, expected 4. This is an inpainting model: use the plain SDXL model",
    ),
    "editing": (
        SDXL,
        changed(UNET + "input_blocks.0.0.weight", lambda v: v.repeat(1, 2, 1, 1)),
        "takes 8 channels.*an editing model",
    ),
    "refiner": (
        SDXL,
        lambda t: renamed(CLIP_G, "conditioner.embedders.0.model.")(without("conditioner.embedders.0.")(t)),
        "this is an SDXL refiner. Take the SDXL base",
    ),
    "UNet alone": (
        SDXL,
        lambda t: under(t, UNET),
        "SDXL UNet without its text encoders. Take the whole checkpoint, or the folder",
    ),
    "UNet of diffusers": (
        SDXL,
        lambda t: unet_names(under(t, UNET)),
        "diffusers' layout, not.* Take the whole checkpoint",
    ),
    "VAE for a checkpoint": (SDXL, lambda t: under(t, FIRST_STAGE), "this is a VAE. Name it with --vae"),
    "two of one name": (SDXL, lambda t: t | {BIAS.removeprefix("model."): t[BIAS].clone()}, "are one tensor by name"),
    "whole numbers": (
        SDXL,
        changed(CONV, lambda v: v.to(torch.int16)),
        f"{CONV} is of whole numbers .int16., expected floats",
    ),
    "yes and no": (SDXL, changed(CONV, lambda v: v > 0), "is of whole numbers .bool."),
    "complex": (SDXL, changed(CONV, lambda v: v.to(torch.complex64)), "is of no use .complex64."),
    "NaN": (SDXL, changed(CONV, one_nan), f"{CONV} holds numbers that are not finite"),
    "infinity": (SDXL, changed(BIAS, lambda v: v / 0), f"{BIAS} holds numbers that are not finite"),
    "NaN in SUPIR": (
        SUPIR,
        changed("model.control_model.time_embed.0.bias", one_nan),
        "time_embed.0.bias holds numbers that",
    ),
    "half a tensor": (SDXL, changed(CONV, half_of_zeros), f"{CONV} is zeros over 25%"),
    "half a file": (SDXL, tail_of_zeros, "% of the weights are zeros, .* the first of them.*Download it again"),
    "half a file of SUPIR": (SUPIR, tail_of_zeros, "% of the weights are zeros, "),
    "scale without a weight": (
        SDXL,
        extra(UNET + "nowhere.scale_weight"),
        "nowhere.scale_weight scales a weight that is not there",
    ),
    "a scale for each block": (
        SDXL,
        extra(CONV.replace("weight", "scale_weight"), of=torch.ones(64, 3)),
        "in_layers.2.scale_weight is .64, 3., expected a number for the whole weight or for each of its rows",
    ),
    "quantised in another way": (
        SDXL,
        lambda t: t | {UNET + "out.2.comfy_quant": torch.tensor(list(b'{"format": "nvfp4"}'), dtype=torch.uint8)},
        "quantised for ComfyUI as nvfp4, which only its own loaders read; take the file in",
    ),
    "a number for a size": (
        SDXL,
        changed(UNET + "label_emb.0.0.weight", lambda v: v[0, 0].clone()),
        "sizes that no network has",
    ),
    "a layer of a huge number": (
        SDXL,
        lambda t: t | {FIRST_STAGE + "encoder.down.0.block.987654321.conv1.weight": torch.ones(2)},
        "sizes that no network has .a layer of the number 987654321",
    ),
    "an empty tensor": (SDXL, changed(BIAS, lambda v: v[:0].clone()), "is empty, .0,."),
}


@pytest.mark.parametrize("variant", REFUSED)
def test_it_is_refused_with_a_sentence_that_helps(variant, sdxl, supir, tmp_path):
    kind, change, said = REFUSED[variant]
    save_file(
        {k: v.contiguous() for k, v in change(dict(supir if kind == SUPIR else sdxl)).items()},
        tmp_path / "a.safetensors",
    )
    with pytest.raises(UnsupportedCheckpointError, match=said) as refusal:
        loaded(tmp_path / "a.safetensors", kind)
    assert "ownload it again" not in str(refusal.value) or "half" in variant


def test_a_vae_of_another_family_is_refused(sdxl, tmp_path):
    vae = under(sdxl, FIRST_STAGE) | {"decoder.conv_in.weight": torch.ones(96, 16, 3, 3)}
    save_file(vae, tmp_path / "flux.safetensors")
    with pytest.raises(UnsupportedCheckpointError, match=r"latents of 4 channels, got \(96, 16, 3, 3\).*sdxl_vae"):
        open_vae(tmp_path / "flux.safetensors", None)
