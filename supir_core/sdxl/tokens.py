"""From a prompt to CLIP's tokens: damaged text mended, taken as it is written, long text in chunks."""

from __future__ import annotations

import html
import logging
import re
from functools import cache
from typing import Any

log = logging.getLogger(__name__)

CHUNK = 75
"""Tokens of a prompt that CLIP reads at once, between its begin and end token."""

CONTROL = re.compile(r"<\|(startoftext|endoftext)\|>", re.IGNORECASE)
"""Text that a tokenizer would take for a begin or end token."""


def mend(text: str) -> str:
    """A prompt as SDXL's text encoders were trained to read it.

    As in OpenCLIP, broken characters are mended, typographic quotes and ligatures become plain ones, HTML entities become
    characters, and white space becomes single spaces. The names of control tokens are kept from acting as such: with the
    spaces they give the tokens of their letters.
    """
    text = html.unescape(html.unescape(_fix_characters(text)))
    return CONTROL.sub(r"<| \1 |>", " ".join(text.split()))


def token_chunks(tokenizer: Any, text: str) -> list[list[int]]:
    """Token ids of a prompt in chunks of at most ``CHUNK``, at least one, each with its begin and end token."""
    ids = tokenizer(mend(text), add_special_tokens=False, verbose=False).input_ids
    starts = range(0, max(len(ids), 1), CHUNK)
    return [[tokenizer.bos_token_id, *ids[start : start + CHUNK], tokenizer.eos_token_id] for start in starts]


def _fix_characters(text: str) -> str:
    try:
        from ftfy import fix_text
    except ImportError:
        _tell_that_ftfy_is_missing()
        return text
    return fix_text(text)


@cache
def _tell_that_ftfy_is_missing() -> None:
    log.warning("curly quotes and broken characters in prompts are left as they are: the package ftfy is not installed")
