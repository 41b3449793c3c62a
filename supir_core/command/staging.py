"""Pictures in object stores: each is fetched, done as any other, and stored; no more than one lies on the disk."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..files.hidden import PREFIX
from ..files.objects import Address, fetch, store
from .batch import Restore, attempt, take
from .caption_files import caption_files, read_captions
from .captions import Captions, caption_job
from .inputs import mask_beside, mask_files
from .plan import Job
from .recording import Recording, replay
from .report import Report
from .task import Task

FILES = ("source", "result", "stage1", "caption_file")
Mark = tuple[int, int]


def in_store(job: Job) -> bool:
    """Whether a file of a picture is an object in a store."""
    return isinstance(job.source, Address) or isinstance(job.result, Address)


def take_anywhere(job: Job, task: Task, load: Callable[[], Restore], report: Report, told: bool = False) -> bool:
    """``take``, for pictures wherever they are."""
    if not in_store(job):
        return take(job, task, load, report, told)
    with tempfile.TemporaryDirectory(prefix=PREFIX) as folder:
        local = attempt(job, report, lambda: _fetch(job, task, Path(folder), job.pictures))
        if local is not None:
            before = {path: _mark(path) for path in local.pictures}
            recording = Recording(report.progress)
            if not take(local, task, load, recording, told):
                replay(_renamed(recording, local, job), report)
                return False
            new = [
                name for name in ("stage1", "result") if (path := getattr(local, name)) and _mark(path) != before[path]
            ]
            if attempt(job, report, lambda: _store(job, local, new)):
                replay(_renamed(recording, local, job), report)
    report.advance()
    return True


def caption_anywhere(job: Job, task: Task, captions: Captions, report: Report) -> Job | None:
    """The job with captions: those beside the picture, else a model's; nothing where that fails."""
    if not in_store(job):
        return caption_job(job, task, captions, report)
    with tempfile.TemporaryDirectory(prefix=PREFIX) as folder:
        local = attempt(job, report, lambda: _fetch(job, task, Path(folder), []))
        if local is None:
            return None
        recording = Recording(report.progress)
        captioned = local if local.captions is not None else caption_job(local, task, captions, recording)
        replay(_renamed(recording, local, job), report)
        if captioned is None:
            return None
        new = ["caption_file"] if local.caption_file and local.caption_file.exists() else []
        return (
            replace(job, captions=captioned.captions) if attempt(job, report, lambda: _store(job, local, new)) else None
        )


def _fetch(job: Job, task: Task, folder: Path, results: list[Path]) -> Job:
    """The job with files on the disk: its picture, its captions, and those of its results that are there."""
    files = {name: _on_disk(getattr(job, name), folder / name) for name in FILES}
    local = replace(job, **files)
    if isinstance(job.source, Address):
        if not fetch(job.source, local.source):
            raise FileNotFoundError(f"{job.source}: no such object")
        captions = caption_files(job.source, task.caption_tiles) if job.captions is None else ()
        masks = mask_files(job.source) if job.mask is None else ()
        for address in (*captions, *masks):
            fetch(address, local.source.with_name(address.name))
        if captions:
            local = replace(local, captions=read_captions(local.source, task.caption_tiles))
        if masks:
            local = replace(local, mask=mask_beside(local.source))
    for address, path in zip(results, local.pictures if results else [], strict=True):
        if isinstance(address, Address) and not task.overwrite:
            fetch(address, path)
    return local


def _on_disk(path: Path | None, folder: Path) -> Path | None:
    return folder / path.name if isinstance(path, Address) else path


def _store(job: Job, local: Job, names: list[str]) -> bool:
    for name in names:
        address, path = getattr(job, name), getattr(local, name)
        if isinstance(address, Address):
            store(path, address)
    return True


def _mark(path: Path) -> Mark | None:
    """What tells a file from another that has taken its place."""
    return (path.stat().st_ino, path.stat().st_mtime_ns) if path.is_file() else None


def _renamed(recording: Recording, local: Job, job: Job) -> list[Any]:
    """What was told, of the files where they really are."""
    names = {getattr(local, name): getattr(job, name) for name in FILES if getattr(local, name)}
    return [
        event._replace(arguments=tuple(_rename(value, names) for value in event.arguments))
        for event in recording.events
    ]


def _rename(value: Any, names: Mapping[Path, Path]) -> Any:
    if isinstance(value, str):
        for path, name in names.items():
            value = value.replace(str(path), str(name))
        return value
    return names.get(value, value) if isinstance(value, Path) else value
