"""Captioners from a local folder or the Hugging Face hub, at full precision or in 8 or 4 bits."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterable
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError

from ..files.checkpoint import DTYPES
from ..sdxl.memory import defaults, memory_for
from .protocol import TransformersCaptioner, transformers_version

LLAVA = "llava-hf/llava-1.5-13b-hf"
"""The paper's captioner, in transformers' form."""

PACKAGES = {"accelerate": "accelerate>=1.0", "bitsandbytes": "bitsandbytes>=0.45"}
"""What is needed besides transformers, by the name it is imported by."""

BITS = {"8bit": 8.5, "4bit": 4.5}
"""Bits of a weight with its share of the scales."""

PRECISIONS = ("auto", *DTYPES, *BITS)
SPREAD = "spread"
"""In place of a device: accelerate spreads the model over all GPUs and, where they are full, the main memory."""


DAMAGED = (OSError, ValueError, TypeError, KeyError, AttributeError, SafetensorError, UnpicklingError)
"""What transformers raises where files are missing, damaged or of something else."""


class CaptionerError(ValueError):
    """A captioner, or a package that it needs, is not to be had."""


@memory_for("the captioner is read", "Take 8bit or 4bit weights, a smaller captioner, the CPU")
def load_captioner(
    source: str | Path = LLAVA, precision: str = "auto", device: str | torch.device | None = None
) -> TransformersCaptioner:
    """Load LLaVA 1.5, LLaVA 1.6 or any other model that transformers knows as image-text-to-text.

    Nothing that comes with a model is executed.

    Args:
        source: folder as the hub has it, or the hub's id, which is downloaded once.
        precision: ``"float32"``, ``"bfloat16"``, ``"float16"``; ``"8bit"`` or ``"4bit"`` by bitsandbytes;
            ``"auto"`` is float32 on a CPU, else the better of the two of 16 bits that the device has.
        device: where it computes; a GPU if there is one. ``"spread"`` for accelerate's placement.

    Raises:
        CaptionerError: no such model, another kind of model, or a package is missing; says how to get it.
        ValueError: no such precision or device.
        MemoryFullError: a memory is full.
    """
    from transformers import AutoProcessor

    spread = str(device) == SPREAD
    device, _ = defaults(_gpu_or_cpu() if device is None or spread else device, None)
    options = _weight_options(precision, device) | (_placement(device, spread, precision))
    try:
        processor = AutoProcessor.from_pretrained(str(source))
        network, report = _auto_model().from_pretrained(str(source), output_loading_info=True, **options)
    except DAMAGED as error:
        raise CaptionerError(_not_there(str(source), error)) from error
    _require_whole(str(source), processor, report)
    if "device_map" not in options:
        network.to(device)
    processor.tokenizer.padding_side = "left"
    if processor.tokenizer.pad_token is None:
        processor.tokenizer.pad_token = processor.tokenizer.eos_token
    return TransformersCaptioner(network.eval(), processor)


def weight_bytes(source: str | Path, precision: str, device: str | torch.device) -> int:
    """About how much memory a captioner's weights will take, before they are loaded.

    Raises:
        CaptionerError: as ``load_captioner``.
    """
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(str(source))
        with torch.device("meta"):
            network = _auto_model().from_config(config)
    except DAMAGED as error:
        raise CaptionerError(_not_there(str(source), error)) from error
    bits = BITS.get(precision) or 8 * _dtype(precision, torch.device(device)).itemsize
    return int(sum(weight.numel() for weight in network.parameters()) * bits / 8)


def _auto_model() -> Any:
    """The class that finds a model by its configuration; transformers before 4.46 has it under another name."""
    import transformers

    names = ("AutoModelForImageTextToText", "AutoModelForVision2Seq")
    return next(getattr(transformers, name) for name in names if hasattr(transformers, name))


def _gpu_or_cpu() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def _dtype(precision: str, device: torch.device) -> torch.dtype:
    """Type of the weights, or where they have fewer bits, of the computation."""
    if precision not in PRECISIONS:
        raise ValueError(f'the precision must be one of {", ".join(PRECISIONS)}, got "{precision}"')
    if precision in DTYPES:
        return DTYPES[precision]
    if device.type == "cpu":
        return torch.float32
    better = device.type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if better else torch.float16


def _weight_options(precision: str, device: torch.device) -> dict[str, Any]:
    """What from_pretrained is told of the weights."""
    dtype = _dtype(precision, device)
    options: dict[str, Any] = {"dtype" if transformers_version() >= (4, 56) else "torch_dtype": dtype}
    if precision in BITS:
        _require_packages(PACKAGES, f"{precision} weights")
        from transformers import BitsAndBytesConfig

        options["quantization_config"] = (
            BitsAndBytesConfig(load_in_8bit=True)
            if precision == "8bit"
            else BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)
        )
    return options


def _placement(device: torch.device, spread: bool, precision: str) -> dict[str, Any]:
    """What from_pretrained is told of the place; without it the model is loaded to the CPU first."""
    if spread:
        _require_packages(["accelerate"], "a model that is spread")
        return {"device_map": "auto"}
    straight = device.type != "cpu" and importlib.util.find_spec("accelerate") is not None
    return {"device_map": {"": device}} if precision in BITS or straight else {}


def _require_packages(names: Iterable[str], purpose: str) -> None:
    missing = [PACKAGES[name] for name in names if importlib.util.find_spec(name) is None]
    if missing:
        listed = " ".join(f'"{name}"' for name in missing)
        raise CaptionerError(
            f"for a captioner, {purpose} need{'' if purpose.endswith('s') else 's'} a package that is not there. "
            f'Install it: "{sys.executable}" -m pip install {listed}'
        )


def _not_there(source: str, error: Exception) -> str:
    """Why a captioner could not be loaded."""
    said = (str(error).strip() or type(error).__name__).splitlines()[0]
    return (
        f'no captioner at "{source}": expected a folder with config.json, weights and the processor\'s files, or the '
        f"hub's id of an image-text-to-text model, such as {LLAVA}. To have it in a folder: "
        f"hf download {LLAVA} --local-dir FOLDER ({said})"
    )


def _require_whole(source: str, processor: Any, report: dict[str, Any]) -> None:
    """Refuse weights that do not fit the configuration, and a processor that cannot make a prompt."""
    missing = sorted(report["missing_keys"])
    if missing:
        raise CaptionerError(
            f"{source}: {len(missing)} weights of the model are missing, the first is {missing[0]}. The files are "
            f"incomplete, or in LLaVA's original form; take those for transformers, such as {LLAVA}"
        )
    if not getattr(processor, "chat_template", None) or not hasattr(processor, "image_processor"):
        raise CaptionerError(
            f"{source}: expected a processor of pictures with a chat template, got {type(processor).__name__} without; "
            f"download the model again, whole, or take another, such as {LLAVA}"
        )
