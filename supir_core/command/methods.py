"""What ``supir evaluate`` compares: enlargement, upscalers in files, results made elsewhere, and our own two methods."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..evaluation.cases import Case
from ..evaluation.elsewhere import check_shape, find_result, results_folder
from ..evaluation.manifest import Facts, Manifest
from ..evaluation.upscaler import load_upscaler
from ..files.checkpoint import sha256
from ..files.mapping import read_mapping
from ..instantir.settings import InstantSettings
from ..restoration.canvas import resize
from ..restoration.denoiser import LinearSchedule
from ..restoration.sizes import TargetSize
from ..supir.settings import DEFAULT_PRESET, PRESETS, Settings
from .batch import attempt
from .degrading import write_pictures
from .done import judge
from .options import METHODS
from .plan import Job
from .report import Report
from .restoring import restore_jobs
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

    def write(self, name: str, cases: Sequence[Case], sources: Sequence[Path], work: Work, how: Facts) -> list[Case]:
        """Write what ``work`` makes of each source for its case, where it is not there yet; gives the cases that are done."""
        jobs = {
            Job(source, case.result(self.folder, name), None): case for source, case in zip(sources, cases, strict=True)
        }
        done = write_pictures(
            list(jobs),
            lambda picture, job: work(picture, jobs[job]),
            lambda job: {**how, "size": jobs[job].size},
            self.manifest,
            self.report,
        )
        return [jobs[job] for job in done]


Work = Callable[[Tensor, Case], Tensor]
Run = Callable[[Place, str, Sequence[Case]], dict[str, list[Case]]]
"""Writes a method's results for the cases of a setting and a seed; gives those that are done, by the name in the table."""


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
    name, _, target = spec.rpartition("=")
    kind, _, how = target.partition(":")
    path = Path(target)
    if target == BICUBIC:
        return Method(name or target, _bicubic)
    if kind in METHODS:
        return Method(name or target, partial(_generative, kind=kind, settings=_settings(kind, how, options)), kind)
    if path.is_file():
        load_upscaler(path)  # what is wrong with it is said before anything is done
        return Method(name or path.stem, partial(_upscaler, file=path))
    if name and path.is_dir():
        return Method(name, partial(_elsewhere, results=path))
    raise ValueError(f'--method: expected {SPECS}, got "{spec}"; there is no such file or folder')


def _bicubic(place: Place, name: str, cases: Sequence[Case]) -> dict[str, list[Case]]:
    sources = [case.damaged for case in cases]
    return {name: place.write(name, cases, sources, lambda picture, case: resize(picture, case.size), {"method": name})}


def _upscaler(place: Place, name: str, cases: Sequence[Case], file: Path) -> dict[str, list[Case]]:
    loaded: list[Callable[[Tensor], Tensor]] = []

    def work(picture: Tensor, case: Case) -> Tensor:
        if not loaded:
            loaded.append(load_upscaler(file, place.device))
        return resize(loaded[0](picture), case.size)

    sources = [case.damaged for case in cases]
    return {name: place.write(name, cases, sources, work, {"method": "spandrel", "weights": sha256(file)})}


def _elsewhere(place: Place, name: str, cases: Sequence[Case], results: Path) -> dict[str, list[Case]]:
    case, options = cases[0], place.options
    first, only = case.seed == options.seed[0], len(options.setting) < 2
    folder = results_folder(results, case.setting, case.seed, first, only)
    if folder is None:
        place.report.say(f"{name}: no results for {case.setting}, seed {case.seed} in {results}; left out")
        return {name: []}
    names = [each.name for each in cases]
    pairs = []
    for each in cases:
        job = Job(each.damaged, each.result(place.folder, name), None)
        source = attempt(job, place.report, partial(find_result, folder, each.name, names))
        if source is not None:
            pairs.append((each, source))

    def work(picture: Tensor, case: Case) -> Tensor:
        check_shape(picture.shape[2:], case.size)
        return resize(picture[:, :3], case.size)

    found, sources = [each for each, _ in pairs], [source for _, source in pairs]
    return {name: place.write(name, found, sources, work, {"method": "elsewhere"})}


def _generative(
    place: Place, name: str, cases: Sequence[Case], kind: str, settings: Settings | InstantSettings
) -> dict[str, list[Case]]:
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
    return {name: done} | ({name + STAGE1: done} if options.stage1 else {})


def _job(place: Place, name: str, case: Case) -> Job:
    stage1 = case.result(place.folder, name + STAGE1) if place.options.stage1 else None
    return Job(case.damaged, case.result(place.folder, name), case.captions, stage1)


def _settings(kind: str, how: str, options: argparse.Namespace) -> Settings | InstantSettings:
    """Settings by the name of a preset, or from a JSON file."""
    given: dict[str, Any] = {}
    if how.endswith(".json"):
        given = read_mapping(Path(how))
        how = given.pop("preset", "")
    if kind == "instantir":
        if how:
            raise ValueError(f'--method instantir: expected a file of settings (.json), got "{how}"')
        base: Settings | InstantSettings = InstantSettings()
    else:
        how = how or ("demo" if options.demo else DEFAULT_PRESET)
        if how not in PRESETS:
            raise ValueError(f'--method supir: expected {", ".join(PRESETS)}, or a file of settings, got "{how}"')
        base = PRESETS[how]
    known = {field.name for field in fields(base)}
    if unknown := set(given) - known:
        raise ValueError(f"settings: expected some of {', '.join(sorted(known))}, got {', '.join(sorted(unknown))}")
    return replace(base, **{name: _value(name, value, getattr(base, name)) for name, value in given.items()})


def _value(name: str, value: Any, default: Any) -> Any:
    """A setting as JSON has it: one that goes from a value to another is two numbers, or one for both."""
    if not isinstance(default, LinearSchedule):
        return value
    ends = value if isinstance(value, list) else [value, value]
    if len(ends) != 2:
        raise ValueError(f"settings: expected {name} as [start, end], got {value}")
    return LinearSchedule(*ends)
