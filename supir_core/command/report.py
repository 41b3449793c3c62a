"""What the command says: lines and bars for people on stderr, a JSON object for each picture on stdout."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..restoration.progress import Progress
from ..sdxl.memory import MemoryFullError, is_out_of_memory

log = logging.getLogger(__name__)

ANSI_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
LONGEST_REASON = 600


def write_line(line: str) -> None:
    """Write a line to stderr, above the bars."""
    tqdm.write(line, file=sys.stderr)


def one_line(error: BaseException, networks: bool = True) -> str:
    """What an error says, in one line, with its kind where the text alone may mean nothing.

    Args:
        error: of a command.
        networks: whether the command has options that say how networks use a GPU.
    """
    text = " ".join(ANSI_COLOURS.sub("", str(error)).split())
    if is_out_of_memory(error) and not isinstance(error, MemoryFullError):
        of_gpu = not isinstance(error, MemoryError) and "can't allocate memory" not in text
        less = "Use --memory stream or --weights float8, close" if of_gpu and networks else "Close"
        text = (
            f"the memory is full. {less} other programs that use it, or work at a smaller size "
            f"({text or type(error).__name__})"
        )
    elif not text or not isinstance(error, (OSError, ValueError, RuntimeError)):
        text = f"{type(error).__name__}: {text}"
    return textwrap.shorten(text, LONGEST_REASON, placeholder=" ...")


def reason_of(source: Path, reason: BaseException | str) -> str:
    """Why a picture could not be done, in one line; where an error came from is logged."""
    if isinstance(reason, str):
        return reason
    log.debug("traceback of %s", source, exc_info=reason)
    return one_line(reason)


class PicturesBar(tqdm):
    """A bar that counts pictures a minute."""

    def __init__(self, **options: Any):
        bar = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {a_minute} pictures a minute{postfix}]"
        super().__init__(bar_format=bar, **options)

    @property
    def format_dict(self) -> dict[str, Any]:
        numbers = dict(super().format_dict)
        seconds = numbers["elapsed"]
        return numbers | {"a_minute": f"{60 * numbers['n'] / seconds:.1f}" if seconds else "?"}


class Report:
    """Tells of a batch, and keeps what failed for the end.

    Args:
        quiet: say only what failed.
        as_json: write the JSON lines.
    """

    def __init__(self, quiet: bool = False, as_json: bool = False):
        self.quiet, self.as_json = quiet, as_json
        self.failures: list[tuple[Path, str]] = []
        self._batch: tqdm | None = None

    def say(self, line: str) -> None:
        """A line for people."""
        if not self.quiet:
            write_line(line)

    def picture(
        self,
        source: Path,
        result: Path | None,
        state: str,
        seconds: float | None = None,
        settings: dict[str, Any] | None = None,
        error: str | None = None,
        **more: Any,
    ) -> None:
        """A line for programs: what became of a picture."""
        if self.as_json:
            told = {"file": str(source), "result": result and str(result), "state": state, "seconds": seconds}
            try:
                sys.stdout.write(json.dumps({**told, "settings": settings, "error": error, **more}) + "\n")
                sys.stdout.flush()
            except BrokenPipeError:
                self.as_json = False
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is still in the buffer
                self.say("nobody reads stdout any more; going on without --json")

    def failed(self, source: Path, result: Path | None, reason: BaseException | str) -> None:
        """Note that a picture could not be done."""
        reason = reason_of(source, reason)
        self.failures.append((source, reason))
        self.picture(source, result, "failed", error=reason)

    @contextmanager
    def batch(self, total: int, title: str | None = None) -> Iterator[None]:
        """A bar over the pictures of a batch, with pictures a minute, the time that is left, and how many failed."""
        with PicturesBar(desc=title, total=total, disable=self.quiet or None, smoothing=0) as self._batch:
            yield
        self._batch = None

    def advance(self) -> None:
        """Move the bar of the batch by a picture."""
        if self._batch is not None:
            self._batch.set_postfix(failed=len(self.failures), refresh=False)
            self._batch.update()

    @contextmanager
    def progress(self, name: str) -> Iterator[Any]:
        """A bar over the network calls of a picture; gives what is to be told of progress."""
        with tqdm(desc=name, unit="call", disable=self.quiet or None, position=1, leave=False) as bar:
            yield lambda progress: _show(bar, progress)

    def close(self) -> int:
        """List what failed, each with its reason; gives the exit code."""
        for source, reason in self.failures:
            write_line(f"failed: {source}: {reason.removeprefix(f'{source}: ')}")
        return 1 if self.failures else 0


def _show(bar: tqdm, progress: Progress) -> None:
    bar.set_postfix_str(progress.stage, refresh=False)
    if progress.stage == "sample":
        bar.total, bar.n = progress.total, progress.done
    bar.refresh()
