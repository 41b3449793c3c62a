"""Where to compute and in what precision, what memory is free there, and what an error says of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psutil
import torch
from torch import Tensor

Free = Callable[[torch.device], int]
"""Bytes that are free on a device, the library's count or a host's."""

PRECISIONS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
"""That the networks compute in."""

GIB = 2**30

GPU_RESERVE = GIB
"""Bytes of a GPU that are left to what PyTorch does not count: libraries' workspaces, and gaps between tensors."""


def free_bytes(device: torch.device) -> int:
    """Bytes that a device has left for new tensors: what is free, and what PyTorch keeps for its next ones."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device) - GPU_RESERVE
    if device.type == "xpu":
        free, _ = torch.xpu.mem_get_info(device)
        return free + torch.xpu.memory_reserved(device) - torch.xpu.memory_allocated(device) - GPU_RESERVE
    if device.type == "mps":  # shares the main memory
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    return psutil.virtual_memory().available


def upload(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the host on a device; a GPU's queue of work is not waited for."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


class MemoryFullError(torch.OutOfMemoryError):
    """A memory is full; the text says at what, and what to make smaller. Hosts know it by PyTorch's own class."""


FULL = ("out of memory", "can't allocate memory", "not enough memory", "alloc_failed")
"""Words of those that have no type of their own for it: MPS, XPU, the main memory (two systems), cuBLAS and cuDNN."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a memory is full."""
    full = any(words in str(error).lower() for words in FULL)
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (isinstance(error, RuntimeError) and full)


@contextmanager
def memory_for(work: str, smaller: str) -> Iterator[None]:
    """Say of a memory that is full at which work it was, in place of PyTorch's words; work within it speaks for itself.

    Args:
        work: what is done, as in "the memory is full while ...".
        smaller: what helps, a sentence without its end.

    Raises:
        MemoryFullError: a memory is full.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, MemoryFullError) or not is_out_of_memory(error):
            raise
        raise MemoryFullError(
            f"the memory is full while {work}. {smaller}, or close other programs that use it"
        ) from error


reading = memory_for("weights are read", "Choose a smaller dtype, such as bfloat16")
"""Around what reads weights."""


def find_device() -> torch.device:
    """The device to compute on: CUDA (ROCm too), else Intel's XPU, else Apple's MPS, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if hasattr(torch, "xpu") and torch.xpu.is_available():
        return torch.device("xpu")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


@memory_for("the device is tried", "Choose another device")
def defaults(device: str | torch.device | None, dtype: torch.dtype | None) -> tuple[torch.device, torch.dtype]:
    """Where to compute, a GPU if there is one, and in what precision, float16 on a GPU.

    Raises:
        ValueError: there is no such device, or the networks cannot compute in that precision.
    """
    if dtype not in (None, *PRECISIONS):
        raise ValueError(f"dtype must be {', '.join(map(str, PRECISIONS))} or None, got {dtype!r}")
    try:
        device = find_device() if device in (None, "") else torch.device(device)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, TypeError, ImportError) as error:
        if is_out_of_memory(error):
            raise
        why = re.split(r"\.\s|\n", str(error), maxsplit=1)[0]
        raise ValueError(
            f"expected a device that is there and computes, such as cpu, cuda, cuda:1 or mps, got {device} ({why})"
        ) from error
    return device, dtype or (torch.float32 if device.type == "cpu" else torch.float16)


def vae_dtype(device: torch.device, dtype: torch.dtype) -> torch.dtype:
    """Precision of the VAE beside networks of ``dtype``: bfloat16 where half precision is wanted and the device has it.

    It is never float16, in which the VAE overflows.
    """
    if dtype == torch.float32:
        return torch.float32
    if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.bfloat16
    return torch.bfloat16 if device.type == "xpu" else torch.float32
