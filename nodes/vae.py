"""SDXL's VAE as ComfyUI has it: with SUPIR's encoder in place of its own, and for pictures of any size."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import comfy.model_management
import comfy.sd
import torch
from torch import Tensor

from ..supir_core.sdxl.large_vae import decode_in_bands, encode_in_bands
from .host import to_image, to_picture


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
    model = vae.first_stage_model
    if vae.latent_channels != 4 or not hasattr(getattr(model, "encoder", None), "down"):
        raise ValueError(
            f"expected SDXL's VAE, got a {type(model).__name__} of {vae.latent_channels} channels. "
            "Connect the VAE of an SDXL checkpoint, or sdxl_vae.safetensors"
        )


def encode(vae: comfy.sd.VAE, picture: Tensor, tile: int) -> Tensor:
    """Encode ``(B, 3, H, W)`` in [0, 1] to ComfyUI's latents, ``(B, 4, H/8, W/8)``.

    A picture larger than ``tile`` squared goes through in bands of rows, with the same result.
    """
    if _small(picture.shape[2:], tile):
        return vae.encode(to_image(picture))
    model = _loaded(vae, vae.memory_used_encode((1, 3, tile, tile), vae.vae_dtype))
    pixels = vae.process_input(picture).to(vae.device, vae.vae_dtype)
    rows = [encode_in_bands(model.encoder, row, tile) for row in pixels.split(1)]
    moments = model.quant_conv(torch.cat(rows))
    return moments.chunk(2, dim=1)[0].float().to(vae.output_device)


def decode(vae: comfy.sd.VAE, latent: Tensor, tile: int) -> Tensor:
    """Decode ComfyUI's latents to ``(B, 3, H, W)`` in [0, 1]; large ones as in ``encode``."""
    if _small([side * 8 for side in latent.shape[2:]], tile):
        return to_picture(vae.decode(latent))
    model = _loaded(vae, vae.memory_used_decode((1, 4, tile // 8, tile // 8), vae.vae_dtype))
    z = model.post_quant_conv(latent.to(vae.device, vae.vae_dtype))
    rows = [decode_in_bands(model.decoder, row, tile) for row in z.split(1)]
    return vae.process_output(torch.cat(rows).float().to(vae.output_device))


def _small(sides: torch.Size | list[int], tile: int) -> bool:
    height, width = sides
    return height * width <= tile * tile


def _loaded(vae: comfy.sd.VAE, memory: float) -> torch.nn.Module:
    """The VAE's network on its device, with room for the work."""
    comfy.model_management.load_models_gpu([vae.patcher], memory_required=memory, force_full_load=True)
    return vae.first_stage_model
