"""Many picture files in, as many out: which are to do, and doing them one after the other."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from ..files.metadata import Label
from ..files.pictures import SUFFIXES, read_picture, save_png
from ..restoration.canvas import Restored
from ..restoration.progress import Progress
from ..restoration.retry import MemoryFullError
from ..restoration.settings import CommonSettings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """One picture: where it is, where its result goes, what it or each of its tiles shows, if that is known."""

    source: Path
    result: Path
    captions: tuple[str, ...] | None

    @property
    def stage1(self) -> Path:
        """Where the stage-1 picture goes."""
        return self.result.with_name(f"{self.result.stem}_stage1.png")


@dataclass(frozen=True)
class Batch:
    """What all the jobs share.

    Attributes:
        restore: restores one picture, as ``pipeline.restore`` with a model does.
        settings: how.
        scale: factor of enlargement.
        size: exact (height, width) instead.
        hashes: of the model files, for the label; ``None`` leaves the label out.
        keep_stage1: write the stage-1 pictures too.
    """

    restore: Callable[..., Restored]
    settings: CommonSettings
    scale: float
    size: tuple[int, int] | None
    hashes: Mapping[str, str] | None
    keep_stage1: bool


def plan_jobs(inputs: Sequence[Path], output: Path, caption: str | None, caption_tiles: bool = False) -> list[Job]:
    """Find the pictures and name their results.

    Args:
        inputs: pictures and folders of pictures.
        output: folder of the results, or a .png for a single picture.
        caption: of all pictures; where ``None``, the text of the file beside each (see ``caption_file``).
        caption_tiles: look for a caption of each tile.

    Raises:
        FileNotFoundError: an input is not there, or a folder holds no picture.
        ValueError: results would overwrite each other or an input, or are not PNG.
    """
    sources = [source for path in inputs for source in _pictures(path)]
    suffix = output.suffix.lower()
    if suffix == ".png":
        if len(sources) > 1:
            raise ValueError(f"{output} is one file but there are {len(sources)} pictures; name a folder instead")
        results = [output]
    elif suffix in SUFFIXES:
        raise ValueError(f"{output}: results are written as PNG; name a .png file or a folder")
    else:
        results = [output / f"{source.stem}.png" for source in sources]
    taken = {source.resolve(): source for source in sources}
    for source, result in zip(sources, results, strict=True):
        other = taken.setdefault(result.resolve(), result)
        if other is not result:
            raise ValueError(
                f"the result of {source} would overwrite {other}"
                if other in sources
                else f"{source} and another picture would both be written to {result}; restore them to two folders"
            )
    return [
        Job(source, result, _beside(source, caption_tiles) if caption is None else (caption,))
        for source, result in zip(sources, results, strict=True)
    ]


def run_batch(jobs: Sequence[Job], batch: Batch) -> list[tuple[Job, Exception]]:
    """Do the jobs; one that fails does not stop the others. Returns the failures."""
    failures: list[tuple[Job, Exception]] = []
    for number, job in enumerate(jobs, 1):
        try:
            with _Bar(f"{number}/{len(jobs)} {job.source.name}") as bar:
                _run(job, batch, bar)
        except (OSError, ValueError, RuntimeError) as error:
            log.debug("traceback of %s", job.source, exc_info=True)
            failures.append((job, error))
    return failures


def _run(job: Job, batch: Batch, bar: _Bar) -> None:
    picture = read_picture(job.source)
    try:
        restored = batch.restore(
            picture,
            batch.settings,
            scale=batch.scale,
            size=batch.size,
            caption=job.captions or "",
            callback=bar.show,
        )
    except torch.OutOfMemoryError as error:
        raise MemoryFullError(
            f"the GPU's memory is full. Use --memory stream or --weights float8, close other programs that use it, or "
            f"restore at a smaller size ({error})"
        ) from error
    label = None
    if batch.hashes is not None:
        label = Label(
            batch.settings.method,
            asdict(batch.settings),
            "\n".join(job.captions or ()),
            batch.scale,
            batch.size,
            batch.hashes,
        )
    if batch.keep_stage1:
        save_png(job.stage1, restored.stage1[0], label)
    save_png(job.result, restored.image[0], label)


class _Bar:
    """A progress bar over the network calls of one picture."""

    def __init__(self, name: str):
        self.bar = tqdm(desc=name, unit="call", leave=True)

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def show(self, progress: Progress) -> None:
        """Move the bar."""
        self.bar.set_postfix_str(progress.stage, refresh=False)
        if progress.stage == "sample":
            self.bar.total = progress.total
            self.bar.n = progress.done
        self.bar.refresh()


def _pictures(path: Path) -> list[Path]:
    if path.is_dir():
        found = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES and file.is_file())
        if not found:
            raise FileNotFoundError(f"{path}: no picture in this folder; expected files of {', '.join(SUFFIXES)}")
        return found
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such picture or folder")
    return [path]


def caption_file(source: Path, tiles: bool) -> Path:
    """Where the caption of a picture is kept, or those of its tiles, a line each."""
    return source.with_suffix(".tiles.txt" if tiles else ".txt")


def _beside(source: Path, tiles: bool) -> tuple[str, ...] | None:
    file = caption_file(source, tiles)
    if not file.is_file():
        return None
    text = file.read_text(encoding="utf-8").strip()
    return tuple(text.splitlines()) if tiles else (text,)
