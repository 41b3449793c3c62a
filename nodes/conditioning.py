"""Captions and quality words as CONDITIONING."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import comfy.sd
from comfy_api.latest import io

from ..supir_core.captions.text import tile_lines
from ..supir_core.restoration import prompts
from ..supir_core.sdxl.conditioning import SIZE_CONDITION
from .host import CATEGORY
from .inputs import setting_input
from .options import TILE

NAMES = ("height", "width", "crop_h", "crop_w", "target_height", "target_width")
SIZES = dict(zip(NAMES, SIZE_CONDITION, strict=True))
"""As released, always these, whatever the picture's size."""

Conditioning = list[tuple[Any, dict[str, Any]]]


def encode_text(clip: comfy.sd.CLIP, text: str) -> Conditioning:
    """A prompt with SUPIR's size condition."""
    if clip is None:
        raise ValueError("the checkpoint has no text encoder; connect the CLIP of an SDXL checkpoint")
    return clip.encode_from_tokens_scheduled(clip.tokenize(text), add_dict=dict(SIZES))


def encode_prompts(
    clip: comfy.sd.CLIP, captions: Sequence[str], positive: str, negative: str
) -> tuple[Conditioning, Conditioning]:
    """Captions with the quality words, one for each tile where there are several, and the negative prompt."""
    encode = partial(map, partial(encode_text, clip))
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
            is_input_list=True,
            inputs=[
                io.Clip.Input("clip", tooltip="SDXL's text encoders, of the base checkpoint."),
                io.String.Input(
                    "caption",
                    multiline=True,
                    default="",
                    dynamic_prompts=False,
                    tooltip="What the picture shows. Trust a captioner for scenery; for portraits and anything with text "
                    "or logos write a short noun phrase yourself. A list of texts is one for each tile.",
                ),
                io.Boolean.Input(
                    "line_per_tile",
                    default=False,
                    advanced=True,
                    tooltip="Each line of the caption belongs to one tile of SUPIR Tiles, row by row from the top left.",
                ),
                setting_input("positive", id="positive_words", advanced=True),
                setting_input("negative", id="negative_words", advanced=True),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive", tooltip="Caption and quality words."),
                io.Conditioning.Output(display_name="negative", tooltip="What to keep away from."),
            ],
        )

    @classmethod
    def execute(
        cls,
        clip: list[comfy.sd.CLIP],
        caption: list[str],
        line_per_tile: list[bool],
        positive_words: list[str],
        negative_words: list[str],
    ) -> io.NodeOutput:
        captions = list(caption)
        if line_per_tile[0] and len(captions) == 1:
            captions = tile_lines(captions[0])
        return io.NodeOutput(*encode_prompts(clip[0], captions, positive_words[0], negative_words[0]))
