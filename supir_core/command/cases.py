"""The damaged pictures of a comparison, with their clean ones: damaged here, or given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from torch import Tensor

from ..evaluation.cases import Case
from ..evaluation.degradation import clean_part, counterpart, factor_of
from ..evaluation.manifest import Facts
from ..evaluation.protocols import GIVEN
from ..restoration.canvas import target_size
from ..restoration.transparency import opaque
from .degrading import damage_pictures, plan_pictures
from .making import write_pictures
from .methods import Place
from .output import pixel_size
from .plan import Job


def find_cases(place: Place, side: int | None) -> list[list[Case]]:
    """The damaged pictures, written where they are not there yet: a list for each setting and seed.

    Args:
        place: of the comparison, with its options.
        side: damage the middle square of at most so many pixels of each clean picture.
    """
    return _damaged(place, side) if place.options.setting else _given(place)


def _damaged(place: Place, side: int | None) -> list[list[Case]]:
    options, clean = place.options, place.folder / "reference"
    planned = plan_pictures(options.inputs, clean, place.folder, options.recursive, place.report)
    planned = _copied(
        place, planned, {"setting": "none", "middle": side}, lambda picture, job: clean_part(picture, side)
    )
    groups = []
    for setting in options.setting:
        for seed in options.seed:
            folder = place.folder / "damaged" / setting / f"seed{seed}"
            jobs = {
                Job(job.source, folder / job.result.relative_to(clean), job.captions): job.result for job in planned
            }
            done = damage_pictures(list(jobs), folder, setting, seed, place.manifest, place.report, side)
            factor = float(factor_of(setting))
            groups.append([_case(job, folder, jobs[job], setting, seed, _size(jobs[job]), factor) for job in done])
    return groups


def _given(place: Place) -> list[list[Case]]:
    """Pictures that are damaged already, with their clean ones where there are some."""
    options, folder = place.options, place.folder / "damaged" / GIVEN
    planned = plan_pictures(options.inputs, folder, place.folder, options.recursive, place.report)
    planned = _copied(place, planned, {"setting": GIVEN})
    clean = _references(place, planned, folder) if options.reference else None
    groups = []
    for seed in options.seed:
        if clean is None:
            sizes = {job: target_size(_size(job.result), options.scale) for job in planned}
            groups.append([_case(job, folder, None, GIVEN, seed, sizes[job], options.scale) for job in planned])
        else:
            groups.append([_case(job, folder, path, GIVEN, seed, _size(path)) for job, path in clean.items()])
    return groups


def _copied(
    place: Place, jobs: Sequence[Job], how: Facts, part: Callable[[Tensor, Job], Tensor] = lambda picture, job: picture
) -> list[Job]:
    """Write the colours of pictures, or of a part of each, as PNGs that any browser shows; gives the jobs that did not fail."""
    return write_pictures(
        jobs, lambda picture, job: part(opaque(picture), job), lambda job: how, place.manifest, place.report
    )


def _references(place: Place, planned: Sequence[Job], folder: Path) -> dict[Job, Path]:
    """The clean picture of each, written as a PNG."""
    names = {job: job.result.relative_to(folder).with_suffix("").as_posix() for job in planned}
    found = place.find(place.options.reference, names)
    jobs = {Job(source, place.folder / "reference" / f"{names[job]}.png", None): job for job, source in found.items()}
    how = {"setting": "counterpart"}
    done = _copied(place, list(jobs), how, lambda picture, job: counterpart(picture, _size(jobs[job].result)))
    return {jobs[job]: job.result for job in done}


def _case(
    job: Job,
    folder: Path,
    reference: Path | None,
    setting: str,
    seed: int,
    size: tuple[int, int],
    scale: float | None = None,
) -> Case:
    name = job.result.relative_to(folder).with_suffix("").as_posix()
    return Case(setting, seed, name, job.result, reference, size, scale, job.captions)


def _size(path: Path) -> tuple[int, int]:
    size = pixel_size(path)
    if size is None:
        raise ValueError(f"{path} cannot be read any more; remove it, and run the command again")
    return size
