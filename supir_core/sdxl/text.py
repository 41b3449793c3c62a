"""SDXL's two text encoders, from the weights inside an SDXL checkpoint, run by transformers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .conditioning import Conditioning
from .config import HEAD_WIDTH, Shapes
from .memory import upload
from .tokens import token_chunks

TOKENIZER = "openai/clip-vit-large-patch14"
"""Both encoders share this tokenizer; the hub's id, or any folder with its vocab.json and merges.txt."""

BYTE_TOKENS = 512
"""Tokens that every vocabulary of CLIP has: each byte, within a word and at its end."""

CLIP_L = "conditioner.embedders.0.transformer.text_model."
CLIP_G = "conditioner.embedders.1.model."
UNUSED = re.compile(r".*\.position_ids|.*\.logit_scale")
"""Entries of the text encoders that hold nothing to load."""

OPENCLIP_NAMES = (
    (r"token_embedding\.", "embeddings.token_embedding."),
    (r"positional_embedding$", "embeddings.position_embedding.weight"),
    (r"ln_final\.", "final_layer_norm."),
    (r"transformer\.resblocks\.(\d+)\.", r"encoder.layers.\1."),
    (r"\.attn\.", ".self_attn."),
    (r"\.ln_(\d)\.", r".layer_norm\1."),
    (r"\.mlp\.c_fc\.", ".mlp.fc1."),
    (r"\.mlp\.c_proj\.", ".mlp.fc2."),
)
"""From OpenCLIP's names to transformers', in this order."""


class TokenizerNotFoundError(FileNotFoundError):
    """The tokenizer is neither a folder nor to be had from the hub."""


class TextEncoders(nn.Module):
    """CLIP-L and OpenCLIP bigG, read as SDXL reads them: the penultimate layers, and bigG's pooled projection."""

    def __init__(self, shapes: Shapes, tokenizer: Any):
        """Build both from the shapes of an SDXL checkpoint's state dict (keys with their full prefix)."""
        super().__init__()
        self.tokenizer = tokenizer
        sizes_l = _sizes(
            shapes,
            CLIP_L + "embeddings.token_embedding.weight",
            CLIP_L + "embeddings.position_embedding.weight",
            CLIP_L + "encoder.layers.{}.mlp.fc1.weight",
        )
        sizes_g = _sizes(
            shapes,
            CLIP_G + "token_embedding.weight",
            CLIP_G + "positional_embedding",
            CLIP_G + "transformer.resblocks.{}.mlp.c_fc.weight",
        )
        self.clip_l = _clip(sizes_l, "quick_gelu", tokenizer)
        self.clip_g = _clip(sizes_g, "gelu", tokenizer)
        self.text_projection = nn.Parameter(torch.empty(shapes[CLIP_G + "text_projection"]))

    @property
    def pooled_width(self) -> int:
        """Channels of the pooled text, at the front of the vector."""
        return self.text_projection.shape[1]

    def fill_buffers(self) -> None:
        """Fill the one buffer that no checkpoint carries, after a build on ``meta``."""
        for module in self.modules():
            if isinstance(getattr(module, "position_ids", None), Tensor):
                module.position_ids = torch.arange(module.position_ids.shape[-1])[None]  # type: ignore

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> list[Conditioning]:
        """Encode prompts as they are written; those of more than 75 tokens in chunks, one after the other.

        Returns:
            Conditioning of 1 row for each text: the context of its chunks, ``(1, 77 * chunks, L + G)``, and the pooled text
            of the first, in float32.
        """
        chunks = [token_chunks(self.tokenizer, text) for text in texts]
        counts = [len(some) for some in chunks]
        context, pooled = self._read([chunk for some in chunks for chunk in some])
        rows = zip(context.split(counts), pooled.split(counts), strict=True)
        return [Conditioning.from_text(some.flatten(0, 1)[None], first[:1]) for some, first in rows]

    def _read(self, chunks: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Context ``(N, 77, L + G)`` and pooled text ``(N, G)`` of chunks of tokens."""
        device = self.text_projection.device
        ends = upload(torch.tensor([len(chunk) - 1 for chunk in chunks]), device)
        # OpenCLIP pads with 0 where CLIP-L pads with the end token
        tokens_l, tokens_g = (upload(self._padded(chunks, pad), device) for pad in (self.tokenizer.eos_token_id, 0))
        context_l = _penultimate(self.clip_l, tokens_l)[0]
        context_g, last = _penultimate(self.clip_g, tokens_g)
        pooled = last[torch.arange(len(chunks), device=device), ends] @ self.text_projection
        return torch.cat([context_l, context_g], dim=-1).float(), pooled.float()

    def _padded(self, chunks: Sequence[Sequence[int]], pad: int) -> Tensor:
        """Token ids ``(N, 77)``."""
        length = self.clip_l.config.max_position_embeddings
        return torch.tensor([[*chunk, *[pad] * (length - len(chunk))] for chunk in chunks])


def load_tokenizer(source: str | Path | None = None) -> Any:
    """The CLIP tokenizer, from a folder with vocab.json and merges.txt or from the hub.

    Raises:
        TokenizerNotFoundError: it is in neither place.
    """
    from transformers import CLIPTokenizer

    name = str(source or TOKENIZER)
    try:
        tokenizer = CLIPTokenizer.from_pretrained(name)
        if len(tokenizer) < BYTE_TOKENS:  # which transformers makes of a folder without its files
            raise ValueError(f"a vocabulary of {len(tokenizer)} tokens")
        return tokenizer
    except (OSError, ValueError, TypeError) as error:
        raise TokenizerNotFoundError(
            f'no CLIP tokenizer at "{name}": expected a folder with vocab.json and merges.txt, or a model id that '
            f"the Hugging Face hub answers for. Download both files of {TOKENIZER} into a folder and name it "
            "(--tokenizer FOLDER on the command line)"
        ) from error


def text_state_dict(checkpoint: Mapping[str, Any], model: TextEncoders) -> dict[str, Any]:
    """Rename the text encoders' part of an SDXL state dict to the keys of ``model``.

    The values may be tensors or anything that ``chunk(3)`` splits in three.
    """
    renamed = {"text_projection": checkpoint[CLIP_G + "text_projection"]}
    for key, value in checkpoint.items():
        if key.startswith(CLIP_L) and not UNUSED.fullmatch(key):
            renamed[f"clip_l.{_prefix(model.clip_l)}{key[len(CLIP_L) :]}"] = value
        elif key.startswith(CLIP_G) and not UNUSED.fullmatch(key) and key != CLIP_G + "text_projection":
            for name, part in _from_openclip(key[len(CLIP_G) :], value):
                renamed[f"clip_g.{_prefix(model.clip_g)}{name}"] = part
    return renamed


def _from_openclip(key: str, value: Any) -> list[tuple[str, Any]]:
    """One OpenCLIP entry under transformers' names; the joint projection of q, k and v becomes three."""
    for pattern, name in OPENCLIP_NAMES:
        key = re.sub(pattern, name, key)
    if "in_proj_" not in key:
        return [(key, value)]
    return [
        (key.replace("in_proj_", f"{part}_proj."), piece) for part, piece in zip("qkv", value.chunk(3), strict=False)
    ]


def _prefix(clip: nn.Module) -> str:
    """Where the encoder is kept: transformers before 5 has it the encoder under ``text_model``."""
    return "text_model." if hasattr(clip, "text_model") else ""


def _penultimate(clip: Any, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Output of the last layer but one, without the final norm, and of the last with it."""
    out = clip(input_ids=tokens, output_hidden_states=True)
    return out.hidden_states[-2], out.last_hidden_state


def _clip(sizes: dict[str, Any], activation: str, tokenizer: Any) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel

    config = CLIPTextConfig(
        **sizes,
        num_attention_heads=max(sizes["hidden_size"] // HEAD_WIDTH, 1),
        hidden_act=activation,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return CLIPTextModel(config)


def _sizes(shapes: Shapes, tokens: str, positions: str, inner: str) -> dict[str, Any]:
    """Sizes of one encoder by the keys of its embeddings and, with ``{}`` for its number, of a layer's first linear."""
    layers = 0
    while inner.format(layers) in shapes:
        layers += 1
    vocabulary, width = shapes[tokens]
    return {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "max_position_embeddings": shapes[positions][0],
        "intermediate_size": shapes[inner.format(0)][0],
        "num_hidden_layers": layers,
    }
