"""What a worker has to tell, kept until the command tells it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from .report import Report, reason_of


class Event(NamedTuple):
    """A call of a ``Report``."""

    method: str
    arguments: tuple[Any, ...]
    named: dict[str, Any]


class Recording(Report):
    """Keeps what it is told.

    Args:
        progress: as ``Report.progress``; progress alone is told at once.
    """

    def __init__(self, progress: Callable[[str], AbstractContextManager[Any]]):
        super().__init__(quiet=True)
        self.events: list[Event] = []
        self._progress = progress

    def say(self, line: str) -> None:
        self.events.append(Event("say", (line,), {}))

    def picture(self, *arguments: Any, **named: Any) -> None:
        self.events.append(Event("picture", arguments, named))

    def failed(self, source: Path, result: Path | None, reason: BaseException | str) -> None:
        self.events.append(Event("failed", (source, result, reason_of(source, reason)), {}))

    @contextmanager
    def progress(self, name: str) -> Iterator[Any]:
        with self._progress(name) as callback:
            yield callback


def replay(events: Sequence[Event], report: Report) -> None:
    """Tell what was recorded."""
    for event in events:
        getattr(report, event.method)(*event.arguments, **event.named)
