"""Whether results can be written where they go, asked before the weights are loaded."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from PIL import ExifTags, Image, ImageSequence

from ..files.guard import UnreadablePictureError, reading
from ..files.hidden import PREFIX
from ..files.writing import SUFFIX_FORMATS
from ..sdxl.memory import GIB
from .plan import Job
from .task import Task

BYTES_PER_PIXEL = {"png": 1.5, "tiff": 3.0, "jpeg": 0.3, "webp": 0.2}
"""Roughly, of a photograph in 8 bits."""

ON_ITS_SIDE = (5, 6, 7, 8)
"""Orientations of EXIF of which width and height change places. Pillow minds them in a TIFF by itself."""

FILE_BYTES = 8192
"""Of a file besides its pixels: the label, and the block that is not full."""


def check_output(jobs: Sequence[Job], task: Task) -> None:
    """Make the folders of the results, try to write there, and see whether there is room.

    Raises:
        OSError: a folder cannot be made or written to, or the disk has too little room.
    """
    for folder in sorted({job.result.parent for job in jobs}):
        check_folder(folder)
    check_room(jobs, task)


def check_folder(folder: Path) -> None:
    """Make a folder, and try to write there.

    Raises:
        OSError: that is refused.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(prefix=PREFIX, dir=folder) as probe:
            probe.write(bytes(FILE_BYTES))
    except OSError as error:
        raise OSError(
            f"{folder}: results cannot be written there ({error.strerror or error}); name another folder with -o"
        ) from error


def check_room(jobs: Sequence[Job], task: Task) -> None:
    """See whether the results are likely to fit on their disks.

    Raises:
        OSError: they are not.
    """
    needed: dict[int, float] = defaultdict(float)
    folders: dict[int, Path] = {}
    for job in jobs:
        folder = existing(job.result.parent)
        disk = os.stat(folder).st_dev
        folders[disk] = folder
        needed[disk] += sum(result_bytes(path, job, task) for path in job.pictures)
    for disk, folder in folders.items():
        free = shutil.disk_usage(folder).free
        if needed[disk] > free:
            raise OSError(
                f"{folder}: the results take about {needed[disk] / GIB:.3g} GiB, but {free / GIB:.3g} GiB are free; make "
                "room, name another folder with -o, or choose a smaller size or format"
            )


def existing(folder: Path) -> Path:
    """A folder, or the nearest one above it that is there."""
    return next(path for path in (folder, *folder.absolute().parents) if path.is_dir())


def pixel_size(path: Path, page: int | None = None) -> tuple[int, int] | None:
    """(height, width) of a picture, of a page or its largest, as its file says; ``None`` where Pillow cannot tell."""
    try:
        with reading(path), Image.open(path) as image:
            if image.format == "TIFF":
                sizes = [(shown.height, shown.width) for shown in ImageSequence.Iterator(image)]
                return sizes[page - 1] if page else max(sizes, key=math.prod)
            turned = Image.Image.getexif(image).get(ExifTags.Base.Orientation) in ON_ITS_SIDE  # without its pixels
            return (image.width, image.height) if turned else (image.height, image.width)
    except (UnreadablePictureError, OSError):  # it is an estimate; whoever reads the picture says what is wrong with it
        return None


def result_bytes(path: Path, job: Job, task: Task) -> float:
    """What a result is likely to take on a disk, in bytes; 0 where the size of its picture is not known."""
    size = pixel_size(job.source, task.page)
    if size is None:
        return 0
    height, width = task.sizing(job).result(size)
    return FILE_BYTES + height * width * BYTES_PER_PIXEL[SUFFIX_FORMATS[path.suffix.lower()]]
