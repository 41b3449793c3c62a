"""A picture restored by InstantIR in one call."""

from __future__ import annotations

import comfy.clip_vision
import comfy.sd
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ...supir_core.instantir.settings import InstantSettings
from ...supir_core.restoration.canvas import Restored, finish, plan_canvas
from ...supir_core.restoration.finite import require_finite
from ...supir_core.restoration.frames import Frame, restore_each, restoring
from ...supir_core.sdxl.model import min_side
from ..conditioning import encode_prompts
from ..tiles import apply_tiles
from ..vae import decode
from .loader import InstantIRWeights
from .node import apply_to_picture
from .sampling import sample


@restoring
def restore_with_instantir(
    model: ModelPatcher,
    clip: comfy.sd.CLIP,
    vae: comfy.sd.VAE,
    weights: InstantIRWeights,
    clip_vision: comfy.clip_vision.ClipVisionModel | None,
    picture: Tensor,
    caption: str,
    settings: InstantSettings,
) -> Restored:
    """Restore pictures ``(B, 3 or 4, H, W)`` at their size, as ``restore_instantir`` does, by ComfyUI's networks.

    Raises:
        ValueError: there is no DINOv2.
    """
    if clip_vision is None:
        raise ValueError("InstantIR needs clip_vision: load DINOv2-large with Load CLIP Vision, and connect it")
    canvas = plan_canvas(picture, settings, 1.0, None, min_side(weights.config))
    prompts = encode_prompts(clip, [caption], settings.positive, settings.negative)

    def restore_frame(picture: Tensor, settings: InstantSettings, frame: Frame) -> Restored:
        changed, z_lq, placed = apply_to_picture(model, weights, clip_vision, vae, picture, canvas, settings)
        latent, _ = sample(apply_tiles(changed, settings, None), *prompts, z_lq, settings, frame=frame)
        image = require_finite(decode(vae, latent, None), "decoding")
        return finish(image, placed, picture, canvas, settings)

    return restore_each(picture, settings, restore_frame)
