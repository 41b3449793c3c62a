"""Tensors out of pickles, with nothing but tensors and plain values made of what they ask for."""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .errors import UnsupportedCheckpointError

NESTED = ("image_proj", "ip_adapter")
"""Parts that are dictionaries of their own in a pickle."""

DEEPEST = 4
"""So many dictionaries may lie around the tensors, such as ``{"state_dict": {...}}``."""


class _Inert:
    """What stands beside weights in files that were saved during training; takes anything and does nothing."""

    def __new__(cls, *_: Any, **__: Any) -> _Inert:
        return super().__new__(cls)

    def __setstate__(self, state: Any) -> None:
        pass


def _inert(module: str, name: str) -> type:
    return type(name, (_Inert,), {"__module__": module})


BESIDE_WEIGHTS: list[Any] = [
    *(
        _inert(f"{lightning}.callbacks.model_checkpoint", "ModelCheckpoint")
        for lightning in ("pytorch_lightning", "lightning.pytorch")
    ),
    *(_inert(f"numpy.{core}.multiarray", "scalar") for core in ("core", "_core")),
    _inert("numpy", "dtype"),
    _inert("numpy.dtypes", "Float64DType"),
    _inert("_codecs", "encode"),
]
"""A number of numpy and a class of Lightning: harmless, so they do not keep us from the weights."""


def unpickle(path: Path, mapped: bool) -> dict[str, Tensor]:
    """The tensors in a file of torch.save by their names.

    Raises:
        UnsupportedCheckpointError: it is damaged, asks for code to be run, or holds something else.
    """
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(BESIDE_WEIGHTS):
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:  # of damaged files, all kinds: KeyError, struct.error, MemoryError, ...
        if isinstance(error, OSError) and error.errno:
            raise
        raise UnsupportedCheckpointError(f"{path.name}: {_what_failed(path, error)}") from error
    return _state_dict(path, content)


def check_zip(path: Path) -> None:
    """Refuse a zip whose tensors cannot be mapped: torch would take compressed bytes for numbers.

    Raises:
        UnsupportedCheckpointError: it is damaged, holds no torch file or a program, or is zipped with compression.
    """
    try:
        with zipfile.ZipFile(path) as file:
            pickles = {Path(entry.filename).name: entry for entry in file.infolist() if entry.filename.endswith(".pkl")}
            compressed = any(entry.compress_type != zipfile.ZIP_STORED for entry in file.infolist())
            if "data.pkl" in pickles and not compressed:
                file.read(pickles["data.pkl"])  # which compares its check sum; torch does not
    except (zipfile.BadZipFile, EOFError, ValueError, RuntimeError, OSError) as error:
        raise UnsupportedCheckpointError(f"{path.name}: {_what_failed(path, error)}") from error
    problem = ""
    if "data.pkl" not in pickles:
        problem = "a zip that is no torch file. Unpack it, and name the .safetensors or .ckpt file that was in it"
    elif "constants.pkl" in pickles:
        problem = (
            "a TorchScript file, a program with its weights, which is not run. Take the weights alone, as .safetensors"
        )
    elif compressed:
        problem = (
            "a torch file that was zipped anew, with compression, so that its tensors cannot be mapped. Unpack "
            "it and zip it without compression (zip -0 -r), or take the file as it was published"
        )
    if problem:
        raise UnsupportedCheckpointError(f"{path.name}: {problem}")


def _what_failed(path: Path, error: Exception) -> str:
    """Whether code was asked for, or the file is damaged. Torch's own text advises on how to run the code."""
    asked = re.search(r"GLOBAL (\S+)", str(error)) if isinstance(error, pickle.UnpicklingError) else None
    if asked:
        return (
            f"this pickle asks for code to be run, which was refused ({asked[1]}). Weights alone are expected; get the "
            "file as .safetensors, from a source that you trust"
        )
    size = f"It is {path.stat().st_size:,} bytes long"
    if isinstance(error, pickle.UnpicklingError):
        return f"a damaged torch file, or a pickle of another kind; nothing of it was run. {size}; compare that with the source"
    said = re.sub(r"\x1b\[[\d;]*m", "", str(error)).partition("\n")[0][:200]
    return f"a damaged torch file ({said or type(error).__name__}). {size}; the download probably broke off: download it again"


def _state_dict(path: Path, content: Any) -> dict[str, Tensor]:
    for _ in range(DEEPEST):
        inner = content.get("state_dict") if isinstance(content, dict) else None
        if inner is None and isinstance(content, dict) and len(content) == 1:
            inner = next(iter(content.values()))
        if not isinstance(inner, dict):
            break
        content = inner
    if not isinstance(content, dict):
        raise UnsupportedCheckpointError(
            f"{path.name}: expected weights by name, this is a pickled {type(content).__name__}"
        )
    content = dict(content)
    for part in NESTED:
        if isinstance(content.get(part), dict):
            content |= {f"{part}.{key}": value for key, value in content.pop(part).items()}
    tensors = {key: value for key, value in content.items() if isinstance(value, Tensor)}
    for key, tensor in tensors.items():
        if not isinstance(key, str):
            raise UnsupportedCheckpointError(
                f"{path.name}: expected weights by name, but one is called {key!r}: not the state dict of a whole model"
            )
        if tensor.layout is not torch.strided or tensor.is_nested or tensor.device.type != "cpu":
            raise UnsupportedCheckpointError(
                f"{path.name}: {key} is no plain tensor, but sparse, nested or without data"
            )
    return tensors
