"""The demo's text encoders, in SDXL's own file format, and its tokenizer."""

from __future__ import annotations

import json
import re
from pathlib import Path

import torch
from torch import Tensor, nn

from supir_core.command.demo import CONTEXT_WIDTH
from supir_core.sdxl.text import CLIP_G, CLIP_L
from supir_core.supir.settings import NEGATIVE_PROMPT, POSITIVE_PROMPT

TEXT_WIDTH, TEXT_POSITIONS, TEXT_LAYERS = CONTEXT_WIDTH // 2, 77, 2

CAPTIONS = {
    "coffee": "A cup of coffee on a wooden table.",
    "rocket": "A rocket at its launch.",
    "hubble_deep_field": "Galaxies in the night sky.",
    "retina": "A retina.",
    "immunohistochemistry": "Tissue under a microscope.",
    "camera": "A man with a camera on a lawn.",
    "moon": "The surface of the moon.",
    "brick": "A brick wall.",
    "grass": "Grass.",
    "gravel": "Gravel.",
    "coins": "Old coins.",
    "page": "A printed page.",
    "motorcycle": "A motorcycle in a garage.",
    "china": "A temple in China.",
    "flower": "A flower.",
    "hopper": "A woman in uniform.",
    "raccoon": "A raccoon.",
    "kodak": "A photograph.",
    "drawn": "A drawing.",
}
"""What the training pictures show."""

VOCABULARY = " ".join((POSITIVE_PROMPT, NEGATIVE_PROMPT, *CAPTIONS.values()))
"""Words that are one token each; others are spelt."""


def text_tensors() -> dict[str, Tensor]:
    """Weights of both text encoders under their published names: deterministic noise, in half precision."""
    tokens = len(vocabulary(VOCABULARY)[0])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return {**_clip_l(tokens), **_clip_g(tokens)}


def write_tokenizer(folder: Path, text: str) -> None:
    """Write a CLIP tokenizer of single bytes in which each word of ``text`` is one token."""
    tokens, merges = vocabulary(text)
    folder.mkdir(parents=True, exist_ok=True)
    numbered = {token: i for i, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(numbered), encoding="utf-8")
    lines = ["#version: 0.2", *(f"{start} {letter}" for start, letter in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def vocabulary(text: str) -> tuple[list[str], list[tuple[str, str]]]:
    """Tokens and merges of such a tokenizer."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = [chr(byte) for byte in printable] + [chr(256 + i) for i in range(len(others))]
    merges: dict[tuple[str, str], None] = {}
    for word in re.findall(r"[a-z]+|\d", text.lower()):
        start, *rest = [*word[:-1], word[-1] + "</w>"]
        for letter in rest:
            merges[start, letter] = None
            start += letter
    joined = dict.fromkeys(start + letter for start, letter in merges)
    ends = [letter + "</w>" for letter in letters]
    return [*letters, *ends, *joined, "<|startoftext|>", "<|endoftext|>"], list(merges)


def _clip_l(tokens: int) -> dict[str, Tensor]:
    """CLIP in transformers' names."""
    tensors = {
        "embeddings.token_embedding.weight": torch.randn(tokens, TEXT_WIDTH),
        "embeddings.position_embedding.weight": torch.randn(TEXT_POSITIONS, TEXT_WIDTH) * 0.1,
        **_linear("final_layer_norm", nn.LayerNorm(TEXT_WIDTH)),
    }
    for i in range(TEXT_LAYERS):
        layer = f"encoder.layers.{i}."
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            tensors |= _linear(f"{layer}self_attn.{name}", nn.Linear(TEXT_WIDTH, TEXT_WIDTH))
        for name in ("layer_norm1", "layer_norm2"):
            tensors |= _linear(layer + name, nn.LayerNorm(TEXT_WIDTH))
        tensors |= _linear(layer + "mlp.fc1", nn.Linear(TEXT_WIDTH, 4 * TEXT_WIDTH))
        tensors |= _linear(layer + "mlp.fc2", nn.Linear(4 * TEXT_WIDTH, TEXT_WIDTH))
    return {CLIP_L + key: tensor.detach().half() for key, tensor in tensors.items()}


def _clip_g(tokens: int) -> dict[str, Tensor]:
    """CLIP in OpenCLIP's names."""
    tensors = {
        "token_embedding.weight": torch.randn(tokens, TEXT_WIDTH),
        "positional_embedding": torch.randn(TEXT_POSITIONS, TEXT_WIDTH) * 0.1,
        "text_projection": torch.randn(TEXT_WIDTH, TEXT_WIDTH) * TEXT_WIDTH**-0.5,
        "logit_scale": torch.ones(()),
        **_linear("ln_final", nn.LayerNorm(TEXT_WIDTH)),
    }
    for i in range(TEXT_LAYERS):
        layer = f"transformer.resblocks.{i}."
        joint = nn.Linear(TEXT_WIDTH, 3 * TEXT_WIDTH)
        tensors |= {layer + "attn.in_proj_weight": joint.weight, layer + "attn.in_proj_bias": joint.bias}
        tensors |= _linear(layer + "attn.out_proj", nn.Linear(TEXT_WIDTH, TEXT_WIDTH))
        for name in ("ln_1", "ln_2"):
            tensors |= _linear(layer + name, nn.LayerNorm(TEXT_WIDTH))
        tensors |= _linear(layer + "mlp.c_fc", nn.Linear(TEXT_WIDTH, 4 * TEXT_WIDTH))
        tensors |= _linear(layer + "mlp.c_proj", nn.Linear(4 * TEXT_WIDTH, TEXT_WIDTH))
    return {CLIP_G + key: tensor.detach().half() for key, tensor in tensors.items()}


def _linear(name: str, layer: nn.Linear | nn.LayerNorm) -> dict[str, Tensor]:
    return {f"{name}.weight": layer.weight, f"{name}.bias": layer.bias}
