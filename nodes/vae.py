"""SDXL's VAE as ComfyUI has it: with SUPIR's encoder in place of its own, and for pictures of any size."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import comfy.model_management as mm
import comfy.sd
import torch
from torch import Tensor

from ..supir_core.sdxl.config import LATENT_PIXELS
from ..supir_core.sdxl.large_vae import memory_for_vae, run_decoder, run_encoder, vae_wishes


def with_dr_encoder(vae: comfy.sd.VAE, dr_encoder: Mapping[str, Tensor], source: str) -> comfy.sd.VAE:
    """The same VAE with the degradation-robust encoder; it shares decoder and memory with the one given.

    Raises:
        ValueError: the VAE is not of the encoder's form.
    """
    require_sdxl_vae(vae)
    changed = copy.copy(vae)
    changed.patcher = vae.patcher.clone()
    patches = {f"encoder.{key}": ("set", (weight,)) for key, weight in dr_encoder.items()}
    theirs = {key: tuple(weight.shape) for key, weight in vae.first_stage_model.encoder.state_dict().items()}
    ours = {key: tuple(weight.shape) for key, weight in dr_encoder.items()}
    if ours != theirs:
        odd = next(key for key in sorted({*ours, *theirs}) if ours.get(key) != theirs.get(key))
        raise ValueError(
            f"the VAE does not fit {source}: encoder.{odd} is {theirs.get(odd, 'missing')} in the VAE, "
            f"{ours.get(odd, 'missing')} in {source}. Connect the VAE of an SDXL checkpoint, or sdxl_vae.safetensors"
        )
    changed.patcher.add_patches(patches)
    return changed


def require_sdxl_vae(vae: comfy.sd.VAE) -> None:
    """Raise ValueError unless the VAE is of SDXL's form, with 4 channels and 8 pixels a side."""
    model = getattr(vae, "first_stage_model", None)
    if model is None:
        raise ValueError("the checkpoint has no VAE; connect that of an SDXL checkpoint, or sdxl_vae.safetensors")
    if vae.latent_channels != 4 or not hasattr(getattr(model, "encoder", None), "down"):
        raise ValueError(
            f"expected SDXL's VAE, got a {type(model).__name__} of {vae.latent_channels} channels. "
            "Connect the VAE of an SDXL checkpoint, or sdxl_vae.safetensors"
        )


@memory_for_vae("the VAE encodes")
def encode(vae: comfy.sd.VAE, picture: Tensor, side: int | None) -> Tensor:
    """Encode ``(B, 3, H, W)`` in [0, 1] to ComfyUI's latents, ``(B, 4, H/8, W/8)``.

    In one piece where that fits the memory that ComfyUI has, else in bands of rows, with the same result; pictures larger
    than ``side`` squared always go in bands, if it is given.
    """
    pixels = picture.shape[2] * picture.shape[3]
    with _at_work(vae, pixels, side) as model:
        image = vae.process_input(picture).to(vae.device, vae.vae_dtype)
        moments = model.quant_conv(run_encoder(model.encoder, image, side, mm.get_free_memory))
        return moments.chunk(2, dim=1)[0].float().to(vae.output_device)


@memory_for_vae("the VAE decodes")
def decode(vae: comfy.sd.VAE, latent: Tensor, side: int | None) -> Tensor:
    """Decode ComfyUI's latents to ``(B, 3, H, W)`` in [0, 1]; large ones as in ``encode``."""
    pixels = latent.shape[2] * latent.shape[3] * LATENT_PIXELS**2
    with _at_work(vae, pixels, side) as model:
        z = model.post_quant_conv(latent.to(vae.device, vae.vae_dtype))
        decoded = run_decoder(model.decoder, z, side, mm.get_free_memory)
        return vae.process_output(decoded.float().to(vae.output_device))


@contextmanager
def _at_work(vae: comfy.sd.VAE, pixels: int, side: int | None) -> Iterator[torch.nn.Module]:
    """The VAE's network on its device, with as much room for the work as the device can have."""
    model = vae.first_stage_model
    wishes = vae_wishes(pixels, side, model.encoder.conv_in.out_channels, vae.vae_dtype.itemsize)
    most = mm.get_total_memory(vae.device) - vae.patcher.model_size() - mm.extra_reserved_memory()
    work = next((wish for wish in wishes if wish <= most), wishes[-1])
    mm.load_models_gpu([vae.patcher], memory_required=work, force_full_load=True)
    with mm.cuda_device_context(vae.device):
        yield model
