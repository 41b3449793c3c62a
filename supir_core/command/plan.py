"""What is to do and where it goes: every file that a run may write has its name before anything is done."""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..files.objects import Address
from ..files.pictures import UnreadablePictureError, read_label
from ..files.writing import SUFFIX_FORMATS
from .caption_files import caption_files, read_captions
from .inputs import Found, find_pictures, listed, mask_beside
from .report import Report


@dataclass(frozen=True)
class Job:
    """One picture.

    Attributes:
        source: where it is.
        result: where its result goes.
        captions: what it or each of its tiles shows, if that is known.
        stage1: where the stage-1 picture goes, if it is asked for.
        caption_file: where captions that a model writes are kept, if that is asked for.
        mask: what of it is restored, where that is not all.
    """

    source: Path
    result: Path
    captions: tuple[str, ...] | None
    stage1: Path | None = None
    caption_file: Path | None = None
    mask: Path | None = None

    @property
    def pictures(self) -> list[Path]:
        """The pictures that are written, the result last: where it is, the other is too."""
        return [self.result] if self.stage1 is None else [self.stage1, self.result]


@dataclass(frozen=True)
class Order:
    """What a command line asks for, as far as files go; see the options of the same names."""

    inputs: Sequence[Path]
    output: Path
    recursive: bool = False
    suffix: str = ".png"
    stage1: bool = False
    caption: str | None = None
    caption_tiles: bool = False
    save_captions: bool = False
    metadata: bool = True
    mask: Path | None = None
    made: Path | None = None
    """A folder in which every picture is of an earlier run."""


@dataclass(frozen=True)
class Plan:
    """The pictures to do, those that cannot be done and why, and what was passed over by what it is."""

    jobs: list[Job]
    refused: list[tuple[Path, Exception]]
    passed_over: Counter[str]

    def tell(self, report: Report) -> None:
        """Tell of what is not done."""
        if self.passed_over:
            report.say(f"passed over: {listed(self.passed_over)}")
        for source, error in self.refused:
            report.failed(source, None, error)


def make_plan(order: Order) -> Plan:
    """Find the pictures and name every file that is written for them.

    Raises:
        FileNotFoundError: an input is not there, or a folder holds no picture.
        ValueError: a single file is named for several results, or is an input, or results could not be told from inputs.
    """
    found, passed_over = find_pictures(order.inputs, order.recursive)
    single = order.output.suffix.lower() in SUFFIX_FORMATS and not order.output.is_dir()
    if single and len(found) > 1:
        raise ValueError(f"{order.output} is one file but there are {len(found)} pictures; name a folder instead")
    if not single:
        found = _without_results(found, order, passed_over)
    jobs, refused = [], []
    for (source, _), files in zip(found, _choose_names(found, order, single), strict=True):
        try:
            captions = (order.caption,) if order.caption is not None else read_captions(source, order.caption_tiles)
        except (OSError, ValueError) as error:
            refused.append((source, error))
            continue
        mask = order.mask or mask_beside(source)
        jobs.append(Job(source, files["result"], captions, files.get("stage1"), files.get("caption"), mask))
    return Plan(jobs, refused, passed_over)


def _without_results(found: list[Found], order: Order, passed_over: Counter[str]) -> list[Found]:
    """Leave out the results of earlier runs: pictures in the output folder that carry the label of a result."""
    output = (order.made or order.output).resolve()
    inside = [picture for picture in found if output in picture.source.resolve().parents]
    if inside and not order.metadata and any(path.is_dir() for path in order.inputs):
        raise ValueError(
            f"{order.output} holds inputs too, and with --no-metadata results cannot be told from them; "
            "name another folder for the results"
        )
    if any(isinstance(picture.source, Address) for picture in inside):
        raise ValueError(f"{order.output} holds the inputs; in a store, name another folder for the results")
    results = {picture for picture in inside if order.made or _is_result(picture.source)}
    if results:
        passed_over["results of earlier runs"] += len(results)
    return [picture for picture in found if picture not in results]


def _is_result(path: Path) -> bool:
    try:
        return "supir.settings" in (read_label(path) or {})
    except (UnreadablePictureError, OSError):
        return False


def _choose_names(found: Sequence[Found], order: Order, single: bool) -> list[dict[str, Path]]:
    """Name the files of every picture so that none is an input or another picture's.

    A result is named as its picture. Where that would clash it gets the whole name, ``a.jpg.png``, and then a number.
    """
    inputs = {_key(path) for path in (order.mask, *(picture.source for picture in found)) if path}
    if single:
        return [_single(picture, order, inputs) for picture in found]
    tries = [0] * len(found)
    while True:
        named = [_files(picture, order, number) for picture, number in zip(found, tries, strict=True)]
        owners = defaultdict(list)
        for index, files in enumerate(named):
            for path in files.values():
                owners[_key(path)].append(index)
        clashing = {index for key, claims in owners.items() for index in _must_yield(claims, key in inputs, tries)}
        if not clashing:
            return named
        for index in clashing:
            tries[index] += 1


def _must_yield(claims: list[int], is_input: bool, tries: Sequence[int]) -> list[int]:
    """Which of the pictures that claim a file must take another name: all that still have a plain one, else all but one."""
    if is_input:
        return claims
    if len(claims) == 1:
        return []
    return [index for index in claims if not tries[index]] or claims[1:]


def _files(picture: Found, order: Order, number: int) -> dict[str, Path]:
    source = picture.source
    base = [source.stem, source.name][min(number, 1)] + (f".{number}" if number > 1 else "")
    files = _beside_result(order.output / picture.folder / f"{base}{order.suffix}", order)
    if order.save_captions:
        files["caption"] = caption_files(source, order.caption_tiles)[min(number, 1)]
    return files


def _beside_result(result: Path, order: Order) -> dict[str, Path]:
    stage1 = {"stage1": result.with_name(f"{result.stem}_stage1{result.suffix}")} if order.stage1 else {}
    return {"result": result, **stage1}


def _single(picture: Found, order: Order, inputs: set[str]) -> dict[str, Path]:
    """The files of the one picture whose result is named."""
    files = _files(picture, order, 0) | _beside_result(order.output, order)
    for path in files.values():
        if _key(path) in inputs:
            raise ValueError(f"{path} is an input, and a result would overwrite it; name another file")
    return files


def _key(path: Path) -> str:
    """A path as disks compare it that take A for a, and letters with accents for one or for two characters."""
    return unicodedata.normalize("NFC", str(path.resolve())).casefold()
