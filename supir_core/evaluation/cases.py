"""One damaged picture of a comparison, and where everything about it lies."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Case:
    """A damaged picture.

    Attributes:
        setting: how it was damaged.
        seed: of the damage, and of what restores it.
        name: of the picture, with folders and without suffix.
        damaged: its file.
        reference: that of the clean picture, where there is one.
        size: (height, width) of results.
        scale: how many times larger they are, where all pictures of a setting agree in that.
        captions: what it shows, where that is known.
    """

    setting: str
    seed: int
    name: str
    damaged: Path
    reference: Path | None
    size: tuple[int, int]
    scale: float | None = None
    captions: tuple[str, ...] | None = None

    def result(self, folder: Path, method: str) -> Path:
        """Where the result of a method goes, below the folder of the comparison."""
        return folder / "restored" / self.setting / safe(method) / f"seed{self.seed}" / f"{self.name}.png"


def safe(name: str) -> str:
    """A name for a folder, on any disk."""
    return re.sub(r"[^\w.-]+|^\.+", "_", name)
