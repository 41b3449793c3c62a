"""Networks on the device that computes: kept there while it has room, else dropped, else streamed block by block.

The originals stay in the main memory, where a mapped file can leave it again; what is dropped is the device's copy, so
nothing is ever copied back.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from .memory import GIB, Free, free_bytes, is_out_of_memory
from .streaming import BLOCK_BYTES, Streamed

log = logging.getLogger(__name__)

MODES = ("auto", "full", "stage", "stream")
"""Keep networks while there is room; keep all; drop each after its work; that, and stream those that sample."""


def check_mode(mode: str) -> None:
    """Refuse what is none of ``MODES``.

    Raises:
        ValueError: it is none.
    """
    if mode not in MODES:
        raise ValueError(f"memory must be {', '.join(MODES)}, got {mode!r}")


class WeightsTooLargeError(RuntimeError):
    """The weights that work together do not fit the device."""


class Copies:
    """A network's weights on a device, in place of its own until they are dropped."""

    def __init__(self, module: nn.Module, device: torch.device):
        self.module = module
        self._originals: list[tuple[dict[str, Any], str, Any]] = []
        copies: dict[int, Any] = {}
        try:
            for store, name, tensor in slots(module):
                if tensor.device != device:
                    if id(tensor) not in copies:
                        copies[id(tensor)] = copied(tensor, device)
                    self._originals.append((store, name, tensor))
                    store[name] = copies[id(tensor)]
        except BaseException:
            self.drop()
            raise
        self.bytes = sum(copy.numel() * copy.element_size() for copy in copies.values())

    def drop(self) -> None:
        """Give the network its own weights back."""
        for store, name, tensor in self._originals:
            store[name] = tensor
        self._originals.clear()


def slots(module: nn.Module) -> Iterator[tuple[dict[str, Any], str, Tensor]]:
    """Where the parameters and buffers of a module and all below it stand, each with its name there."""
    for owner in module.modules():
        stores: tuple[dict[str, Any], ...] = (owner._parameters, owner._buffers)
        for store in stores:
            yield from ((store, name, tensor) for name, tensor in list(store.items()) if tensor is not None)


def copied(tensor: Tensor, device: torch.device) -> Tensor:
    """A parameter or buffer on a device."""
    copy = tensor.detach().to(device, non_blocking=True)
    return nn.Parameter(copy, requires_grad=False) if isinstance(tensor, nn.Parameter) else copy


def weight_bytes(module: nn.Module) -> int:
    """Bytes of a network's parameters and buffers."""
    distinct = {id(tensor): tensor for _, _, tensor in slots(module)}
    return sum(tensor.numel() * tensor.element_size() for tensor in distinct.values())


class Residency:
    """Which networks are on a device.

    Args:
        device: where they work.
        mode: one of ``MODES``.
        free: counts what is free on a device.
    """

    def __init__(self, device: torch.device, mode: str = "auto", free: Free = free_bytes):
        check_mode(mode)
        self.device, self.mode, self.free = device, mode, free
        self._kept: dict[int, Copies] = {}  # the one used longest ago comes first
        self._working: list[int] = []

    @contextmanager
    def at_work(
        self, *modules: nn.Module, whole: Sequence[nn.Module] = (), wishes: Sequence[int] = (0,)
    ) -> Iterator[None]:
        """Hold networks on the device for as long as they are used.

        Args:
            modules: networks that may be streamed, as their parts are called as modules.
            whole: networks that may not.
            wishes: bytes that their work would like to have beside them, the dearest first; the first that can be had
                by dropping other networks is made free.

        Raises:
            WeightsTooLargeError: the networks do not fit, even alone.
        """
        if self.device.type == "cpu":
            yield
            return
        together = (*whole, *modules)
        needed = self._missing(together)
        available = self.free(self.device) + sum(copies.bytes for copies in self._idle(together))
        work = next((wish for wish in wishes if needed + wish <= available), wishes[-1])
        short = self.mode == "stream" or (self.mode == "auto" and needed + work > available)
        streamed = modules if short else ()
        before = self._working
        if streamed:
            self.drop()
        self._working = [*before, *(id(module) for module in together if module not in streamed)]
        try:
            self._make_room(needed + work)
            for module in together:
                if module not in streamed:
                    self._bring(module)
            with self._streamed(streamed, work) if streamed else nullcontext():
                yield
        finally:
            self._working = before
            if self.mode in ("stage", "stream"):
                self.drop(*together)

    def room(self, *modules: nn.Module, least: int) -> int:
        """Bytes that work can have beside networks, which are streamed where that would be less than ``least``."""
        available = self.free(self.device)
        if self.device.type == "cpu":
            return available
        available, needed = available + sum(copies.bytes for copies in self._idle(modules)), self._missing(modules)
        streamed = self.mode == "stream" or (self.mode == "auto" and needed + least > available)
        return available - (2 * BLOCK_BYTES if streamed else needed)

    def drop(self, *modules: nn.Module) -> None:
        """Take networks off the device; all of them where none is named."""
        for key in [id(module) for module in modules] or list(self._kept):
            if key in self._kept and key not in self._working:
                self._kept.pop(key).drop()

    def _missing(self, modules: Sequence[nn.Module]) -> int:
        return sum(weight_bytes(module) for module in modules if id(module) not in self._kept)

    def _idle(self, modules: Sequence[nn.Module] = ()) -> list[Copies]:
        busy = {*self._working, *map(id, modules)}
        return [copies for key, copies in self._kept.items() if key not in busy]

    def _make_room(self, needed: int) -> None:
        if self.mode == "full":
            return
        idle = self._idle()
        while idle and self.free(self.device) < needed:
            self.drop(idle.pop(0).module)

    def _bring(self, module: nn.Module) -> None:
        copies = self._kept.pop(id(module), None)
        self._kept[id(module)] = copies or self._retried(lambda: Copies(module, self.device), module)

    def _retried(self, bring: Callable[[], Copies], module: nn.Module) -> Copies:
        """Bring weights; where memory is full although it seemed not to be, drop all that is idle and try again."""
        try:
            return bring()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        self.drop(*(copies.module for copies in self._idle()))
        try:
            return bring()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise WeightsTooLargeError(
                f"the weights of {type(module).__name__}, {weight_bytes(module) / GIB:.1f} GiB, do not fit the "
                f"{max(0, self.free(self.device)) / GIB:.1f} GiB that are free on {self.device}. Use --memory stream or --weights "
                "float8, or close other programs that use this GPU"
            ) from error

    @contextmanager
    def _streamed(self, modules: Sequence[nn.Module], work: int) -> Iterator[None]:
        room = 0 if self.mode == "stream" else self.free(self.device) - work
        names = " and ".join(type(module).__name__ for module in modules)
        log.info("%s: blocks are streamed to %s, %.1f GiB at a time", names, self.device, max(room, 0) / GIB)
        with Streamed(modules, self.device, room):
            yield
