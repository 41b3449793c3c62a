"""The size of a result, said otherwise than by a factor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..supir_core.restoration.knobs import SCALE
from ..supir_core.restoration.sizes import AUTO, FIT, LONGEST_SIDE, MEGAPIXELS, SHRINK_FIRST, Layout, TargetSize
from .host import CATEGORY
from .inputs import knob_input

SupirSizeType = io.Custom("SUPIR_SIZE")

OFF, FACTOR = "off", "factor"
PAPER = (3543, 2362)
"""(width, height) in pixels of 30 by 20 cm at 300 dpi."""


class SupirSize(io.ComfyNode):
    """Say how large a result shall be."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        width, height = (
            io.Int.Input(name, default=side, min=1, max=65536, tooltip=f"{name.capitalize()} of the result in pixels.")
            for name, side in zip(("width", "height"), PAPER, strict=True)
        )
        sizes = {
            "scale": [knob_input("scale", SCALE)],
            "longest side": [knob_input("longest_side", LONGEST_SIDE)],
            "megapixels": [knob_input("megapixels", MEGAPIXELS)],
            "exact": [width, height, knob_input("fit", FIT, default="crop")],
        }
        shrinking = {OFF: [], AUTO: [], FACTOR: [knob_input("factor", SHRINK_FIRST, default=2.0)]}
        return io.Schema(
            node_id="SupirSize",
            display_name="SUPIR Size",
            category=CATEGORY,
            description="Says how large a result shall be: by a scale, its longest side, megapixels, or exactly, cropped or "
            "padded. Large scans without detail of their size can be shrunk first. Connect it to the size of SUPIR Restore, "
            "SUPIR Encode or InstantIR Apply.",
            search_aliases=[
                "size",
                "resolution",
                "megapixels",
                "longest side",
                "print size",
                "dpi",
                "shrink",
                "resize",
            ],
            inputs=[
                io.DynamicCombo.Input(
                    "by",
                    options=[io.DynamicCombo.Option(key, inputs) for key, inputs in sizes.items()],
                    tooltip="How the size is said: scale, longest side in pixels, megapixels, or exact width and height.",
                ),
                io.DynamicCombo.Input(
                    "shrink_first",
                    options=[io.DynamicCombo.Option(key, inputs) for key, inputs in shrinking.items()],
                    tooltip="For large scans without detail of their size, which are restored better from a smaller picture. "
                    "auto: as far as no detail is lost, by the picture's spectrum; factor: that far. A scale counts from "
                    "the shrunk picture.",
                ),
            ],
            outputs=[SupirSizeType.Output(display_name="size", tooltip="For the size of a node that restores.")],
        )

    @classmethod
    def execute(cls, by: Mapping[str, Any], shrink_first: Mapping[str, Any]) -> io.NodeOutput:
        chosen = {name: value for name, value in by.items() if name != "by"}
        if by["by"] == "exact":
            chosen = {"size": (chosen["height"], chosen["width"]), "fit": chosen["fit"]}
        shrunk = {OFF: SHRINK_FIRST.default, AUTO: AUTO, FACTOR: shrink_first.get("factor")}
        return io.NodeOutput(TargetSize(**chosen, shrink_first=shrunk[shrink_first["shrink_first"]]))


def size_input() -> io.Input:
    """A size in place of the scale."""
    return SupirSizeType.Input("size", optional=True, tooltip="From SUPIR Size; the scale does not count then.")


def layout_of(picture: Tensor, scale: float, size: TargetSize | None) -> Layout:
    """What is done with a picture ``(B, 3 or 4, H, W)``, by its size if there is one."""
    return (size or TargetSize(scale)).layout(picture)


def unpadded(layout: Layout, node: str) -> Layout:
    """A layout for a node of the name ``node`` that gives a latent, beside which there can be no white.

    Raises:
        ValueError: there should be.
    """
    if layout.inner != layout.outer:
        raise ValueError(
            f'{node} cannot pad, as it gives a latent; choose fit "crop" or "stretch" in SUPIR Size, or use SUPIR Restore'
        )
    return layout
