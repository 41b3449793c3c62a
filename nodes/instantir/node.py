"""The damaged picture, read and tied to a MODEL."""

from __future__ import annotations

import comfy.clip_vision
import comfy.model_management
import comfy.sd
import torch
from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io
from torch import Tensor

from ...supir_core.instantir.perception import dino_pixels, no_picture
from ...supir_core.instantir.settings import InstantSettings
from ...supir_core.restoration.canvas import Canvas
from ...supir_core.restoration.finite import require_finite
from ...supir_core.restoration.knobs import SCALE
from ...supir_core.restoration.sizes import TargetSize
from ..host import to_image, to_picture
from ..inputs import knob_input, setting_input, work_inputs
from ..sizes import layout_of, size_input, unpadded
from ..vae import encode, require_sdxl_vae
from .apply import apply_instantir
from .loader import CATEGORY, InstantIRModelType, InstantIRWeights


@torch.inference_mode()
def picture_features(
    clip_vision: comfy.clip_vision.ClipVisionModel, picture: Tensor, width: int
) -> tuple[Tensor, Tensor]:
    """DINOv2 features of pictures ``(B, 3, H, W)`` and of none.

    Raises:
        ValueError: the encoder is not DINOv2, or of another size.
    """
    kind, sizes = clip_vision.model_type, clip_vision.config.get("hidden_size")
    if kind != "dinov2" or sizes != width:
        raise ValueError(
            f"InstantIR sees with DINOv2 of width {width}, got {kind} of width {sizes}; load the weights of "
            "facebook/dinov2-large with Load CLIP Vision"
        )
    comfy.model_management.load_model_gpu(clip_vision.patcher)
    pixels = dino_pixels(picture)
    both = torch.cat([pixels, no_picture(pixels)]).to(clip_vision.load_device)
    features = clip_vision.model(pixel_values=both)[0].float().cpu()
    return features[:-1], features[-1:]


class InstantIRApply(io.ComfyNode):
    """Patch a MODEL with InstantIR."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="InstantIRApply",
            display_name="InstantIR Apply",
            category=CATEGORY,
            description="Lets an SDXL model restore a damaged picture by previewing its own result at every step. Works with "
            "any sampler, SUPIR Tiles, LoRA, FreeU, ControlNet and other patches; applied twice, the last one counts.",
            search_aliases=["instantir", "restore", "previewer", "aggregator", "creative restoration"],
            inputs=[
                io.Model.Input("model", tooltip="An SDXL model, with or without LoRA and other patches."),
                InstantIRModelType.Input("instantir_model", tooltip="From InstantIR Load Model."),
                io.ClipVision.Input("clip_vision", tooltip="DINOv2-large without registers, from Load CLIP Vision."),
                io.Vae.Input("vae", tooltip="SDXL's VAE, of the base checkpoint."),
                io.Image.Input("image", tooltip="The damaged picture, of any size; transparency is ignored."),
                knob_input("scale", SCALE),
                setting_input("control", InstantSettings, id="strength"),
                setting_input("preview_start", InstantSettings),
                setting_input("control_end", InstantSettings, id="creative_start"),
                setting_input("adaptive", InstantSettings, advanced=True),
                *work_inputs(),
                size_input(),
            ],
            outputs=[
                io.Model.Output(display_name="model", tooltip="The model, held to the damaged picture."),
                io.Latent.Output(
                    display_name="z_lq",
                    tooltip="Its latent: sampling starts from it, with InstantIR Sigmas or InstantIR Sampler.",
                ),
                io.Image.Output(
                    display_name="picture",
                    tooltip="The picture as enlarged: reference for SUPIR Color Fix, which also cuts the padding off.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        instantir_model: InstantIRWeights,
        clip_vision: comfy.clip_vision.ClipVisionModel,
        vae: comfy.sd.VAE,
        image: Tensor,
        scale: float,
        strength: float,
        preview_start: float,
        creative_start: float,
        adaptive: str,
        min_side: int,
        vae_tile: int,
        size: TargetSize | None = None,
    ) -> io.NodeOutput:
        settings = InstantSettings(
            control=strength, preview_start=preview_start, control_end=creative_start, adaptive=adaptive
        )
        picture = to_picture(image)
        layout = unpadded(layout_of(picture, scale, size), "InstantIR Apply")
        picture = layout.prepare(picture)
        canvas = Canvas.plan(layout.inner, min_side)
        changed, z_lq, placed = apply_to_picture(
            model, instantir_model, clip_vision, vae, picture, canvas, settings, vae_tile or None
        )
        return io.NodeOutput(changed, {"samples": z_lq}, to_image(canvas.visible(placed)))


def apply_to_picture(
    model: ModelPatcher,
    weights: InstantIRWeights,
    clip_vision: comfy.clip_vision.ClipVisionModel,
    vae: comfy.sd.VAE,
    picture: Tensor,
    canvas: Canvas,
    settings: InstantSettings,
    memory: int | None = None,
) -> tuple[ModelPatcher, Tensor, Tensor]:
    """A MODEL that restores pictures ``(B, 3 or 4, H, W)``, their latent as ComfyUI has it, and they as they are encoded."""
    require_sdxl_vae(vae)
    placed = canvas.place(picture)
    features = picture_features(clip_vision, canvas.visible(placed), weights.feature_width)
    z_lq = require_finite(encode(vae, placed, memory), "encoding")
    changed = apply_instantir(model, weights, z_lq, features, settings.schedule_of_control, settings.adaptive)
    return changed, z_lq, placed
