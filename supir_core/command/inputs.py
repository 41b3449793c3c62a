"""Which pictures a command line names: files, folders of them, and patterns that the shell left as they are."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ..files.hidden import PREFIX
from ..files.objects import Address, find_objects
from ..files.pictures import KNOWN_SUFFIXES, SUFFIXES

CAPTION_SUFFIX = ".txt"
MASK_ENDING = ".mask.png"


class Found(NamedTuple):
    """A picture, and in which folder below that of the results its own belongs."""

    source: Path
    folder: Path


def find_pictures(inputs: Sequence[Path], recursive: bool) -> tuple[list[Found], Counter[str]]:
    """Find the pictures, each once, and count what is passed over by what it is.

    Raises:
        FileNotFoundError: an input is not there, or a folder holds no picture.
    """
    found: dict[Path, Found] = {}
    passed_over: Counter[str] = Counter()
    for path in inputs:
        for match in _matches(path):
            pictures = list(_pictures(match, recursive, passed_over))
            if not pictures:
                raise FileNotFoundError(
                    f"{match}: no picture in this folder; expected files of {', '.join(SUFFIXES)}"
                    + (f", but there are only {listed(passed_over)}" if passed_over else "")
                )
            for picture in pictures:
                found.setdefault(picture.source.resolve(), picture)
    return list(found.values()), passed_over


def mask_beside(source: Path) -> Path | None:
    """The mask of a picture: ``NAME.mask.png`` beside it, under its whole name or its stem, if there is one."""
    named = (source.with_name(name + MASK_ENDING) for name in (source.name, source.stem))
    return next((path for path in named if os.path.isfile(path)), None)  # false too for names too long


def listed(passed_over: Counter[str]) -> str:
    """What was passed over, in words."""
    return ", ".join(f"{kind}: {count}" for kind, count in sorted(passed_over.items()))


def _pictures(path: Path, recursive: bool, passed_over: Counter[str]) -> Iterable[Found]:
    if isinstance(path, Address):
        return _in_store(path, recursive, passed_over)
    return _in_folder(path, Path(), recursive, passed_over) if path.is_dir() else [_file(path)]


def _matches(path: Path) -> list[Path]:
    """The files that a pattern means; Windows' shells leave patterns to the programs."""
    if isinstance(path, Address) or path.exists() or not glob.has_magic(str(path)):
        return [path]
    return [Path(match) for match in sorted(glob.glob(str(path), recursive=True))] or [path]


def _file(path: Path) -> Found:
    if not path.is_file():
        what = "not a regular file" if path.exists() else "no such picture or folder"
        raise FileNotFoundError(f"{path}: {what}")
    return Found(path, Path())


def _in_folder(folder: Path, below: Path, recursive: bool, passed_over: Counter[str]) -> Iterator[Found]:
    for path in sorted(folder.iterdir()):
        suffix = path.suffix.lower()
        if path.name.startswith("."):  # macOS writes ._name beside a file on disks of others
            passed_over["hidden"] += 0 if path.name.startswith(PREFIX) else 1
        elif path.is_dir():
            if recursive and not path.is_symlink():
                yield from _in_folder(path, below / path.name, recursive, passed_over)
            else:
                passed_over["folders (-r goes into them)"] += 1
        elif path.name.lower().endswith(MASK_ENDING):
            passed_over["masks"] += 1
        elif suffix in SUFFIXES and path.is_file():
            yield Found(path, below)
        else:
            _pass_over(suffix, passed_over)


def _in_store(address: Address, recursive: bool, passed_over: Counter[str]) -> Iterator[Found]:
    for path, below in find_objects(address, recursive):
        if any(part.startswith(".") for part in (*below.parts, path.name)):
            passed_over["hidden"] += 0 if path.name.startswith(PREFIX) else 1
        elif path.name.lower().endswith(MASK_ENDING):
            passed_over["masks"] += 1
        elif path.suffix.lower() in SUFFIXES:
            yield Found(path, below)
        else:
            _pass_over(path.suffix.lower(), passed_over)


def _pass_over(suffix: str, passed_over: Counter[str]) -> None:
    if suffix != CAPTION_SUFFIX:
        remedy = KNOWN_SUFFIXES.get(suffix)
        passed_over[(suffix or "without a suffix") + (f" ({remedy})" if remedy else "")] += 1
