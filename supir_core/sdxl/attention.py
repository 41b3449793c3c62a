"""Attention of the VAE's one wide head over whole pictures, whose scores would not fit memory."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from einops import rearrange
from torch import Tensor

from .blocks import attention

SCORES = 2**26
"""Scores of attention at once on a GPU."""

CACHED_TOKENS = 1024
"""Queries and keys at once on a CPU: their scores stay in the cache, which makes attention twice as fast."""


def spans(length: int, step: int) -> list[tuple[int, int]]:
    """Starts and ends of the parts of a length, each ``step`` long but the last."""
    return [(start, min(start + step, length)) for start in range(0, length, step)]


def whole_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention of one head over keys and values ``(B, C, H, W)`` that are at hand, by blocks of queries: as ``q``."""
    queries, keys, values = (rearrange(t, "b c h w -> b (h w) c").contiguous() for t in (q, k, v))
    blocks = queries.split(max(1, SCORES // keys.shape[1]), dim=1)  # a kernel may write all its scores down
    out = torch.cat([attention(block, keys, values, 1) for block in blocks], dim=1)
    return rearrange(out, "b (h w) c -> b c h w", h=q.shape[2])


def online_attention(q: Tensor, pieces: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """Attention of one head, over keys and values that come in pieces (Milakov and Gimelshein 2018).

    Args:
        q: queries, ``(B, C, h, w)``.
        pieces: keys and values, each ``(B, C, h', w')``.

    Returns:
        ``(B, C, h, w)``.
    """
    queries = (rearrange(q, "b c h w -> b (h w) c") * q.shape[1] ** -0.5).float()
    highest = torch.full_like(queries[..., :1], -math.inf)
    total, out = torch.zeros_like(highest), torch.zeros_like(queries)
    block = CACHED_TOKENS if q.device.type == "cpu" else queries.shape[1]
    for k, v in pieces:
        keys, values = (rearrange(t, "b c h w -> b (h w) c").float() for t in (k, v))
        for first, last in spans(queries.shape[1], block):
            rows = (slice(None), slice(first, last))
            for start, end in spans(keys.shape[1], block):
                scores = queries[rows] @ keys[:, start:end].mT
                top = torch.maximum(highest[rows], scores.amax(-1, keepdim=True))
                faded = (highest[rows] - top).exp_()
                weights = scores.sub_(top).exp_()
                total[rows].mul_(faded).add_(weights.sum(-1, keepdim=True))
                out[rows].mul_(faded).baddbmm_(weights, values[:, start:end])
                highest[rows] = top
    return rearrange((out / total).to(q.dtype), "b (h w) c -> b c h w", h=q.shape[2])
