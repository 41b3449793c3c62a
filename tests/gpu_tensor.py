"""Tensors of the simulated GPU and what operations on them do; see ``simulated_gpu``."""

from __future__ import annotations

import functools
import math
import os
import sys
from collections import Counter
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
WATCHED = tuple(os.path.join(ROOT, folder, "") for folder in ("supir_core", "nodes"))
PASSED_OVER = (os.path.dirname(torch.__file__), __file__, os.path.join(ROOT, "tests", "simulated_gpu.py"))

SMALL = 4096
"""Numbers up to which a tensor has values even where only shapes are computed, such as noise levels."""

BLOCK = 512
"""PyTorch takes memory on a GPU in multiples of so many bytes."""

aten = torch.ops.aten
INDEXING = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default}
WAITING = {aten.equal.default, aten.masked_select.default, aten.nonzero.default, aten.repeat_interleave.Tensor}
"""Operations whose result, or its size, the host has to know."""


class GpuTensor(Tensor):
    """A tensor that says it is on the GPU; ``held`` has its values, or on ``meta`` its shape alone."""

    held: Tensor

    @staticmethod
    def __new__(cls, held):
        layout = {"strides": held.stride(), "storage_offset": held.storage_offset(), "layout": held.layout}
        made = Tensor._make_wrapper_subclass(cls, held.size(), dtype=held.dtype, device="cuda:0", **layout)
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return current().__torch_dispatch__(func, types, args, kwargs)

    def __repr__(self, **_):
        return f"GpuTensor({tuple(self.shape)}, {self.dtype}, held on {self.held.device.type})"

    def tolist(self):
        return self.cpu().tolist()

    def new_tensor(self, data, dtype=None, device=None, **_):
        return torch.tensor(data, dtype=dtype or self.dtype, device=device or self.device)

    def numpy(self, *_, **__):
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to copy it first.")

    __array__ = numpy


class Lease:
    """Memory of the GPU, given back when the storage that this is attached to is gone."""

    size = 0

    def __init__(self, gpu: SimulatedGpu, size: int):
        self.gpu = gpu
        if gpu.now + size > gpu.capacity:
            said = f"{size} bytes at {responsible_line()}, {gpu.now} of {gpu.capacity} are taken (simulated)"
            raise torch.OutOfMemoryError(f"CUDA out of memory. Tried to allocate {said}")
        self.size = size
        gpu.now += size
        gpu.peak = max(gpu.peak, gpu.now)

    def __del__(self):
        self.gpu.now -= self.size


class SimulatedGpu(TorchDispatchMode):
    """What the GPU holds and what was asked of it.

    Attributes:
        uploads: copies from the host. This and the other Counters are by the innermost line of the code under test.
        waits: times that the host waited for the GPU.
        bytes_up: of the uploads.
        bytes_down: of copies to the host.
        now: bytes of all tensors that live.
        peak: most of them so far; set it to ``now`` to measure a part.
        capacity: bytes at which memory is full.
    """

    def __init__(self, values: bool, capacity: int):
        super().__init__()
        self.values, self.capacity = values, capacity
        self.uploads, self.waits = Counter[str](), Counter[str]()
        self.bytes_up, self.bytes_down = Counter[str](), Counter[str]()
        self.now = self.peak = 0
        self._coming: list[tuple[Tensor, Tensor]] = []

    def wait(self, line: str = "") -> None:
        """The host waits for all that the GPU has to do."""
        self.waits[line or responsible_line()] += 1
        self.arrive()

    def arrive(self, memory_of: Tensor | None = None) -> None:
        """What is on its way to the host is there, or what is on its way to the memory of one tensor."""
        coming, self._coming = self._coming, []
        for host, held in coming:
            if memory_of is None or host.untyped_storage()._cdata == memory_of.untyped_storage()._cdata:
                host.copy_(held)
            else:
                self._coming.append((host, held))

    def hold(self, held: Tensor) -> GpuTensor:
        """A tensor on the GPU, whose memory counts from now on."""
        memory = held.untyped_storage()
        if not hasattr(memory, "lease"):
            memory.lease = Lease(self, -(-memory.nbytes() // BLOCK) * BLOCK)
        return GpuTensor(held)

    def upload(self, host: Tensor, non_blocking: bool = False) -> None:
        line = responsible_line()
        self.uploads[line] += 1
        self.bytes_up[line] += host.nbytes
        if non_blocking and is_pinned(host) and is_in_one_piece(host):
            self.arrive(host)  # copies happen in order
        else:
            self.wait(line)

    def download(self, source: GpuTensor, host: Tensor, non_blocking: bool) -> Tensor:
        line = responsible_line()
        self.bytes_down[line] += source.nbytes
        waits = not (non_blocking and is_pinned(host) and is_in_one_piece(host))
        if waits:
            self.wait(line)
        if source.held.is_meta:
            return host
        if waits:
            return host.copy_(source.held)
        self._coming.append((host, source.held.clone()))
        return host.fill_(torch.nan) if host.is_floating_point() else host

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if kwargs.get("pin_memory") and not is_gpu(kwargs.get("device")):
            return mark_pinned(func(*args, **{**kwargs, "pin_memory": False}))
        leaves = leaves_of((*args, *kwargs.values()))
        if not any(isinstance(leaf, GpuTensor) or (isinstance(leaf, torch.device) and is_gpu(leaf)) for leaf in leaves):
            return func(*args, **kwargs)
        if is_composite(func):  # which are not taken apart in inference mode
            with self:
                return func.decompose(*args, **kwargs)
        if func is aten._to_copy.default:
            return self._to_copy(*args, **kwargs)
        if func is aten.copy_.default:
            return self._copy(*args, **kwargs)
        self.check(func, args, leaves)
        if func is aten._local_scalar_dense.default:
            self.bytes_down[responsible_line()] += args[0].nbytes
            self.wait()
            if args[0].held.is_meta:
                raise ValueError(f"a value of a tensor without values is asked for at {responsible_line()}")
        elif func in WAITING or (func in INDEXING and asks_where(*args)):
            self.wait()
        return self.compute(func, args, kwargs, leaves)

    def _to_copy(self, source, *, device=None, non_blocking=False, pin_memory=None, **more):
        if not isinstance(source, GpuTensor):
            self.upload(source, non_blocking)
            if self.values or source.numel() <= SMALL:
                return self.hold(aten._to_copy.default(source, **more))
            return self.hold(torch.empty_like(source, device="meta", **more))
        if device is None or is_gpu(device):
            return self.hold(aten._to_copy.default(source.held, **more))
        if source.held.is_meta:
            host = unwritten_zeros(source.shape, more.get("dtype") or source.dtype)
        else:
            host = torch.empty_like(source.held, device=device, **more)
        return self.download(source, mark_pinned(host) if non_blocking else host, non_blocking)

    def _copy(self, target, source, non_blocking=False):
        if not isinstance(target, GpuTensor):
            return self.download(source, target, non_blocking)
        if not isinstance(source, GpuTensor):
            self.upload(source, non_blocking)
        held = source.held if isinstance(source, GpuTensor) else source
        if not target.held.is_meta and not held.is_meta:
            target.held.copy_(held)
        return target

    def check(self, func, args, leaves) -> None:
        """Refuse what a GPU would, and upload indices."""
        written = args[0] if args and func._schema.is_mutable else None
        strangers = [leaf for leaf in leaves if is_plain(leaf) and (leaf.ndim or leaf is written)]
        if func in INDEXING and isinstance(args[0], GpuTensor):
            for index in filter(is_plain, args[1]):
                self.upload(index)
                strangers = [stranger for stranger in strangers if stranger is not index]
        if strangers and any(isinstance(leaf, GpuTensor) for leaf in leaves):
            raise RuntimeError(
                f"Expected all tensors to be on the same device, but at {responsible_line()} {func} got some on cuda:0 and "
                f"{[tuple(stranger.shape) for stranger in strangers]} on cpu"
            )
        if any(isinstance(leaf, torch.Generator) and leaf.device.type == "cpu" for leaf in leaves):
            raise RuntimeError(f"Expected a 'cuda' device type for generator but found 'cpu' at {responsible_line()}")

    def compute(self, func, args, kwargs, leaves) -> Any:
        """What an operation gives, with its new tensors on the GPU."""
        known = {id(leaf.held): leaf for leaf in leaves if isinstance(leaf, GpuTensor)}
        shapes_only = any(gpu.held.is_meta for gpu in known.values())

        def bare(leaf):
            held = leaf.held if isinstance(leaf, GpuTensor) else leaf
            return held.to("meta") if shapes_only and isinstance(held, Tensor) and held.ndim else held

        def on_gpu(leaf):
            if not isinstance(leaf, Tensor):
                return leaf
            same = known.get(id(leaf))
            if same is not None and same.shape != leaf.shape:
                raise NotImplementedError(f"{func} changes a shape in place, which is not simulated")
            return self.hold(leaf) if same is None else same

        args, kwargs = mapped(bare, args), {name: mapped(bare, value) for name, value in kwargs.items()}
        device = kwargs.get("device")
        if device is not None or func.name().startswith("aten::new_") or "_like" in func.name():
            kwargs["device"] = "cpu"
            if device is not None and not is_gpu(device):
                return func(*args, **kwargs)
            if not self.values:
                made = func(*args, **{**kwargs, "device": "meta"})
                if made.numel() > SMALL:
                    return self.hold(made)
        return mapped(on_gpu, func(*args, **kwargs))


ON: list[SimulatedGpu] = []
"""Those that are on, the innermost last."""


def current() -> SimulatedGpu:
    if not ON:
        raise RuntimeError("a tensor of the simulated GPU is used outside of simulated_gpu()")
    return ON[-1]


def responsible_line() -> str:
    """The innermost line of the code under test, or else of what is not PyTorch: "file:line function"."""
    frame, other = sys._getframe(1), ""
    while frame:
        file, function = frame.f_code.co_filename, frame.f_code.co_name
        if file.startswith(WATCHED):
            return f"{file[len(ROOT) + 1 :]}:{frame.f_lineno} {function}"
        if not other and not file.startswith(PASSED_OVER):
            other = f"{file}:{frame.f_lineno} {function}"
        frame = frame.f_back
    return other


def leaves_of(values: Any) -> list[Any]:
    """What is in tuples and lists in each other; PyTorch's own function for that takes as long as the work here."""
    nested = [leaves_of(value) if isinstance(value, (tuple, list)) else (value,) for value in values]
    return [leaf for leaves in nested for leaf in leaves]


def mapped(function: Any, value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return type(value)([mapped(function, part) for part in value])
    return function(value)


def is_gpu(device: Any) -> bool:
    return device is not None and torch.device(device).type == "cuda"


def is_plain(value: Any) -> bool:
    return isinstance(value, Tensor) and not isinstance(value, GpuTensor)


def is_in_one_piece(tensor: Tensor) -> bool:
    """Whether memory has no gaps; otherwise a copy goes through other memory, which is not pinned."""
    last = sum((side - 1) * stride for side, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return last + 1 == tensor.numel()


def asks_where(source: Tensor, indices: Any, values: Tensor | None = None, *_: Any) -> bool:
    """Whether indexing has to know where a mask is true; a single value is put under a mask without."""
    masked = any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in indices)
    return masked and (values is None or values.numel() > 1)


@functools.cache
def is_composite(func: Any) -> bool:
    return torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), torch._C.DispatchKey.CompositeImplicitAutograd)


def unwritten_zeros(shape: Any, dtype: torch.dtype) -> Tensor:
    """Zeros of the host that take no room until something else is written."""
    return torch.from_numpy(np.zeros(math.prod(shape) * dtype.itemsize, np.uint8)).view(dtype).view(shape)


def mark_pinned(tensor: Tensor) -> Tensor:
    tensor.untyped_storage().pinned = True
    return tensor


def is_pinned(tensor: Tensor, device: Any = None) -> bool:
    return is_plain(tensor) and hasattr(tensor.untyped_storage(), "pinned")
