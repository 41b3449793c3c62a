"""Everything in one node."""

from __future__ import annotations

from dataclasses import replace

import comfy.sd
import torch
from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io
from torch import Tensor

from ..supir_core.restoration.canvas import Canvas, resize, target_size
from ..supir_core.restoration.colorfix import fix_color
from ..supir_core.restoration.settings import CHOICES, VAE_TILE
from ..supir_core.sdxl.model import min_side
from ..supir_core.supir.settings import PRESETS
from .conditioning import encode_prompts
from .encode import encode_stage1
from .host import CATEGORY, SupirModelType, to_image, to_picture
from .loader import SupirWeights
from .sampler import preset_input, sample, seed_input
from .tiles import tile_inputs
from .vae import decode


class SupirRestore(io.ComfyNode):
    """Damaged picture in, restored picture out."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SupirRestore",
            display_name="SUPIR Restore",
            category=CATEGORY,
            description="Restores pictures of any size: stage 1, prompts, tiled sampling, decoding and colour fix in one "
            "node. The result has exactly the size asked for; transparency is kept.",
            search_aliases=[
                "supir",
                "upscale",
                "restore photo",
                "SUPIR_Upscale",
                "image restoration",
                "enhance",
            ],
            inputs=[
                io.Model.Input("model", tooltip="An SDXL model, with or without LoRA and other patches."),
                io.Clip.Input("clip", tooltip="SDXL's text encoders."),
                io.Vae.Input("vae", tooltip="SDXL's VAE."),
                SupirModelType.Input("supir_model", tooltip="From SUPIR Load Model."),
                io.Image.Input("image", tooltip="The damaged picture, of any size."),
                io.String.Input(
                    "caption",
                    multiline=True,
                    default="",
                    dynamic_prompts=False,
                    tooltip="What the picture shows, in a sentence; quality words are added. It may stay empty.",
                ),
                io.Float.Input(
                    "scale", default=2.0, min=0.1, max=16.0, step=0.05, tooltip="Enlargement of the result."
                ),
                preset_input(),
                seed_input(),
                *tile_inputs(),
                io.Combo.Input(
                    "color_fix",
                    options=list(CHOICES["color_fix"]),
                    default="wavelet",
                    advanced=True,
                    tooltip="Colours of stage 1: wavelet its low frequencies, adain its mean and contrast, none.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="image", tooltip="The restored picture."),
                io.Image.Output(display_name="stage1", tooltip="What the VAE alone made of it."),
            ],
        )

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        clip: comfy.sd.CLIP,
        vae: comfy.sd.VAE,
        supir_model: SupirWeights,
        image: Tensor,
        caption: str,
        scale: float,
        preset: str,
        seed: int,
        tile: int,
        overlap: int,
        color_fix: str,
    ) -> io.NodeOutput:
        settings = replace(PRESETS[preset], seed=seed, tile=tile, overlap=overlap, color_fix=color_fix)
        picture = to_picture(image)
        target = target_size(picture, scale)
        canvas = Canvas.plan(target, min_side(supir_model.config))
        stage1 = encode_stage1(supir_model, vae, canvas.place(picture[:, :3]), VAE_TILE)
        positive, negative = encode_prompts(clip, [caption], settings.positive, settings.negative)
        latent = sample(model, supir_model, positive, negative, stage1.z_lq, stage1.z_center, settings)
        restored = decode(vae, latent, VAE_TILE)
        restored = fix_color(restored, stage1.picture, settings.color_fix).clamp_(0, 1)
        alpha = resize(picture[:, 3:], target)
        pictures = (torch.cat([canvas.take(part), alpha], dim=1) for part in (restored, stage1.picture))
        return io.NodeOutput(*(to_image(part) for part in pictures))
