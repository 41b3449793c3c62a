"""Stage 1: the damaged picture, read by the degradation-robust encoder."""

from __future__ import annotations

from typing import NamedTuple

import comfy.sd
import torch
from comfy_api.latest import io
from torch import Tensor

from ..supir_core.restoration.canvas import Canvas, target_size
from ..supir_core.restoration.settings import VAE_TILE
from .host import CATEGORY, SupirModelType, advanced, to_image, to_picture
from .loader import SupirWeights
from .vae import decode, encode, with_dr_encoder


class Stage1(NamedTuple):
    """What comes of the damaged picture: latents as ComfyUI has them, the picture ``(B, 3, H, W)`` with padding."""

    z_lq: Tensor
    z_center: Tensor
    picture: Tensor
    vae: comfy.sd.VAE


def encode_stage1(weights: SupirWeights, vae: comfy.sd.VAE, placed: Tensor, tile: int) -> Stage1:
    """Encode a picture ``(B, 3, H, W)`` in [0, 1], sides multiples of 64 (see ``Canvas.place``)."""
    dr_vae = with_dr_encoder(vae, weights.dr_encoder, weights.name)
    z_lq = encode(dr_vae, placed, tile)
    picture = decode(vae, z_lq, tile)
    return Stage1(z_lq, encode(vae, picture, tile), picture, dr_vae)


def vae_tile_input() -> io.Int.Input:
    """How much memory the VAE may use."""
    return io.Int.Input(
        "vae_tile",
        default=VAE_TILE,
        min=128,
        max=8192,
        step=64,
        **advanced(
            tooltip="Side of a square of pixels whose memory the VAE may use. Larger pictures go through it in bands of "
            "rows, exactly as in one piece and without seams, so this changes memory and speed, never the picture."
        ),
    )


def scale_input() -> io.Float.Input:
    """How much larger the picture becomes."""
    return io.Float.Input(
        "scale",
        default=1.0,
        min=0.1,
        max=16.0,
        step=0.05,
        tooltip="Enlargement before anything else (bicubic). 1 restores at the size given.",
    )


def min_side_input() -> io.Int.Input:
    """How large a picture must at least be."""
    return io.Int.Input(
        "min_side",
        default=1024,
        min=64,
        max=4096,
        step=64,
        **advanced(
            tooltip="Smaller pictures are enlarged further until the short side has this many pixels, as "
            "published: SDXL works badly below 1024. 64 leaves them alone."
        ),
    )


class SupirEncode(io.ComfyNode):
    """Read the damaged picture."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SupirEncode",
            display_name="SUPIR Encode (stage 1)",
            category=CATEGORY,
            description="Enlarges the damaged picture and reads it with the degradation-robust encoder. "
            "Stage 1 is what the VAE alone makes of it: look at it first, caption it, use it as colour reference.",
            search_aliases=[
                "supir encode",
                "first stage",
                "denoise encoder",
                "SUPIR_first_stage",
                "SUPIR_encode",
            ],
            inputs=[
                SupirModelType.Input("supir_model", tooltip="From SUPIR Load Model."),
                io.Vae.Input("vae", tooltip="SDXL's VAE, of the base checkpoint."),
                io.Image.Input("image", tooltip="The damaged picture, of any size; transparency is ignored."),
                scale_input(),
                min_side_input(),
                vae_tile_input(),
            ],
            outputs=[
                io.Latent.Output(display_name="z_lq", tooltip="Low-quality latent, for SUPIR Denoiser."),
                io.Latent.Output(
                    display_name="z_center", tooltip="Latent of stage 1, for restoration guidance."
                ),
                io.Image.Output(
                    display_name="stage1",
                    tooltip="The picture as the VAE alone restores it: for captions and as colour reference.",
                ),
                io.Vae.Output(
                    display_name="dr_vae", tooltip="The VAE with SUPIR's encoder, for any VAE node."
                ),
                io.Latent.Output(
                    display_name="empty",
                    tooltip="Empty latent of the right size: start sampling from it, at denoise 1.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        supir_model: SupirWeights,
        vae: comfy.sd.VAE,
        image: Tensor,
        scale: float,
        min_side: int,
        vae_tile: int,
    ) -> io.NodeOutput:
        picture = to_picture(image)[:, :3]
        canvas = Canvas.plan(target_size(picture, scale), min_side)
        stage1 = encode_stage1(supir_model, vae, canvas.place(picture), vae_tile)
        visible = stage1.picture[:, :, : canvas.inner[0], : canvas.inner[1]]
        return io.NodeOutput(
            {"samples": stage1.z_lq},
            {"samples": stage1.z_center},
            to_image(visible),
            stage1.vae,
            {"samples": torch.zeros_like(stage1.z_lq)},
        )
