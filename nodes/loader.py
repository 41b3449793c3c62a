"""SUPIR's weights: found, recognised, and handed to ComfyUI to manage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import comfy.model_patcher
import torch
from comfy_api.latest import io
from torch import Tensor

from ..supir_core.files.checkpoint import DTYPES, Checkpoint, open_checkpoint
from ..supir_core.files.kinds import SUPIR
from ..supir_core.sdxl.config import UNetConfig
from ..supir_core.supir.model import load_adaptor
from .host import (
    CATEGORY,
    FOLDERS,
    Layers,
    SupirModelType,
    attention,
    find_weights,
    managed,
    missing_weights,
    weight_files,
)

WANTED = "SUPIR-v0Q_fp16.safetensors (or another SUPIR file)"
AS_IN_THE_FILE = "as in the file"
WEIGHT_DTYPES = {AS_IN_THE_FILE: None, **DTYPES, "float8_e4m3fn": torch.float8_e4m3fn}


def weight_dtype_input() -> io.Input:
    """In which type weights are kept."""
    return io.Combo.Input(
        "weight_dtype",
        options=list(WEIGHT_DTYPES),
        default=AS_IN_THE_FILE,
        advanced=True,
        tooltip="Type in which the weights are kept. They are computed with in the type of the base model. float8_e4m3fn "
        "halves the memory of a float16 file at a small loss.",
    )


@dataclass(frozen=True)
class SupirWeights:
    """What travels in a SUPIR_MODEL socket.

    Attributes:
        name: of the file.
        adaptor: adaptor and connectors, which ComfyUI loads and unloads.
        dr_encoder: weights of the degradation-robust encoder, by their key within it.
    """

    name: str
    adaptor: comfy.model_patcher.ModelPatcher
    dr_encoder: Mapping[str, Tensor]

    @property
    def config(self) -> UNetConfig:
        """Sizes of the adaptor."""
        return self.adaptor.model.control_model.config


def load_weights(path: Path, dtype: str = AS_IN_THE_FILE) -> SupirWeights:
    """Load a SUPIR file; tensors stay mapped to it where their type is kept.

    Raises:
        UnsupportedCheckpointError: it is another kind of file, or damaged; the message says what it is.
    """
    checkpoint = open_checkpoint(path, SUPIR)
    return SupirWeights(path.name, adaptor_patcher(path, dtype), checkpoint.under("denoise_encoder."))


def adaptor_patcher(path: Path, dtype: str, disable_dynamic: bool = False) -> comfy.model_patcher.ModelPatcher:
    """The adaptor as ComfyUI manages models; it calls this itself where it needs another copy."""
    checkpoint = open_checkpoint(path)
    chosen = WEIGHT_DTYPES[dtype]
    adaptor = load_adaptor(checkpoint, chosen, operations=Layers(chosen or file_dtype(checkpoint)), attention=attention)
    return managed(adaptor, adaptor_patcher, path, dtype, disable_dynamic=disable_dynamic)


def file_dtype(checkpoint: Checkpoint) -> torch.dtype:
    """Type of the weights in a file."""
    key = "control_model.input_hint_block.0.weight"
    return checkpoint.tensors([key])[key].dtype


class SupirModelLoader(io.ComfyNode):
    """Load SUPIR-v0Q or SUPIR-v0F."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SupirModelLoader",
            display_name="SUPIR Load Model",
            category=CATEGORY,
            description="Loads SUPIR's weights: SUPIR-v0Q for heavy damage, SUPIR-v0F for light damage.",
            search_aliases=[
                "supir",
                "load supir",
                "restoration model",
                "SUPIR_model_loader",
                "ModelPatchLoader",
            ],
            inputs=[
                io.Combo.Input(
                    "file",
                    options=weight_files("supir"),
                    tooltip="SUPIR-v0Q (heavy damage) or SUPIR-v0F (light damage), .safetensors or .ckpt, "
                    f"from models/{FOLDERS[0]} or models/{FOLDERS[1]}. Any other file is recognised and named.",
                ),
                weight_dtype_input(),
            ],
            outputs=[
                SupirModelType.Output(
                    display_name="supir_model", tooltip="Adaptor, connectors and degradation-robust encoder."
                )
            ],
        )

    @classmethod
    def validate_inputs(cls, file: str | None) -> bool | str:
        return missing_weights([(file, WANTED)])

    @classmethod
    def execute(cls, file: str, weight_dtype: str) -> io.NodeOutput:
        return io.NodeOutput(load_weights(find_weights(file, WANTED), weight_dtype))
