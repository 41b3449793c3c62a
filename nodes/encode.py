"""Stage 1: the damaged picture, read by the degradation-robust encoder."""

from __future__ import annotations

from functools import partial

import comfy.sd
import torch
from comfy_api.latest import io
from torch import Tensor

from ..supir_core.restoration.canvas import Canvas
from ..supir_core.restoration.knobs import SCALE
from ..supir_core.restoration.sizes import TargetSize
from ..supir_core.supir.stage1 import Stage1, encode_stage1
from .host import CATEGORY, SupirModelType, to_image, to_picture
from .inputs import knob_input, work_inputs
from .loader import SupirWeights
from .sizes import layout_of, size_input, unpadded
from .vae import decode, encode, with_dr_encoder


def read_stage1(vae: comfy.sd.VAE, dr_vae: comfy.sd.VAE, placed: Tensor, side: int | None, center: bool) -> Stage1:
    """Stage 1 of a picture ``(B, 3, H, W)`` in [0, 1], sides multiples of 64; latents are as ComfyUI has them."""
    passes = (partial(encode, dr_vae, side=side), partial(decode, vae, side=side))
    return encode_stage1(placed, *passes, partial(encode, vae, side=side) if center else None)


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
                knob_input("scale", SCALE),
                *work_inputs(),
                size_input(),
            ],
            outputs=[
                io.Latent.Output(display_name="z_lq", tooltip="Low-quality latent, for SUPIR Denoiser."),
                io.Latent.Output(display_name="z_center", tooltip="Latent of stage 1, for restoration guidance."),
                io.Image.Output(
                    display_name="stage1",
                    tooltip="The picture as the VAE alone restores it: for captions and as colour reference.",
                ),
                io.Vae.Output(display_name="dr_vae", tooltip="The VAE with SUPIR's encoder, for any VAE node."),
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
        size: TargetSize | None = None,
    ) -> io.NodeOutput:
        picture = to_picture(image)
        layout = unpadded(layout_of(picture, scale, size), "SUPIR Encode")
        picture = layout.prepare(picture)
        canvas = Canvas.plan(layout.inner, min_side)
        dr_vae = with_dr_encoder(vae, supir_model.dr_encoder, supir_model.name)
        stage1 = read_stage1(vae, dr_vae, canvas.place(picture), vae_tile or None, center=True)
        visible = canvas.visible(stage1.picture)
        return io.NodeOutput(
            {"samples": stage1.z_lq},
            {"samples": stage1.z_center},
            to_image(visible),
            dr_vae,
            {"samples": torch.zeros_like(stage1.z_lq)},
        )
