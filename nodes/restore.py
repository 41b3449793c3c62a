"""Everything in one node."""

from __future__ import annotations

from dataclasses import replace

import comfy.sd
from comfy.model_management import throw_exception_if_processing_interrupted
from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io
from torch import Tensor

from ..supir_core.restoration.canvas import Restored, finish, plan_canvas
from ..supir_core.restoration.finite import require_finite
from ..supir_core.restoration.frames import Frame, restore_each, restoring
from ..supir_core.restoration.knobs import SCALE
from ..supir_core.restoration.sizes import TargetSize
from ..supir_core.sdxl.model import min_side
from ..supir_core.supir.model import preset_for
from ..supir_core.supir.settings import PRESETS, Settings, preset
from .conditioning import encode_prompts
from .encode import read_stage1
from .host import CATEGORY, SupirModelType, to_image, to_picture
from .inputs import (
    knob_input,
    prompt_weights_input,
    same_noise_input,
    sdxl_inputs,
    seed_input,
    setting_input,
    text_input,
    tile_inputs,
)
from .loader import SupirWeights
from .sampler import preset_input, sample
from .sizes import layout_of, size_input
from .vae import decode, with_dr_encoder

AUTO = "auto"
"""The preset that suits the weights."""


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
                "fix photo",
                "fix old photo",
                "repair photo",
                "upscale photo",
                "deblur",
                "unblur",
                "denoise photo",
                "remove noise",
                "jpeg artifacts",
            ],
            essentials_category="Image Tools",
            inputs=[
                *sdxl_inputs(),
                SupirModelType.Input("supir_model", tooltip="From SUPIR Load Model."),
                io.Image.Input("image", tooltip="The damaged picture, of any size."),
                text_input(
                    "caption",
                    "What the picture shows, in a sentence; quality words are added. It may stay empty.",
                ),
                knob_input("scale", SCALE),
                preset_input((AUTO, *PRESETS), AUTO, "auto: quality, or demo with the demo weights."),
                seed_input(),
                *tile_inputs(),
                setting_input("color_fix", advanced=True),
                prompt_weights_input(),
                setting_input("strength", optional=True),
                same_noise_input(" On, stage1 is of the first only, to save memory."),
                size_input(),
            ],
            outputs=[
                io.Image.Output(display_name="image", tooltip="The restored picture."),
                io.Image.Output(
                    display_name="stage1", tooltip="What the VAE alone made of it; with same_noise of the first only."
                ),
            ],
            hidden=[io.Hidden.unique_id],
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
        prompt_weights: bool = False,
        strength: float = 1.0,
        same_noise: bool = False,
        size: TargetSize | None = None,
    ) -> io.NodeOutput:
        settings = replace(
            settings_for(preset, supir_model),
            seed=seed,
            tile=tile,
            overlap=overlap,
            color_fix=color_fix,
            strength=strength,
            same_noise=same_noise,
        )
        networks, node = (model, clip, vae, supir_model), cls.hidden.unique_id
        picture = to_picture(image)
        layout = layout_of(picture, scale, size)
        prepared = layout.prepare(picture)
        restored = restore_picture(*networks, prepared, caption, settings, layout.inner, prompt_weights, node)
        return io.NodeOutput(*(to_image(layout.complete(one)) for one in restored))


def settings_for(name: str, weights: SupirWeights) -> Settings:
    """The settings of a preset, or of the one for the weights."""
    return preset(preset_for(weights.config) if name == AUTO else name)


@restoring
def restore_picture(
    model: ModelPatcher,
    clip: comfy.sd.CLIP,
    vae: comfy.sd.VAE,
    weights: SupirWeights,
    picture: Tensor,
    caption: str,
    settings: Settings,
    size: tuple[int, int] | None = None,
    prompt_weights: bool = False,
    node: str | None = None,
) -> Restored:
    """Restore pictures ``(B, 3 or 4, H, W)`` one by one as the library's ``restore`` does, by ComfyUI's networks.

    The result has the (height, width) ``size``, or the picture's own. The node of the id ``node`` shows the tiles.
    """
    canvas = plan_canvas(picture, settings, 1.0, size, min_side(weights.config))
    dr_vae = with_dr_encoder(vae, weights.dr_encoder, weights.name)
    prompts = encode_prompts(clip, [caption], settings.positive, settings.negative, prompt_weights)

    def restore_frame(picture: Tensor, settings: Settings, frame: Frame) -> Restored:
        throw_exception_if_processing_interrupted()
        placed, memory = canvas.place(picture), settings.vae_memory
        stage1 = read_stage1(vae, dr_vae, placed, memory, settings.restoration_scale > 0)
        latent = sample(model, weights, *prompts, stage1.z_lq, stage1.z_center, settings, node=node, frame=frame)
        image = require_finite(decode(vae, latent, memory), "decoding")
        return finish(image, stage1.picture, picture, canvas, settings)

    return restore_each(picture, settings, restore_frame)
