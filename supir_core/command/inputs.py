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
CAPTION_ENDINGS = (f".tiles{CAPTION_SUFFIX}", CAPTION_SUFFIX)
MASK_ENDING = ".mask.png"


class Found(NamedTuple):
    """A picture, and in which folder below that of the results its own belongs."""

    source: Path
    folder: Path


def find_pictures(inputs: Sequence[Path], recursive: bool) -> tuple[list[Found], Counter[str]]:
    """Find the pictures, each once, and count what is passed over by what it is.

    Raises:
        FileNotFoundError: an input is not there, or there is no picture in any.
    """
    found: dict[Path, Found] = {}
    passed_over: Counter[str] = Counter()
    empty: list[str] = []
    for path in inputs:
        for match in _matches(path):
            pictures = list(_pictures(match, recursive, passed_over))
            if not pictures:
                empty.append(str(match))
            for picture in pictures:
                found.setdefault(picture.source.resolve(), picture)
    if not found:
        raise FileNotFoundError(
            f"{', '.join(empty)}: no picture in this folder; expected files of {', '.join(SUFFIXES)}"
            + (f", but there are only {listed(passed_over)}" if passed_over else "")
        )
    if empty:
        passed_over[f"folders without pictures ({', '.join(empty)})"] = len(empty)
    companions = _companions([picture.source for picture in found.values()])
    if masks := sum(path.name.lower().endswith(MASK_ENDING) for path in companions):
        passed_over["masks"] += masks
    return [picture for picture in found.values() if picture.source not in companions], passed_over


def _companions(files: Sequence[Path]) -> set[Path]:
    """Those of files that are captions or masks of others, as where ``photos/*`` names all that is there."""
    endings = {path: next(filter(path.name.lower().endswith, (*CAPTION_ENDINGS, MASK_ENDING)), "") for path in files}
    pictures = {(path.parent, name) for path in files if not endings[path] for name in (path.name, path.stem)}
    return {path for path in files if endings[path] and (path.parent, path.name[: -len(endings[path])]) in pictures}


def mask_files(source: Path) -> tuple[Path, Path]:
    """Where the mask of a picture may be: ``NAME.mask.png`` beside it, under its whole name or its stem."""
    return source.with_name(source.name + MASK_ENDING), source.with_name(source.stem + MASK_ENDING)


def mask_beside(source: Path) -> Path | None:
    """The mask of a picture, if there is one."""
    return next((path for path in mask_files(source) if os.path.isfile(path)), None)  # false too for names too long


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
        if path.name.startswith("."):  # macOS writes ._name beside a file on disks of others
            passed_over["hidden"] += 0 if path.name.startswith(PREFIX) else 1
        elif path.is_dir():
            if not recursive:
                passed_over["folders (-r goes into them)"] += 1
            elif path.is_symlink():  # it may lead back here
                passed_over["links to folders"] += 1
            else:
                yield from _in_folder(path, below / path.name, recursive, passed_over)
        elif not path.is_file():
            passed_over["broken links and devices"] += 1
        elif _is_picture(path, passed_over):
            yield Found(path, below)


def _in_store(address: Address, recursive: bool, passed_over: Counter[str]) -> Iterator[Found]:
    for path, below in find_objects(address, recursive):
        if any(part.startswith(".") for part in (*below.parts, path.name)):
            passed_over["hidden"] += 0 if path.name.startswith(PREFIX) else 1
        elif _is_picture(path, passed_over):
            yield Found(path, below)


def _is_picture(path: Path, passed_over: Counter[str]) -> bool:
    """Whether a file is a picture by its name; what is none is counted."""
    suffix = path.suffix.lower()
    if path.name.lower().endswith(MASK_ENDING):
        passed_over["masks"] += 1
    elif suffix in SUFFIXES:
        return True
    elif suffix != CAPTION_SUFFIX:
        remedy = KNOWN_SUFFIXES.get(suffix)
        passed_over[(suffix or "without a suffix") + (f" ({remedy})" if remedy else "")] += 1
    return False
