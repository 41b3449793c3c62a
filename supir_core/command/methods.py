"""What ``supir evaluate`` compares: enlargement, upscalers in files, results made elsewhere, and our own two methods."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import torch
from torch import Tensor

from ..evaluation.cases import Case
from ..evaluation.elsewhere import check_shape, find_result, results_folder
from ..evaluation.manifest import Facts, Manifest
from ..evaluation.upscaler import Upscale, load_upscaler
from ..files.checkpoint import sha256
from ..restoration.canvas import resize
from ..restoration.sizes import TargetSize
from .batch import attempt
from .done import judge
from .making import write_pictures
from .options import METHODS
from .plan import Job
from .report import Report
from .restoring import restore_jobs
from .settings import AnySettings, settings_named
from .task import Task
from .weights import Weights

BICUBIC = "bicubic"
SPECS = (
    "bicubic, a file that spandrel loads, supir[:PRESET|FILE.json], instantir[:FILE.json], NAME= and one of these, or "
    "NAME=FOLDER of results"
)
STAGE1 = " stage 1"
"""Behind the name of a method, the picture that its sampling began from."""


@dataclass(frozen=True)
class Place:
    """Where a comparison is made.

    Attributes:
        folder: of everything that is made.
        manifest: knows what is there.
        report: told what happens.
        options: of the command.
        device: on which upscalers and metrics run.
        weights: gives those of one of ``METHODS``.
    """

    folder: Path
    manifest: Manifest
    report: Report
    options: argparse.Namespace
    device: torch.device
    weights: Callable[[str], Weights]

    def write(self, name: str, sources: Mapping[Case, Path], work: Work, how: Facts) -> list[Case]:
        """Write what ``work`` makes of the source of each case, where it is not there yet; gives the cases that are done."""
        jobs = {Job(source, case.result(self.folder, name), None): case for case, source in sources.items()}
        done = write_pictures(
            list(jobs),
            lambda picture, job: work(picture, jobs[job]),
            lambda job: {**how, "size": jobs[job].size},
            self.manifest,
            self.report,
        )
        return [jobs[job] for job in done]

    def find(self, folder: Path, names: Mapping[Job, str]) -> dict[Job, Path]:
        """The file in a folder that belongs to each job, by the name of its picture; one that has none has failed."""
        others = names.values()
        found = {
            job: attempt(job, self.report, partial(find_result, folder, name, others)) for job, name in names.items()
        }
        return {job: source for job, source in found.items() if source is not None}


Work = Callable[[Tensor, Case], Tensor]
Run = Callable[[Place, str, Sequence[Case]], list[Case]]
"""Writes a method's results for the cases of a setting and a seed; gives those that are done."""


@dataclass(frozen=True)
class Method:
    """A method that was asked for: its name in the table, its work, and which of ``METHODS`` it needs the weights of."""

    name: str
    run: Run
    kind: str | None = None


def method_of(spec: str, options: argparse.Namespace) -> Method:
    """The method that a word of the command line means.

    Raises:
        ValueError: there is no such method, or its file is of something else.
        ImportError: it needs a package that is missing.
    """
    inside = spec.partition(":")[0] in METHODS or Path(spec).is_file()  # where a = is of a file's name
    name, _, target = ("", "", spec) if inside or "=" not in spec else spec.partition("=")
    kind, _, how = target.partition(":")
    path = Path(target)
    if target == BICUBIC:
        return Method(name or target, partial(_enlarged, how={"method": BICUBIC}))
    if kind in METHODS:
        settings = settings_named(kind, how, options.demo)
        return Method(name or target, partial(_generative, kind=kind, settings=settings), kind)
    if path.is_file():
        load_upscaler(path)  # what is wrong with it is said before anything is done
        facts = {"method": "spandrel", "weights": sha256(path)}
        return Method(name or path.stem, partial(_enlarged, how=facts, load=partial(load_upscaler, path)))
    if name and path.is_dir():
        return Method(name, partial(_elsewhere, results=path))
    raise ValueError(f'--method: expected {SPECS}, got "{spec}"; there is no such file or folder')


def _enlarged(
    place: Place, name: str, cases: Sequence[Case], how: Facts, load: Callable[[torch.device], Upscale] | None = None
) -> list[Case]:
    """Bicubic enlargement, of what an upscaler makes where there is one."""
    upscale = cache(load) if load else lambda device: lambda picture: picture

    def work(picture: Tensor, case: Case) -> Tensor:
        return resize(upscale(place.device)(picture), case.size)

    return place.write(name, {case: case.damaged for case in cases}, work, how)


def _elsewhere(place: Place, name: str, cases: Sequence[Case], results: Path) -> list[Case]:
    case, options = cases[0], place.options
    first, only = case.seed == options.seed[0], len(options.setting) < 2
    folder = results_folder(results, case.setting, case.seed, first, only)
    if folder is None:
        place.report.say(f"{name}: no results for {case.setting}, seed {case.seed} in {results}; left out")
        return []
    jobs = {_job(place, name, each): each for each in cases}
    found = place.find(folder, {job: each.name for job, each in jobs.items()})

    def work(picture: Tensor, case: Case) -> Tensor:
        check_shape(picture.shape[2:], case.size)
        return resize(picture[:, :3], case.size)

    sources = {jobs[job]: source for job, source in found.items()}
    return place.write(name, sources, work, {"method": "elsewhere"})


def _generative(place: Place, name: str, cases: Sequence[Case], kind: str, settings: AnySettings) -> list[Case]:
    weights, options = place.weights(kind), place.options
    done = []
    for target in dict.fromkeys(case.scale or case.size for case in cases):
        task = Task(
            replace(settings, seed=cases[0].seed),
            target=TargetSize(size=target) if isinstance(target, tuple) else TargetSize(target),
            models=lambda: weights.hashes,
            captioned=bool(options.captioner) and kind == "supir",
        )
        jobs = {_job(place, name, case): case for case in cases if target in (case.scale, case.size)}
        restore_jobs(list(jobs), task, weights, options, place.report)
        done += [case for job, case in jobs.items() if judge(job, task).done]
    return done


def _job(place: Place, name: str, case: Case) -> Job:
    stage1 = case.result(place.folder, name + STAGE1) if place.options.stage1 else None
    return Job(case.damaged, case.result(place.folder, name), case.captions, stage1)
