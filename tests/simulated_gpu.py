"""A GPU for machines without one: code that asks for "cuda" runs, and what a real one would refuse or wait for is seen.

    with simulated_gpu() as gpu:
        ...  # torch.cuda.is_available() is True in here
    print(gpu.peak, gpu.waits.most_common(3))

A tensor on the simulated GPU holds one of the CPU, so every value is computed, by the CPU's kernels. As on a real GPU

* an operation over tensors of two devices is refused, but for single numbers and for indices, which are uploaded;
* a copy between host and GPU makes the host wait, unless it is ``non_blocking`` and the host's memory is pinned and in
  one piece; so do ``item``, ``tolist``, ``synchronize`` and operations whose result has a size that depends on values;
* what comes down without waiting is NaN until the host waits for something;
* memory is taken as long as a tensor or a view of it lives; attention takes none for its scores.

Not seen: scratch memory within an operation, fragmentation, a host that changes pinned memory while it is copied, and
the order of several streams, which are all one here.
"""

from __future__ import annotations

from collections import defaultdict
from contextlib import ExitStack, contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
import torch._dynamo  # takes stock of torch.cuda when it is imported, which PyTorch does as late as it can
import torch.nn.functional as F
from torch import Tensor, nn

from .gpu_tensor import (
    ON,
    SMALL,
    GpuTensor,
    SimulatedGpu,
    current,
    is_gpu,
    is_pinned,
    is_plain,
    leaves_of,
    mark_pinned,
    unwritten_zeros,
)


def pin_memory(tensor: Tensor, device: Any = None) -> Tensor:
    if not is_plain(tensor):
        raise RuntimeError("cannot pin 'torch.cuda.FloatTensor' only dense CPU tensors can be pinned")
    if is_pinned(tensor):
        return tensor
    if current().values or tensor.numel() <= SMALL:
        return mark_pinned(tensor.clone())
    return mark_pinned(unwritten_zeros(tensor.shape, tensor.dtype))


_tensor, _attention, _data = torch.tensor, F.scaled_dot_product_attention, Tensor.data


def tensor(data: Any, *, device: Any = None, **options: Any) -> Tensor:
    """``torch.tensor``, which makes its result out of sight."""
    return _tensor(data, **options).to("cuda") if is_gpu(device) else _tensor(data, device=device, **options)


def as_tensor(data: Any, dtype: torch.dtype | None = None, device: Any = None) -> Tensor:
    if isinstance(data, Tensor):
        return data.to(device=device or data.device, dtype=dtype or data.dtype)
    return tensor(data, dtype=dtype, device=device)


def attention(q: Tensor, k: Tensor, v: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Attention, before PyTorch takes it apart into what a GPU would not do."""
    leaves = leaves_of((q, k, v, *args, *kwargs.values()))
    if all(not isinstance(leaf, GpuTensor) for leaf in leaves):
        return _attention(q, k, v, *args, **kwargs)
    gpu, func = current(), torch.ops.aten.scaled_dot_product_attention.default
    gpu.check(func, (q, k, v), leaves)
    if any(isinstance(leaf, GpuTensor) and leaf.held.is_meta for leaf in leaves):
        batch, heads, tokens, _ = q.shape  # fused attention lays heads beside channels
        return gpu.hold(q.held.new_empty(batch, tokens, heads, v.shape[-1], device="meta").transpose(1, 2))
    return gpu.compute(func, (q, k, v, *args), kwargs, leaves)


def set_data(parameter: Tensor, value: Tensor) -> None:
    """``parameter.data = value``, also from one device to the other, which is another class here."""
    if is_plain(parameter) and is_plain(value):
        _data.__set__(parameter, value)
    else:
        torch.utils.swap_tensors(parameter, nn.Parameter(value, requires_grad=parameter.requires_grad))


class Stream:
    """A stream, or an event in one."""

    cuda_stream = 0

    def __init__(self, *_: Any, **__: Any): ...

    def record(self, *_: Any) -> None: ...

    wait = wait_stream = wait_event = record

    def record_event(self, event: Any = None) -> Any:
        return event or Stream()

    def query(self) -> bool:
        current().arrive()
        return True

    def synchronize(self) -> None:
        current().wait()


@contextmanager
def simulated_gpu(values: bool = True, capacity: int | None = None, total: int = 24 * 2**30, bf16: bool = True):
    """PyTorch has a GPU in here.

    Args:
        values: compute them. Otherwise tensors on the GPU of more than ``SMALL`` numbers have shapes alone, so that
            networks of full size run in next to no memory.
        capacity: bytes at which its memory is full, ``total`` by default; to change as one likes.
        total: bytes that it has.
        bf16: whether it computes in bfloat16.
    """
    if torch.cuda.is_available():
        torch.cuda.init()  # else PyTorch would take the real one for initialised afterwards
    torch._C._ensureCUDADeviceGuardSet()
    gpu = SimulatedGpu(values, total if capacity is None else capacity)
    major, minor = (8, 6) if bf16 else (7, 5)
    properties = SimpleNamespace(
        name="simulated", major=major, minor=minor, total_memory=total, multi_processor_count=82, gcnArchName=""
    )

    def always(value: Any) -> Any:
        return lambda *_, **__: value

    cuda = {
        **dict.fromkeys(("_lazy_init", "init", "set_device", "empty_cache", "ipc_collect"), always(None)),
        **dict.fromkeys(("is_available", "is_initialized"), always(True)),
        **dict.fromkeys(("memory_allocated", "memory_reserved"), lambda *_: gpu.now),
        **dict.fromkeys(("Stream", "Event", "current_stream", "default_stream"), Stream),
        **dict.fromkeys(("stream", "device"), nullcontext),
        "device_count": always(1),
        "current_device": always(0),
        "is_bf16_supported": always(bf16),
        "get_device_properties": always(properties),
        "get_device_name": always(properties.name),
        "get_device_capability": always((major, minor)),
        "get_allocator_backend": always("native"),
        "mem_get_info": lambda *_: (max(0, gpu.capacity - gpu.now), total),
        "memory_stats": lambda *_: defaultdict(int),
        "max_memory_allocated": lambda *_: gpu.peak,
        "reset_peak_memory_stats": lambda *_: setattr(gpu, "peak", gpu.now),
        "synchronize": lambda *_: gpu.wait(),
    }
    methods = {"pin_memory": pin_memory, "is_pinned": is_pinned, "record_stream": always(None)}
    swapping = torch.__future__.get_swap_module_params_on_conversion()
    with ExitStack() as stack:
        stack.callback(torch.__future__.set_swap_module_params_on_conversion, swapping)
        torch.__future__.set_swap_module_params_on_conversion(True)  # see set_data
        stack.enter_context(mock.patch.multiple(torch.cuda, create=True, **cuda))
        stack.enter_context(mock.patch.multiple(torch, tensor=tensor, as_tensor=as_tensor))
        stack.enter_context(mock.patch.object(F, "scaled_dot_product_attention", attention))
        stack.enter_context(mock.patch.multiple(Tensor, data=property(_data.__get__, set_data), **methods))
        ON.append(gpu)
        stack.callback(ON.remove, gpu)
        stack.enter_context(gpu)
        yield gpu
