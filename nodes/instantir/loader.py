"""InstantIR's weights: three files, handed to ComfyUI as one model to manage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import comfy.model_patcher
from comfy_api.latest import io
from torch import nn

from ...supir_core.files.checkpoint import open_checkpoint
from ...supir_core.files.kinds import ADAPTER, AGGREGATOR, PREVIEWER
from ...supir_core.instantir.aggregator import Aggregator
from ...supir_core.instantir.image_attention import ImageAdapter
from ...supir_core.instantir.model import load_adapter, load_aggregator, load_previewer
from ...supir_core.instantir.previewer import PreviewerLora
from ...supir_core.instantir.sizes import unet_config
from ...supir_core.sdxl.config import UNetConfig
from ..host import FOLDERS, Layers, attention, find_weights, managed, missing_weights, weight_files
from ..loader import AS_IN_THE_FILE, WEIGHT_DTYPES, weight_dtype_input

CATEGORY = "InstantIR"

InstantIRModelType = io.Custom("INSTANTIR_MODEL")

FILES = {
    "adapter": (ADAPTER, "adapter.pt: how the UNet reads DINOv2's features."),
    "aggregator": (AGGREGATOR, "aggregator.pt: what corrects the UNet by picture and preview."),
    "previewer": (PREVIEWER, "previewer_lora_weights.bin: what makes a previewer of the UNet."),
}
"""The inputs of the loader: which kind of file, and what it is."""


class InstantIRNetworks(nn.Module):
    """What InstantIR adds to the UNet of ``config``, as one model for ComfyUI to manage."""

    def __init__(self, config: UNetConfig, adapter: ImageAdapter, previewer: PreviewerLora, aggregator: Aggregator):
        super().__init__()
        self.config = config
        self.adapter, self.previewer, self.aggregator = adapter, previewer, aggregator


@dataclass(frozen=True)
class InstantIRWeights:
    """What travels in an INSTANTIR_MODEL socket.

    Attributes:
        name: of the files.
        networks: an InstantIRNetworks, which ComfyUI loads and unloads.
    """

    name: str
    networks: comfy.model_patcher.ModelPatcher

    @property
    def config(self) -> UNetConfig:
        """Sizes of the UNet that they were made for."""
        return self.networks.model.config

    @property
    def feature_width(self) -> int:
        """Width of the DINOv2 that they read."""
        return self.networks.model.adapter.image_proj.config.feature_width


def load_weights(paths: Sequence[Path], dtype: str = AS_IN_THE_FILE) -> InstantIRWeights:
    """Load adapter, aggregator and previewer.

    Raises:
        UnsupportedCheckpointError: a file is of another kind, damaged, or does not fit the others.
    """
    return InstantIRWeights(", ".join(path.name for path in paths), networks_patcher(tuple(paths), dtype))


def networks_patcher(
    paths: tuple[Path, ...], dtype: str, disable_dynamic: bool = False
) -> comfy.model_patcher.ModelPatcher:
    """The networks as ComfyUI manages models; it calls this itself where it needs another copy."""
    kinds = [kind for kind, _ in FILES.values()]
    adapter, aggregator, previewer = (open_checkpoint(path, kind) for path, kind in zip(paths, kinds, strict=True))
    config = unet_config(adapter.shapes, aggregator.shapes, previewer.shapes)
    chosen = WEIGHT_DTYPES[dtype]
    first = next(iter(aggregator.shapes))
    layers = Layers(chosen or aggregator.tensors([first])[first].dtype)
    image = load_adapter(adapter, config, chosen, operations=layers, attention=attention)
    networks = InstantIRNetworks(
        config,
        image,
        load_previewer(previewer, config, image.image_proj.config, chosen, operations=layers),
        load_aggregator(aggregator, config, chosen, operations=layers, attention=attention),
    )
    return managed(networks, networks_patcher, paths, dtype, disable_dynamic=disable_dynamic)


def _wanted(part: str) -> str:
    return f"{FILES[part][1].split(':')[0]} of InstantIR"


class InstantIRModelLoader(io.ComfyNode):
    """Load InstantIR."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="InstantIRModelLoader",
            display_name="InstantIR Load Model",
            category=CATEGORY,
            description="Loads the three files of InstantIR: adapter, aggregator and previewer LoRA.",
            search_aliases=["instantir", "load instantir", "previewer lora", "restoration model"],
            inputs=[
                *(
                    io.Combo.Input(
                        part,
                        options=weight_files(part),
                        tooltip=f"{what} From models/{FOLDERS[0]} or models/{FOLDERS[1]}. Any other file is recognised "
                        "and named.",
                    )
                    for part, (_, what) in FILES.items()
                ),
                weight_dtype_input(),
            ],
            outputs=[
                InstantIRModelType.Output(display_name="instantir_model", tooltip="Adapter, previewer and aggregator.")
            ],
        )

    @classmethod
    def validate_inputs(cls, adapter: str | None, aggregator: str | None, previewer: str | None) -> bool | str:
        return missing_weights(zip((adapter, aggregator, previewer), map(_wanted, FILES), strict=True))

    @classmethod
    def execute(cls, adapter: str, aggregator: str, previewer: str, weight_dtype: str) -> io.NodeOutput:
        paths = list(map(find_weights, (adapter, aggregator, previewer), map(_wanted, FILES)))
        return io.NodeOutput(load_weights(paths, weight_dtype))
