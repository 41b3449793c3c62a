"""What a language model says of a picture, made a prompt: one paragraph, to the point."""

from __future__ import annotations

import re
from collections.abc import Sequence

THOUGHTS = re.compile(r"<think>.*?</think>|^.*?</think>", re.DOTALL)
MARKUP = re.compile(r"^\s*(?:#{1,6}|[-*+•]|\d+[.)])\s+|\*\*|__|`", re.MULTILINE)

PICTURE = r"(?:image|picture|photo|photograph|scene)"
SHOWS = r"(?:shows?|depicts?|features?|captures?|presents?|displays?|portrays?|illustrates?|contains?)"
HERALDS = (
    r"(?:sure|certainly|of course|okay)[,!.:]\s+",
    rf"here(?:'s| is| are) [^.:]{{0,80}}\b(?:description|caption|{PICTURE})[^.:]{{0,40}}:\s*",
    r"(?:description|caption|answer|assistant)\s*:\s*",
    rf"in (?:this|the) {PICTURE}\s*,?\s*(?:we (?:can )?see |you (?:can )?see |there (?:is|are) )?",
    rf"(?:this|the) {PICTURE} (?:(?:is|shows) of|{SHOWS}|is)\s+",
    rf"(?:this|it) (?:is|{SHOWS}) an? {PICTURE} (?:of|that {SHOWS}|depicting|showing|featuring)\s+",
    rf"an? {PICTURE} of\s+",
)
"""Beginnings that say only that there is a picture."""

HERALD = re.compile("|".join(f"(?:{herald})" for herald in HERALDS), re.IGNORECASE)
SENTENCE_END = re.compile(r"(?:(?<=[.!?])|(?<=[.!?][\"')\]]))\s+")
COMPLETE = re.compile(r"[.!?][\"')\]]*$")


def clean(text: str, finished: bool = True) -> str:
    """One paragraph without thoughts, markup, and phrases such as "The image shows".

    Args:
        text: as generated.
        finished: the model came to its end; else the last sentence is left out where it is a fragment.
    """
    text = MARKUP.sub("", THOUGHTS.sub("", text))
    text = " ".join(text.split()).strip("\"' ")
    while (shorter := HERALD.sub("", text, count=1) if HERALD.match(text) else text) != text:
        text = shorter
    sentences = SENTENCE_END.split(text)
    if not finished and len(sentences) > 1 and not COMPLETE.search(text):
        text = text[: text.rindex(sentences[-1])].rstrip()
    return text[:1].upper() + text[1:]


def tile_lines(text: str) -> list[str]:
    """The captions of tiles, a line each; a line that is blank is an empty caption, the end of the last line is none."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n").split("\n")
    return [line.strip() for line in lines]


def tile_text(captions: Sequence[str]) -> str:
    """The text that ``tile_lines`` reads the captions from."""
    return "".join(f"{caption}\n" for caption in captions)
