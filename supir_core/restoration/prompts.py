"""Captions and quality words, encoded for the UNet."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

Encoded = TypeVar("Encoded")


def full_prompt(caption: str, quality: str) -> str:
    """The caption, then the quality words; either may be empty."""
    return " ".join(part.strip() for part in (caption, quality) if part.strip())


def as_captions(caption: str | Sequence[str]) -> list[str]:
    """One caption, or several, as a list; none at all is the empty one.

    Raises:
        ValueError: it is no text.
    """
    captions = [caption] if isinstance(caption, str) or not isinstance(caption, Sequence) else list(caption) or [""]
    if not all(isinstance(text, str) for text in captions):
        raise ValueError(f'expected a caption as text, or several in a list, got {caption!r}; "" is none')
    return captions


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
