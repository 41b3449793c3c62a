"""One thread at a time in the networks of a model."""

from __future__ import annotations

from threading import RLock
from typing import Any


class Lock:
    """A thread's own while it is in; a copy of a model has another one."""

    def __init__(self) -> None:
        self._lock = RLock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def __reduce__(self) -> Any:
        return Lock, ()
