"""The ``supir`` command: where it starts, and how it stops.

PyTorch takes seconds to import, so nothing here imports it before an interrupt has somewhere to go.
"""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

INTERRUPTED = 130
"""The exit code of a command that was told to stop."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        0, or 1 where something failed, 130 where it was interrupted.
    """
    _open_streams()
    try:
        with stopped_by(_leave):
            from .commands import run
        with stopped_by(_interrupt):
            return run(arguments)
    except KeyboardInterrupt:
        sys.stderr.write("stopped; what is finished is kept, the same command resumes\n")
        return INTERRUPTED


def _open_streams() -> None:
    """Let any name be written in any locale, and nothing fail where a stream was closed before the command began."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115  # as long as the process
        elif isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


@contextmanager
def stopped_by(handler: Callable[[int, Any], None]) -> Iterator[None]:
    """Let a function decide what Ctrl-C and SIGTERM do; only the main thread may."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)


def _leave(number: int, frame: Any) -> None:
    """Leave at once: an exception could be swallowed by whatever is being imported."""
    os.write(2, b"stopped before anything was done\n")
    os._exit(INTERRUPTED)


def _interrupt(number: int, frame: Any) -> None:
    """Stop in good order; who asks twice does not want to wait for that."""
    for again in (signal.SIGINT, signal.SIGTERM):
        signal.signal(again, lambda *_: os._exit(INTERRUPTED))
    raise KeyboardInterrupt
