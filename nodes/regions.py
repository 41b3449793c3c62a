"""Only parts of a picture, by a mask or by boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from math import isfinite
from typing import Any

import comfy.clip_vision
import comfy.sd
import torch
from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io
from torch import Tensor

from ..supir_core.instantir.settings import InstantSettings
from ..supir_core.restoration.noise import SEEDS
from ..supir_core.restoration.regions import (
    CONTEXT,
    FEATHER,
    Region,
    box_mask,
    captions_for,
    find_regions,
    fit_mask,
    restore_regions,
)
from ..supir_core.supir.settings import PRESETS
from .host import CATEGORY, SupirModelType, to_image, to_masks, to_picture
from .inputs import knob_input, sdxl_inputs, seed_input, setting_input, text_input
from .instantir.loader import InstantIRModelType, InstantIRWeights
from .instantir.restore import restore_with_instantir
from .loader import SupirWeights
from .restore import AUTO, restore_picture, settings_for
from .sampler import preset_input

Box = Mapping[str, float]


class SupirRestoreRegion(io.ComfyNode):
    """Picture and mask in, the picture with what lies under the mask restored out."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SupirRestoreRegion",
            display_name="SUPIR Restore Region",
            category=CATEGORY,
            description="Restores only parts of a picture: faces, or what a mask marks. Each part is cut out with its "
            "surroundings, restored at full size with its own stage 1, prompt and seed, and pasted back. Outside the mask "
            "nothing changes. For a picture that is to be enlarged, do that first, such as with SUPIR Restore.",
            search_aliases=[
                "supir region",
                "restore face",
                "face detailer",
                "mask",
                "inpaint",
                "detailer",
                "crop and stitch",
            ],
            inputs=[
                *sdxl_inputs(),
                io.MultiType.Input(
                    "supir_model",
                    types=[SupirModelType, InstantIRModelType],
                    tooltip="From SUPIR Load Model, or from InstantIR Load Model.",
                ),
                io.Image.Input("image", tooltip="The picture. The result has its size."),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="White is restored. Parts that do not touch are regions of their own; of several masks for one "
                    "picture, each is a region. A mask of another size is resized.",
                ),
                io.BoundingBox.Input(
                    "boxes",
                    optional=True,
                    force_input=True,
                    tooltip="Regions as boxes, such as faces from Detect Face Landmarks.",
                ),
                text_input(
                    "caption",
                    "What the regions show. One line is for all of them, several are one for each, from the top "
                    "down; quality words are added. It may stay empty.",
                ),
                preset_input((AUTO, *PRESETS), AUTO, "auto: quality, or demo with the demo weights."),
                seed_input(),
                knob_input("context", CONTEXT),
                knob_input("feather", FEATHER),
                setting_input("color_fix", advanced=True),
                setting_input("strength"),
                io.ClipVision.Input(
                    "clip_vision", optional=True, tooltip="DINOv2-large, from Load CLIP Vision; for InstantIR only."
                ),
            ],
            outputs=[
                io.Image.Output(display_name="image", tooltip="The picture with the regions restored."),
                io.Mask.Output(display_name="mask", tooltip="Where it was changed, and how much."),
            ],
        )

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        clip: comfy.sd.CLIP,
        vae: comfy.sd.VAE,
        supir_model: SupirWeights | InstantIRWeights,
        image: Tensor,
        caption: str,
        preset: str,
        seed: int,
        context: float,
        feather: int,
        color_fix: str,
        strength: float = 1.0,
        mask: Tensor | None = None,
        boxes: Any = None,
        clip_vision: comfy.clip_vision.ClipVisionModel | None = None,
    ) -> io.NodeOutput:
        picture = to_picture(image)
        networks = model, clip, vae, supir_model
        changes = {"color_fix": color_fix, "strength": strength}

        def restore(captions: Sequence[str], crop: Tensor, number: int) -> Tensor:
            given, number_seed = captions[number], (seed + number) % SEEDS
            if isinstance(supir_model, InstantIRWeights):
                published = InstantSettings(seed=number_seed, **changes)
                return restore_with_instantir(*networks, clip_vision, crop, given, published).image
            chosen = replace(settings_for(preset, supir_model), seed=number_seed, **changes)
            return restore_picture(*networks, crop, given, chosen).image

        restored, weights = [], []
        for one, regions in zip(picture.split(1), regions_of(picture, mask, boxes, context, feather), strict=True):
            captions = captions_for(regions, caption.splitlines())
            restored.append(restore_regions(one, regions, partial(restore, captions)))
            weights.append(_joined(regions, picture))
        return io.NodeOutput(to_image(torch.cat(restored)), torch.stack(weights))


def regions_of(picture: Tensor, mask: Tensor | None, boxes: Any, context: float, feather: int) -> list[list[Region]]:
    """The regions of each picture ``(B, C, H, W)``.

    Args:
        picture: the pictures.
        mask: ComfyUI's MASK ``(M, h, w)`` of any size; one for all pictures, one for each, or several for one picture.
        boxes: ComfyUI's BOUNDING_BOX: one, those of one picture, or those of each picture.
        context: see ``find_regions``.
        feather: see ``find_regions``.

    Raises:
        ValueError: there is neither mask nor box, or their number does not fit the pictures.
    """
    if mask is None and boxes is None:
        raise ValueError("connect a mask or boxes: what of the picture is to be restored")
    CONTEXT.check("context", context)
    FEATHER.check("feather", feather)
    mask = None if mask is None else to_masks(mask)
    count, size = len(picture), (int(picture.shape[2]), int(picture.shape[3]))
    found: list[list[Region]] = [[] for _ in range(count)]
    if mask is not None and count == 1:
        found[0] += [
            each for one in mask for each in find_regions(fit_mask(one, size), context, feather, apart=len(mask) == 1)
        ]
    elif mask is not None:
        for place, one in enumerate(_for_each(mask, count, "masks")):
            found[place] += find_regions(fit_mask(one, size), context, feather)
    if boxes is not None:
        for place, some in enumerate(_for_each(_frames(boxes), count, "lists of boxes")):
            for one in box_mask(size, [_pixels(box) for box in some]):
                found[place] += find_regions(one, context, feather, apart=False)
    return found


def _for_each(given: Sequence[Any] | Tensor, count: int, what: str) -> list[Any]:
    if len(given) not in (1, count):
        raise ValueError(f"got {len(given)} {what} for {count} pictures; give one for all, or one for each")
    return [given[place if len(given) > 1 else 0] for place in range(count)]


def _frames(boxes: Any) -> list[list[Box]]:
    """BOUNDING_BOX in its three forms as boxes for each picture."""
    boxes = [boxes] if isinstance(boxes, Mapping) else list(boxes)
    return [boxes] if all(isinstance(box, Mapping) for box in boxes) else boxes


def _pixels(box: Box) -> tuple[float, float, float, float]:
    """(left, top, width, height)."""
    try:
        left, top, width, height = (float(box[name]) for name in ("x", "y", "width", "height"))
        if not isfinite(left + top + width + height):
            raise ValueError("not finite")
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"expected boxes of x, y, width and height in pixels, got {box}") from error
    return left, top, width, height


def _joined(regions: Sequence[Region], picture: Tensor) -> Tensor:
    """The largest weight that any region has at each pixel, ``(H, W)``."""
    weights = torch.zeros(1, 1, *picture.shape[2:])
    for region in regions:
        place = region.cut(weights)[0, 0]
        torch.maximum(place, region.weights, out=place)
    return weights[0, 0]
