"""Pictures described: the whole of stage 1, and every tile of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import comfy.model_management
import comfy.utils
from comfy_api.latest import io
from torch import Tensor

from ..supir_core.captions.models import LLAVA, PRECISIONS
from ..supir_core.captions.protocol import Request, tile_pictures
from ..supir_core.captions.text import tile_lines, tile_text
from ..supir_core.restoration.canvas import Canvas
from ..supir_core.restoration.knobs import knobs
from ..supir_core.restoration.noise import SEEDS
from ..supir_core.restoration.transparency import opaque
from ..supir_core.supir.settings import Settings
from .caption_memory import FOLDER, PLACEMENTS, CaptionerModel, find_captioner
from .host import CATEGORY, SupirCaptionerType, SupirTileCaptionsType, to_picture
from .inputs import seed_input, setting_input, text_input, tile_inputs
from .tiles import fit_device

ALIASES = ["llava", "caption", "describe", "image to text", "vision language model"]


def describe(captioner: CaptionerModel, pictures: Sequence[Tensor], request: Request, keep_loaded: bool) -> list[str]:
    """A text for each picture ``(3, H, W)``, one after the other; picture i has the seed ``request.seed + i``."""
    bar = comfy.utils.ProgressBar(len(pictures) * request.max_tokens)
    texts = []
    with captioner.at_work(keep_loaded) as model:
        for number, picture in enumerate(pictures):
            bar.update_absolute(number * request.max_tokens)
            seeded = replace(request, seed=(request.seed + number) % SEEDS)
            texts += model.caption([picture], seeded, _on_token(bar))
    bar.update_absolute(len(pictures) * request.max_tokens)
    return texts


def _on_token(bar: comfy.utils.ProgressBar) -> Callable[[], None]:
    def tell() -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        bar.update(1)

    return tell


def one_picture(image: Tensor) -> Tensor:
    """The only picture of an IMAGE, ``(1, 3, H, W)``.

    Raises:
        ValueError: there are several.
    """
    picture = opaque(to_picture(image))
    if len(picture) > 1:
        raise ValueError(
            f"got a batch of {len(picture)} pictures, expected one: they share a prompt, and one caption does not "
            "describe them all. Caption one of them (Get Image from Batch), or make the batch a list (Rebatch Images, 1)"
        )
    return picture


class SupirCaptioner(io.ComfyNode):
    """Choose a captioner."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SupirCaptioner",
            display_name="SUPIR Load Captioner",
            category=CATEGORY,
            description="A model that describes pictures: LLaVA as in the paper, or any other image-text-to-text model of "
            "transformers. It is loaded when a picture is described.",
            search_aliases=["supir captioner", "load llava", *ALIASES],
            inputs=[
                io.String.Input(
                    "model",
                    default=LLAVA,
                    tooltip=f"A folder in models/{FOLDER}, any other folder, or an id of the Hugging Face hub, which is "
                    "downloaded when it is first used: llava-hf/llava-1.5-13b-hf has 27 GB, llava-hf/llava-1.5-7b-hf 14 GB.",
                ),
                io.Combo.Input(
                    "precision",
                    options=list(PRECISIONS),
                    default="auto",
                    tooltip="auto: 16 bits on a GPU, float32 on a CPU. 8bit and 4bit take a half and a quarter of the memory "
                    "of 16 bits, LLaVA 13B 14 and 8 GB; they need the packages bitsandbytes and accelerate.",
                ),
                io.Combo.Input(
                    "placement",
                    options=list(PLACEMENTS),
                    default="gpu",
                    advanced=True,
                    tooltip="gpu: ComfyUI's device. spread: over all GPUs and the main memory, by the package accelerate, "
                    "where one GPU is too small. cpu: slow, takes nothing from the GPU.",
                ),
            ],
            outputs=[SupirCaptionerType.Output(display_name="captioner", tooltip="For SUPIR Caption (Tiles).")],
        )

    @classmethod
    def execute(cls, model: str, precision: str, placement: str) -> io.NodeOutput:
        return io.NodeOutput(CaptionerModel(find_captioner(model.strip()), precision, placement))


def caption_inputs(edited_tooltip: str) -> list[io.Input]:
    """What both captioning nodes ask besides the picture."""
    return [
        text_input("edited", edited_tooltip),
        setting_input("instruction", Request, advanced=True),
        setting_input("max_tokens", Request),
        setting_input("temperature", Request, advanced=True),
        seed_input(advanced=True, tooltip=knobs(Request)["seed"].text),
        io.Boolean.Input(
            "keep_loaded",
            default=False,
            tooltip="Leave the captioner where it is until ComfyUI needs the room: for many pictures. Off: it is dropped "
            "from all memory before the restoration begins.",
        ),
    ]


TRUST = "Trust it for scenery; for portraits and anything with text or logos write a short noun phrase yourself."


class SupirCaption(io.ComfyNode):
    """Describe a picture."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SupirCaption",
            display_name="SUPIR Caption",
            category=CATEGORY,
            description=f"Describes the picture of stage 1 in a paragraph, for the prompt. {TRUST}",
            search_aliases=["supir caption", *ALIASES],
            inputs=[
                SupirCaptionerType.Input("captioner", tooltip="From SUPIR Load Captioner."),
                io.Image.Input(
                    "image",
                    tooltip="Stage 1 of SUPIR Encode: a captioner reads damage as part of the scene. One picture.",
                ),
                *caption_inputs(
                    "Your own words: where there are any, they are the caption, and the captioner is not asked. "
                    "Paste its caption here to change it."
                ),
            ],
            outputs=[io.String.Output(display_name="caption", tooltip="What the picture shows.")],
        )

    @classmethod
    def execute(
        cls, captioner: CaptionerModel, image: Tensor, edited: str, keep_loaded: bool, **request: Any
    ) -> io.NodeOutput:
        if edited.strip():
            return io.NodeOutput(edited.strip())
        return io.NodeOutput(*describe(captioner, list(one_picture(image)), Request(**request), keep_loaded))


class SupirCaptionTiles(io.ComfyNode):
    """Describe every tile of a picture."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SupirCaptionTiles",
            display_name="SUPIR Caption Tiles",
            category=CATEGORY,
            description=f"Describes what each tile of stage 1 shows, in the order of SUPIR Tiles. {TRUST}",
            search_aliases=["supir caption tiles", "regional prompts", "tile prompts", *ALIASES],
            inputs=[
                SupirCaptionerType.Input("captioner", tooltip="From SUPIR Load Captioner."),
                io.Image.Input("image", tooltip="Stage 1 of SUPIR Encode, at the size that is sampled. One picture."),
                *tile_inputs(),
                *caption_inputs(
                    "Your own words, a line for each tile: where there are any, they are the captions, and the captioner "
                    "is not asked. Paste its captions here to change them."
                ),
            ],
            outputs=[
                SupirTileCaptionsType.Output(
                    display_name="captions",
                    tooltip="One for each tile, row by row from the top left: for SUPIR Conditioning's tile_captions.",
                ),
                io.String.Output(
                    display_name="lines", tooltip="The same in one text, a line each: to read and to edit."
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        captioner: CaptionerModel,
        image: Tensor,
        tile: int,
        overlap: int,
        edited: str,
        keep_loaded: bool,
        **request: Any,
    ) -> io.NodeOutput:
        picture = one_picture(image)
        settings = fit_device(Settings(tile=tile, overlap=overlap), Canvas.plan(picture.shape[2:], min_side=1).latent)
        pictures = tile_pictures(picture, settings)
        captions = tile_lines(edited) if edited.strip() else []
        if not captions:
            captions = describe(captioner, pictures, Request(**request), keep_loaded)
        elif len(captions) != len(pictures):
            raise ValueError(
                f"edited has {len(captions)} lines, but there are {len(pictures)} tiles; write one line for each, row by "
                "row from the top left"
            )
        return io.NodeOutput(tuple(captions), tile_text(captions))
