"""Captions and quality words as CONDITIONING."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from typing import Any

import comfy.sd
from comfy_api.latest import io

from ..supir_core.captions.text import tile_lines
from ..supir_core.restoration import prompts
from ..supir_core.sdxl.conditioning import SIZE_CONDITION
from ..supir_core.sdxl.tokens import mend
from .host import CATEGORY, SupirTileCaptionsType
from .inputs import prompt_weights_input, setting_input, text_input
from .options import TILE

NAMES = ("height", "width", "crop_h", "crop_w", "target_height", "target_width")
SIZES = dict(zip(NAMES, SIZE_CONDITION, strict=True))
"""As released, always these, whatever the picture's size."""

Conditioning = list[tuple[Any, dict[str, Any]]]


TileCaptions = tuple[str, ...]
"""What travels in a SUPIR_TILE_CAPTIONS socket: a caption for each tile, row by row from the top left."""


def as_written(text: str) -> str:
    """A prompt that ComfyUI's tokenizer takes word for word: escaped brackets weight nothing, and no embedding is named."""
    return re.sub(r"[()]", r"\\\g<0>", text).replace("embedding:", "embedding :")


def encode_text(clip: comfy.sd.CLIP, text: str, prompt_weights: bool = False) -> Conditioning:
    """A prompt with SUPIR's size condition, as it is written or in ComfyUI's prompt syntax."""
    if clip is None:
        raise ValueError("the checkpoint has no text encoder; connect the CLIP of an SDXL checkpoint")
    text = mend(text)
    tokens = clip.tokenize(text if prompt_weights else as_written(text))
    return clip.encode_from_tokens_scheduled(tokens, add_dict=dict(SIZES))


def encode_prompts(
    clip: comfy.sd.CLIP, captions: Sequence[str], positive: str, negative: str, prompt_weights: bool = False
) -> tuple[Conditioning, Conditioning]:
    """Captions with the quality words, one for each tile where there are several, and the negative prompt."""
    encode = partial(map, partial(encode_text, clip, prompt_weights=prompt_weights))
    positives, last = prompts.encode_prompts(encode, captions, positive, negative)
    if len(positives) == 1:
        return positives[0], last
    return [(text, {**extras, TILE: tile}) for tile, entries in enumerate(positives) for text, extras in entries], last


class SupirConditioning(io.ComfyNode):
    """Encode captions and quality words."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SupirConditioning",
            display_name="SUPIR Conditioning",
            category=CATEGORY,
            description="Encodes what the picture shows, followed by the paper's quality words, and the negative prompt, "
            "with the size condition that SUPIR was trained with.",
            search_aliases=["supir prompt", "supir conditioner", "caption", "SUPIR_conditioner"],
            inputs=[
                io.Clip.Input("clip", tooltip="SDXL's text encoders, of the base checkpoint."),
                text_input(
                    "caption",
                    "What the picture shows. Trust a captioner for scenery; for portraits and anything with text "
                    "or logos write a short noun phrase yourself.",
                ),
                io.Boolean.Input(
                    "line_per_tile",
                    default=False,
                    advanced=True,
                    tooltip="Each line of the caption belongs to one tile of SUPIR Tiles, row by row from the top left.",
                ),
                setting_input("positive", id="positive_words", advanced=True),
                setting_input("negative", id="negative_words", advanced=True),
                prompt_weights_input(),
                SupirTileCaptionsType.Input(
                    "tile_captions",
                    optional=True,
                    tooltip="From SUPIR Caption Tiles: a caption for each tile, in place of `caption`.",
                ),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive", tooltip="Caption and quality words."),
                io.Conditioning.Output(display_name="negative", tooltip="What to keep away from."),
            ],
        )

    @classmethod
    def execute(
        cls,
        clip: comfy.sd.CLIP,
        caption: str,
        line_per_tile: bool,
        positive_words: str,
        negative_words: str,
        prompt_weights: bool = False,
        tile_captions: TileCaptions | None = None,
    ) -> io.NodeOutput:
        captions = tile_captions or (tile_lines(caption) if line_per_tile else [caption])
        return io.NodeOutput(*encode_prompts(clip, captions, positive_words, negative_words, prompt_weights))
