"""The UNet that InstantIR's three files belong to, from the files alone."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..sdxl.config import Shapes, UNetConfig
from .keys import diffusers_path


def unet_config(adapter: Shapes, aggregator: Shapes, previewer: Iterable[str]) -> UNetConfig:
    """Sizes of the UNet.

    The aggregator has the encoder's sizes; how deep the decoder is, only the names of the previewer's branches tell.

    Args:
        adapter: shapes of ``adapter.pt``.
        aggregator: shapes of ``aggregator.pt``.
        previewer: keys of ``previewer_lora_weights.bin``.

    Raises:
        KeyError: a key that every such file has is missing.
    """
    names = [*aggregator, *(key.removeprefix("unet.") for key in previewer)]

    def shape(layer: str) -> tuple[int, ...]:
        return aggregator[diffusers_path(f"{layer}.weight")]

    def depth(block: str) -> int:
        blocks = re.escape(diffusers_path(f"{block}.1.transformer_blocks."))
        found = (re.match(rf"{blocks}(\d+)\.", name) for name in names)
        return 1 + max((int(match[1]) for match in found if match), default=-1)

    first = shape("input_blocks.0.0")
    return UNetConfig(
        in_channels=first[1],
        widths=(first[0], *(shape(f"input_blocks.{i}.0.out_layers.3")[0] for i in (4, 7))),  # type: ignore[arg-type]
        context_width=adapter["image_proj.proj_out.weight"][0],
        vector_width=shape("label_emb.0.0")[1],
        input_depths=tuple(depth(f"input_blocks.{i}") for i in range(9)),
        middle_depth=depth("middle_block"),
        output_depths=tuple(depth(f"output_blocks.{i}") for i in range(9)),
    )
