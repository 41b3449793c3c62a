"""Captions and quality words, encoded for the UNet."""

from __future__ import annotations

from collections.abc import Sequence

from ..sdxl.conditioning import Conditioning
from ..sdxl.model import SdxlModel


def full_prompt(caption: str, quality: str) -> str:
    """The caption, then the quality words; either may be empty."""
    return " ".join(part.strip() for part in (caption, quality) if part.strip())


def encode_prompts(
    model: SdxlModel, captions: Sequence[str], quality: str, negative: str
) -> tuple[list[Conditioning], Conditioning]:
    """Encode the captions with the quality words, and the negative prompt: positives, negative."""
    texts = [full_prompt(caption, quality) for caption in captions]
    with model.at_work(model.text):
        encoded = model.text.encode([*texts, negative])
    rows = [
        Conditioning(context[None], vector[None])
        for context, vector in zip(encoded.context, encoded.vector, strict=True)
    ]
    return rows[:-1], rows[-1]
