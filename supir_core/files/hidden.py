"""Names of the files that are there only for a while, beside those they are for."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

PREFIX = ".supir-"


def hidden_name(path: Path, ending: str) -> Path:
    """A hidden file that belongs to another, whose name is short however long the other's is."""
    return path.with_name(f"{PREFIX}{sha256(os.fsencode(path.name)).hexdigest()[:12]}{ending}")


def part_name(path: Path) -> Path:
    """A new name under which a file is written until it is whole."""
    return hidden_name(path, f"-{secrets.token_hex(4)}.part")


def remove_parts(folder: Path, before: float) -> None:
    """Remove what runs that were killed had begun to write in a folder and those below, if nobody went on since a time."""
    for part in folder.rglob(f"{PREFIX}*.part"):
        with suppress(FileNotFoundError):
            if part.stat().st_mtime < before:
                part.unlink()


def leftovers(path: Path) -> list[Path]:
    """What has been written of a file under such names, by runs that were killed or are at it."""
    return sorted(path.parent.glob(hidden_name(path, "-*.part").name))
