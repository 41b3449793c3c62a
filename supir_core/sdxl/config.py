"""The constants of the method and the sizes of the networks, the latter read from tensor shapes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

LATENT_SCALE = 0.13025
"""SDXL's factor between the VAE's latents and the latents that are diffused."""

LATENT_CHANNELS = 4
"""Of SDXL's latents; other families have 16 or more."""

LATENT_PIXELS = 8
"""Side of the square of pixels behind one latent pixel."""

SIGMA_MAX = 14.6146
"""Largest training sigma, as the literal that the release divides by."""

HEAD_WIDTH = 64
"""Channels of one attention head, everywhere in SDXL."""

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class UNetConfig:
    """Sizes of an SDXL UNet, or of its encoder alone.

    Attributes:
        in_channels: channels of the latent, 4.
        widths: channels of the three resolution levels, SDXL (320, 640, 1280).
        context_width: channels of the text context, SDXL 2048.
        vector_width: channels of the pooled text and size vector, SDXL 2816.
        input_depths: transformer blocks in each of the nine input blocks, 0 for none.
        middle_depth: transformer blocks in the middle block.
        output_depths: transformer blocks in each of the nine output blocks; empty for an encoder.
    """

    in_channels: int
    widths: tuple[int, int, int]
    context_width: int
    vector_width: int
    input_depths: tuple[int, ...]
    middle_depth: int
    output_depths: tuple[int, ...]

    @property
    def embedding_width(self) -> int:
        """Channels of the timestep embedding."""
        return 4 * self.widths[0]

    @classmethod
    def from_shapes(cls, shapes: Shapes) -> UNetConfig:
        """Read the sizes from the shapes of a UNet's state dict, without any prefix.

        Raises:
            KeyError: a key that every SDXL UNet has is missing.
        """
        contexts = [shape[1] for key, shape in shapes.items() if key.endswith("attn2.to_k.weight")]
        return cls(
            in_channels=shapes["input_blocks.0.0.weight"][1],
            widths=(
                shapes["input_blocks.0.0.weight"][0],
                shapes["input_blocks.4.0.out_layers.3.weight"][0],
                shapes["input_blocks.7.0.out_layers.3.weight"][0],
            ),
            context_width=contexts[0] if contexts else 0,
            vector_width=shapes["label_emb.0.0.weight"][1],
            input_depths=tuple(_depth(shapes, f"input_blocks.{i}.1") for i in range(9)),
            middle_depth=_depth(shapes, "middle_block.1"),
            output_depths=tuple(_depth(shapes, f"output_blocks.{i}.1") for i in range(9))
            if "output_blocks.0.0.in_layers.0.weight" in shapes
            else (),
        )


@dataclass(frozen=True)
class VAEConfig:
    """Sizes of an SDXL VAE.

    Attributes:
        widths: channels of each resolution level, finest first, SDXL (128, 256, 512, 512).
        blocks: residual blocks of an encoder level (a decoder level has one more), SDXL 2.
        latent_channels: channels of the latent, 4.
        stem: channels after the encoder's first convolution, SDXL 128.
    """

    widths: tuple[int, ...]
    blocks: int
    latent_channels: int
    stem: int

    @classmethod
    def from_shapes(cls, shapes: Shapes, encoder: str = "encoder") -> VAEConfig:
        """Read the sizes from the shapes of a VAE's state dict; ``encoder`` names the one to measure.

        Raises:
            KeyError: a key that every SDXL VAE has is missing.
        """
        levels = 1 + _highest(shapes, rf"{encoder}\.down\.(\d+)\.")
        return cls(
            widths=tuple(shapes[f"{encoder}.down.{i}.block.0.conv2.weight"][0] for i in range(levels)),
            blocks=1 + _highest(shapes, rf"{encoder}\.down\.0\.block\.(\d+)\."),
            latent_channels=shapes[f"{encoder}.conv_out.weight"][0] // 2,
            stem=shapes[f"{encoder}.conv_in.weight"][0],
        )


def check_latent(shape: tuple[int, ...], name: str) -> None:
    """Raise ValueError unless latents of this shape, called ``name``, are SDXL's: ``(B, 4, h, w)``."""
    if len(shape) != 4 or shape[1] != LATENT_CHANNELS:
        raise ValueError(
            f"expected {name} of SDXL, of shape (B, {LATENT_CHANNELS}, h, w), got {tuple(shape)}, the latent of another family. "
            "Encode the picture with SDXL's VAE"
        )


def without_prefix(shapes: Shapes, prefix: str) -> Shapes:
    """The entries whose key starts with ``prefix``, without it."""
    return {key[len(prefix) :]: shape for key, shape in shapes.items() if key.startswith(prefix)}


def _depth(shapes: Shapes, block: str) -> int:
    return 1 + _highest(shapes, rf"{re.escape(block)}\.transformer_blocks\.(\d+)\.")


def _highest(shapes: Shapes, pattern: str) -> int:
    """Largest number that ``pattern`` captures at the start of a key, -1 for none.

    Raises:
        ValueError: it is larger than the number of keys.
    """
    matches = (re.match(pattern, key) for key in shapes)
    highest = max((int(match[1]) for match in matches if match), default=-1)
    if highest >= len(shapes):
        raise ValueError(f"a layer of the number {highest}")
    return highest
