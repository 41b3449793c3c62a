"""What made the pictures of a folder, in a file beside them: a picture that was made otherwise is made anew."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..files.hidden import remove_parts
from ..files.writing import write_whole

NAME = "manifest.json"

Facts = Mapping[str, Any]


class Manifest:
    """The facts of each picture of a folder by its path there; written at the end of a ``with`` block, however it ends.

    Raises:
        ValueError: on entering: the folder holds files, but no manifest that says that they are of earlier runs.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.file = folder / NAME
        self.pictures: dict[str, Facts] = {}

    def __enter__(self) -> Manifest:
        """Read what earlier runs wrote."""
        self.began = time.time()
        if not self.file.is_file():
            if self.folder.is_dir() and any(not path.name.startswith(".") for path in self.folder.iterdir()):
                raise ValueError(f"{self.folder}: this folder holds other files; name a new one with -o")
            self._write()
        else:
            try:
                entries = json.loads(self.file.read_text(encoding="utf-8"))
                self.pictures = {entry.pop("file"): entry for entry in entries}
            except (ValueError, TypeError, AttributeError, KeyError) as error:
                raise ValueError(f"{self.file}: expected the list that `supir` writes; move the file away") from error
        return self

    def __exit__(self, *_: object) -> None:
        """Write what is known now, and remove what killed runs left half-written; another run may be at work here too."""
        self._write()
        remove_parts(self.folder, self.began)

    def _write(self) -> None:
        entries = [{"file": file, **facts} for file, facts in sorted(self.pictures.items())]
        text = json.dumps(entries, indent=1, ensure_ascii=False) + "\n"
        data = text.encode(errors="backslashreplace")  # as JSON writes what is no text in a name
        write_whole(self.file, lambda out: out.writelines([data]))

    def holds(self, path: Path, facts: Facts) -> bool:
        """Whether a picture is there and was made so."""
        return path.is_file() and self.pictures.get(self._name(path)) == _as_read(facts)

    def expect(self, wanted: Mapping[Path, Facts]) -> None:
        """Forget pictures that are about to be made in another way; of their facts only ``input`` need not be known.

        After a run that is killed none of them passes for what it was before.
        """
        known = {
            path: {**self.pictures.get(self._name(path), _as_read(facts)), "input": ""}
            for path, facts in wanted.items()
        }
        stale = [path for path, facts in wanted.items() if known[path] != {**_as_read(facts), "input": ""}]
        for path in stale:
            del self.pictures[self._name(path)]
        if stale:
            self._write()

    def add(self, path: Path, facts: Facts) -> None:
        """Note how a picture was made."""
        self.pictures[self._name(path)] = _as_read(facts)

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()


def _as_read(facts: Facts) -> Facts:
    """As a file would give them back."""
    return json.loads(json.dumps(facts))
