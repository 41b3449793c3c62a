"""Attention of the UNet over image tokens, adapted to time (Huang et al. 2024, Eq. 3).

In every ``attn2`` of width C, beside the attention over the text, with c the resampler's tokens and e the UNet's own
time and vector embedding::

    K, V   = AdaLN_k(to_k_ip(c), e), AdaLN_v(to_v_ip(c), e)
    shift, scale = linear(SiLU(e))
    AdaLN(y, e)  = LN(y) * (1 + scale) + shift                      LN without affine, eps 1e-6
    out    = to_out(attention(q, to_k(text), to_v(text)) + attention(q, K, V))

As released, the sum is taken before the shared output projection, with weight 1. LN(to_k_ip(c)) and LN(to_v_ip(c)) do not
depend on time: they are made once for a picture (:meth:`ImageAdapter.read`). Shift and scale do not depend on the picture:
they can be made once for all steps (:meth:`ImageAdapter.modulations`). What is left for a step is :func:`modulate`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..sdxl.blocks import Attention, CrossAttention, TextContext, attention
from ..sdxl.config import UNetConfig
from .resampler import Resampler, ResamplerConfig

ADALN_EPS = 1e-6


class KeyValue(NamedTuple):
    """What one layer makes of the image tokens, each ``(R, tokens, C)``."""

    k: Tensor
    v: Tensor


class Modulation(NamedTuple):
    """What one layer makes of the time, each ``(..., R, 2 C)``: shift, then scale."""

    k: Tensor
    v: Tensor


class AttentionSite(NamedTuple):
    """Where an attention over text is: block ``number`` of ``kind`` (``input``, ``output``, ``middle``), its ``depth``-th."""

    kind: str
    number: int
    depth: int

    @property
    def path(self) -> str:
        """Its name as a module of the UNet."""
        block = "middle_block" if self.kind == "middle" else f"{self.kind}_blocks.{self.number}"
        return f"{block}.1.transformer_blocks.{self.depth}.attn2"


def attention_sites(config: UNetConfig) -> list[AttentionSite]:
    """All attentions over text, in the order in which the adapter numbers them: the middle block comes last."""
    parts = (
        ("input", config.input_depths),
        ("output", config.output_depths),
        ("middle", (config.middle_depth,)),
    )
    return [
        AttentionSite(kind, number, depth)
        for kind, depths in parts
        for number, count in enumerate(depths)
        for depth in range(count)
    ]


def adapter_index(layer: int) -> int:
    """The adapter's number of the ``layer``-th place: 1, 3, 5, ...; as released, self-attentions are counted too."""
    return 2 * layer + 1


def adapter_site(index: int, config: UNetConfig) -> AttentionSite:
    """The place that the adapter calls ``index``."""
    return attention_sites(config)[index // 2]


class AdaLN(nn.Module):
    """The linear layer of an AdaLN; the norm has no weights."""

    def __init__(self, embedding_width: int, width: int, operations: Any = nn):
        super().__init__()
        self.linear = operations.Linear(embedding_width, 2 * width)


class ImageAttention(nn.Module):
    """What one ``attn2`` has of its own for the image tokens."""

    def __init__(self, width: int, context_width: int, embedding_width: int, operations: Any = nn):
        super().__init__()
        self.to_k_ip = operations.Linear(context_width, width, bias=False)
        self.to_v_ip = operations.Linear(context_width, width, bias=False)
        self.ln_k_ip = AdaLN(embedding_width, width, operations)
        self.ln_v_ip = AdaLN(embedding_width, width, operations)

    def read(self, tokens: Tensor) -> KeyValue:
        """Keys and values before modulation."""
        return KeyValue(_norm(self.to_k_ip(tokens)), _norm(self.to_v_ip(tokens)))

    def modulation(self, activated: Tensor) -> Modulation:
        """Shift and scale from the activated embedding."""
        return Modulation(self.ln_k_ip.linear(activated), self.ln_v_ip.linear(activated))


class ImageAdapter(nn.Module):
    """All that lets an SDXL UNet read image features (release: ``adapter.pt``).

    Args:
        config: sizes of the UNet.
        resampler: sizes of the resampler.
        operations: where the layers come from, ``torch.nn`` or the host's namespace of the same form.
        attention: the attention function.
    """

    def __init__(
        self,
        config: UNetConfig,
        resampler: ResamplerConfig,
        operations: Any = nn,
        attention: Attention = attention,
    ):
        super().__init__()
        self.image_proj = Resampler(resampler, operations, attention)
        self.ip_adapter = nn.ModuleDict()
        for layer, site in enumerate(attention_sites(config)):
            self.ip_adapter[str(adapter_index(layer))] = ImageAttention(
                width_at(config, site), resampler.context_width, config.embedding_width, operations
            )

    @property
    def layers(self) -> list[ImageAttention]:
        """The layers in the order of :func:`attention_sites`."""
        return list(self.ip_adapter.values())  # type: ignore[arg-type]

    def read(self, features: Tensor) -> list[KeyValue]:
        """Keys and values of every layer before modulation, from features ``(R, 257, feature_width)``."""
        tokens = self.image_proj(features)
        return [layer.read(tokens) for layer in self.layers]

    def modulations(self, embedding: Tensor) -> list[Modulation]:
        """Shift and scale of every layer, from the UNet's embedding (``Encoder.embed``), ``(..., R, embedding_width)``."""
        activated = F.silu(embedding)
        return [layer.modulation(activated) for layer in self.layers]


def modulate(read: Sequence[KeyValue], modulations: Sequence[Modulation]) -> list[KeyValue]:
    """Keys and values of every layer at one time; rows of both belong together."""
    return [
        KeyValue(*(_adapt(*pair) for pair in zip(kv, modulation, strict=True)))
        for kv, modulation in zip(read, modulations, strict=True)
    ]


def image_rows(
    read: Sequence[Sequence[KeyValue]],
    modulations: Sequence[Modulation],
    prompts: Sequence[int],
    pictures: int,
    tiles: int = 1,
) -> list[KeyValue]:
    """Keys and values of every layer for the rows of a call: prompts, then tiles, then pictures.

    Args:
        read: of each prompt, what ``ImageAdapter.read`` made of its features, of 1 row or one for each picture.
        modulations: of the rows of the call, or of those without tiles.
        prompts: which prompts the call has, as indices into ``read``.
        pictures: how many are sampled together.
        tiles: how many tiles of each picture are in the call.
    """

    def arranged(parts: Sequence[Tensor]) -> Tensor:
        return torch.cat([part.expand(pictures, -1, -1).repeat(tiles, 1, 1) for part in parts])

    def of_tiles(part: Tensor) -> Tensor:
        if len(part) == len(prompts) * pictures * tiles:
            return part
        return part.unflatten(0, (len(prompts), -1)).repeat(1, tiles, 1).flatten(0, 1)

    layers = zip(*(read[prompt] for prompt in prompts), strict=True)
    image = [KeyValue(*map(arranged, zip(*layer, strict=True))) for layer in layers]
    return modulate(image, [Modulation(*map(of_tiles, modulation)) for modulation in modulations])


class TextAndImage(TextContext):
    """Text, and beside it the image tokens, for one call of the UNet.

    Args:
        text: whose keys and values are kept where they were made.
        image: keys and values of the image tokens for each layer that reads any.
    """

    def __init__(self, text: TextContext, image: Mapping[nn.Module, KeyValue]):
        super().__init__(text.tokens)
        self.text = text
        self.image = image

    def attended_by(self, layer: CrossAttention, q: Tensor) -> Tensor:
        """Attention over the text plus attention over the image tokens."""
        k, v = self.image[layer]
        return self.text.attended_by(layer, q) + layer.attention(q, k, v, layer.heads)


def width_at(config: UNetConfig, site: AttentionSite) -> int:
    """Channels of an attention over text."""
    levels = {"input": (site.number - 1) // 3, "output": 2 - site.number // 3, "middle": 2}
    return config.widths[levels[site.kind]]


def _norm(x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], eps=ADALN_EPS)


def _adapt(normed: Tensor, modulation: Tensor) -> Tensor:
    shift, scale = modulation[..., None, :].chunk(2, dim=-1)
    return normed * (1 + scale) + shift
