"""Upscalers in files of their own: Real-ESRGAN, BSRGAN, SwinIR, HAT and whatever else ``spandrel`` recognises."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from ..sdxl.memory import is_out_of_memory, reading
from .measures import INSTALL

Upscale = Callable[[Tensor], Tensor]


@reading
def load_upscaler(file: Path, device: torch.device | str = "cpu") -> Upscale:
    """Load an upscaler.

    Args:
        file: its weights, as published. Pickles are read as weights only.
        device: where it runs.

    Returns:
        What takes a picture ``(1, 3, H, W)`` in [0, 1] and gives it enlarged by the model's own factor, on the CPU.

    Raises:
        ImportError: spandrel is missing.
        ValueError: the file is not of a network from picture to picture that spandrel knows.
    """
    try:
        import spandrel
    except ImportError as error:
        raise ImportError(f"{file.name} needs spandrel, of {INSTALL['spandrel']}") from error
    _register_others()
    try:
        model = spandrel.ModelLoader(device).load_from_file(file)
    except Exception as error:  # of the registry, of the unpickler, or of a network that does not fit
        if is_out_of_memory(error):
            raise
        raise ValueError(
            f"{file}: expected an upscaler that spandrel knows, but {type(error).__name__} {error}; CodeFormer and others with non-commercial licences "
            "need `pip install spandrel_extra_arches` too"
        ) from error
    if not isinstance(model, spandrel.ImageModelDescriptor) or model.input_channels != 3 or model.output_channels != 3:
        raise ValueError(f"{file}: expected a network from picture to picture, got {model.architecture.name}")
    model.eval()
    return lambda picture: model(picture.to(device)).float().cpu()


def _register_others() -> None:
    """Let spandrel know the networks of its companion, where that is installed."""
    try:
        import spandrel_extra_arches  # pyright: ignore[reportMissingImports]
    except ImportError:
        return
    spandrel_extra_arches.install(ignore_duplicates=True)
