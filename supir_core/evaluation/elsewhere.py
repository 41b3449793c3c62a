"""Results made elsewhere: which file in a folder belongs to which picture."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from ..files.suffixes import SUFFIXES

MOST_STRETCH = 0.02
"""How much the shape of a result may differ from the clean picture's before it is taken for that of another."""


def results_folder(folder: Path, setting: str, seed: int, first: bool, only: bool) -> Path | None:
    """Where the results for a setting and a seed lie, if there are any.

    In ``SETTING/seedN`` below the folder; for the ``first`` seed in ``SETTING`` too, and where it is the ``only`` setting
    also in the folder itself.
    """
    below = [
        folder / setting / f"seed{seed}",
        *([folder / setting] if first else []),
        *([folder] if first and only else []),
    ]
    return next((path for path in below if path.is_dir()), None)


def find_result(folder: Path, name: str, names: Iterable[str]) -> Path:
    """The result for a picture: named as it, or with more behind, as in ``a_out.png`` or ``a-upscayl-4x.jpg``.

    Args:
        folder: of the results; the tree below is that of the pictures.
        name: of the picture, with folders and without suffix.
        names: of all pictures: ``a_b_out.png`` belongs to ``a_b`` and not to ``a``, where there are both.

    Raises:
        FileNotFoundError: there is none.
        ValueError: there are several.
    """
    path = PurePosixPath(name)
    stems = {PurePosixPath(other).name for other in names if PurePosixPath(other).parent == path.parent}
    where = folder / path.parent
    files = sorted(where.iterdir()) if where.is_dir() else []
    ours = [file for file in files if file.suffix.lower() in SUFFIXES and _owner(file.stem, stems) == path.name]
    exact = [file for file in ours if file.stem == path.name]
    found = exact or ours
    if not found:
        raise FileNotFoundError(
            f"no result for {name} in {folder}; expected a picture named {path.name}, more may follow"
        )
    if len(found) > 1:
        raise ValueError(f"several results for {name} in {folder}: {', '.join(file.name for file in found)}; leave one")
    return found[0]


def _owner(stem: str, stems: Iterable[str]) -> str | None:
    """The longest name that a file's stem begins with, up to what is no letter or digit."""
    fitting = [name for name in stems if stem == name or (stem.startswith(name) and not stem[len(name)].isalnum())]
    return max(fitting, key=len, default=None)


def check_shape(size: Sequence[int], wanted: Sequence[int]) -> None:
    """Refuse a result of another shape, which resizing would only stretch.

    Raises:
        ValueError: (height, width) are not in the ratio of those wanted.
    """
    if abs(size[0] * wanted[1] / (size[1] * wanted[0]) - 1) > MOST_STRETCH:
        raise ValueError(
            f"the result has {size[1]}x{size[0]} pixels, which is another shape than the {wanted[1]}x{wanted[0]} of what it "
            "is compared with; restore the whole damaged picture, and name the clean one that belongs to it"
        )
