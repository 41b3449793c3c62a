"""A lock for each picture, so that several runs can share a folder.

The operating system holds the lock and lets go of it when the process ends, however it ends: what a killed run leaves
behind is a file that nobody holds, and the next run takes it over at once.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from ..files.hidden import hidden_name, leftovers


def lock_file(result: Path) -> Path:
    """Where the lock of a result lies, under a name that is always short enough."""
    return hidden_name(result, ".lock")


@contextmanager
def claim(result: Path) -> Iterator[str | None]:
    """Claim a picture by its result.

    Gives ``None`` where it is this run's until the end of the block, else who has it and for how long.
    """
    path = lock_file(result)
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        yield _owner(path)
        return
    try:
        with suppress(OSError):  # the text is for people; a full disk or Windows may refuse it
            path.write_text(f"process {os.getpid()} on {socket.gethostname()}", encoding="utf-8")
        yield None
    finally:
        with suppress(OSError):  # Windows deletes it when it is released
            path.unlink()
        lock.release()


def remove_leftovers(*files: Path) -> None:
    """Remove what killed runs had begun to write of files that this run has claimed."""
    for file in files:
        for part in leftovers(file):
            part.unlink(missing_ok=True)


def _owner(path: Path) -> str:
    with suppress(OSError):
        age = time.time() - path.stat().st_mtime
        return f"{path.read_text(encoding='utf-8') or 'another run'}, for {max(age, 0):.0f} s"
    return "another run"
