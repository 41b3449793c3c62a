"""Captions and quality words, encoded for the UNet."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

Encoded = TypeVar("Encoded")


def full_prompt(caption: str, quality: str) -> str:
    """The caption, then the quality words; either may be empty."""
    return " ".join(part.strip() for part in (caption, quality) if part.strip())


def encode_prompts(
    encode: Callable[[Sequence[str]], Iterable[Encoded]],
    captions: Sequence[str],
    positive: str,
    negative: str,
) -> tuple[list[Encoded], Encoded]:
    """Encode the captions, each followed by the quality words, and the negative prompt.

    Args:
        encode: encodes texts, the library's way or a host's.
        captions: one for the whole picture, or one for each tile.
        positive: quality words.
        negative: what to keep away from.

    Returns:
        The positive prompts in the order of the captions, and the negative one.
    """
    *positives, last = encode([*(full_prompt(caption, positive) for caption in captions), negative])
    return positives, last
