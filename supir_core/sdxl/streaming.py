"""Networks larger than the device's memory: each block is there while it runs, fetched while the one before it works."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .memory import memory_for

BLOCK_BYTES = 2**28
"""A block that is larger is streamed in its parts."""


class Block:
    """A part of a network whose weights come and go together."""

    def __init__(self, module: nn.Module, below: bool):
        owners = module.modules() if below else [module]
        self.module = module
        self.slots: list[tuple[dict[str, Any], str, Tensor]] = [
            (store, name, tensor)  # type: ignore[misc]
            for owner in owners
            for store in (owner._parameters, owner._buffers)
            for name, tensor in store.items()
            if tensor is not None
        ]
        self.bytes = sum(tensor.numel() * tensor.element_size() for _, _, tensor in self.slots)
        self.here = False

    def pin(self) -> None:
        """Keep the originals where copies to a GPU need no detour."""
        self.slots = [(store, name, _like(tensor, tensor.detach().pin_memory())) for store, name, tensor in self.slots]

    def fetch(self, device: torch.device) -> None:
        """Begin to copy the weights to the device."""
        for store, name, tensor in self.slots:
            store[name] = _like(tensor, tensor.detach().to(device, non_blocking=True))
        self.here = True

    def drop(self, stream: Any = None) -> None:
        """Give the network its own weights back; ``stream`` still works with the copies."""
        for store, name, tensor in self.slots:
            if stream is not None:
                store[name].record_stream(stream)
            store[name] = tensor
        self.here = False


class Streamed:
    """Networks whose blocks are on a device while they run.

    Args:
        modules: the networks, which are called as modules (hooks do the work).
        device: where they run.
        room: bytes that their weights may take there. What fits stays; two of the largest blocks must.
    """

    def __init__(self, modules: Sequence[nn.Module], device: torch.device, room: int):
        self.device = device
        self.blocks = [block for module in modules for block in _blocks(module)]
        self._after: dict[Block, Block] = {}
        self._last: Block | None = None
        self._copies = torch.cuda.Stream(device) if device.type == "cuda" else None
        room -= 2 * max((block.bytes for block in self.blocks if not _bare(block)), default=0)
        # what is used without being called must stay; then as many of the rest as fit
        ordered = sorted(self.blocks, key=lambda block: not _bare(block))
        self.staying: list[Block] = []
        for block in ordered:
            if _bare(block) or block.bytes <= room:
                self.staying.append(block)
                room -= block.bytes
        self._hooks: list[Any] = []

    @memory_for("weights are uploaded", "Use --weights float8")
    def __enter__(self) -> Streamed:
        try:
            staying = set(self.staying)
            for block in self.staying:
                block.fetch(self.device)
            for block in self.blocks:
                if block not in staying:
                    if self._copies:
                        block.pin()
                    before = block.module.register_forward_pre_hook(lambda *_, block=block: self._begin(block))
                    after = block.module.register_forward_hook(lambda *_, block=block: self._end(block))
                    self._hooks += [before, after]
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()
        for block in self.blocks:
            if block.here:
                block.drop()

    def _begin(self, block: Block) -> None:
        if not block.here:
            self._fetch(block)
        if self._copies:
            torch.cuda.current_stream(self.device).wait_stream(self._copies)
        if self._last is not None:
            self._after[self._last] = block
        self._last = block
        following = self._after.get(block)
        if following is not None and not following.here:
            self._fetch(following)

    def _end(self, block: Block) -> None:
        block.drop(torch.cuda.current_stream(self.device) if self._copies else None)

    def _fetch(self, block: Block) -> None:
        if self._copies is None:
            block.fetch(self.device)
            return
        with torch.cuda.stream(self._copies):
            block.fetch(self.device)


def _blocks(module: nn.Module) -> Iterator[Block]:
    """The blocks of a network in its order: the largest parts under the limit, and what larger ones hold themselves.

    A small network is none itself, as its parts may be used outside of its own call.
    """
    if any(True for _ in module.parameters(recurse=False)):
        yield Block(module, below=False)
    for child in module.children():
        if isinstance(child, (nn.ModuleList, nn.ModuleDict, nn.Sequential)) or _size(child) > BLOCK_BYTES:
            yield from _blocks(child)
        elif _size(child):
            yield Block(child, below=True)


def _bare(block: Block) -> bool:
    """Whether the weights are a larger module's own, which may be used while its parts run."""
    return any(True for _ in block.module.children()) and len(block.slots) < len(list(block.module.parameters()))


def _size(module: nn.Module) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in module.parameters())


def _like(tensor: Tensor, copy: Tensor) -> Tensor:
    return nn.Parameter(copy, requires_grad=False) if isinstance(tensor, nn.Parameter) else copy
