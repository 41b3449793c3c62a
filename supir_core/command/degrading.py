"""``supir degrade``: damaged pictures as files, with a manifest that says how each was made."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from ..cluster.making import make_on_cluster
from ..cluster.options import add_cluster, check_cluster
from ..evaluation.degradation import DAMAGES, SETTINGS, clean_part, damage
from ..evaluation.manifest import Manifest
from ..files.writing import SUFFIX_FORMATS
from ..restoration.transparency import opaque
from .making import MakeAll, make_here, write_pictures
from .options import on_disk, seed
from .output import check_folder
from .plan import Job, Order, make_plan
from .report import Report


def add_degrade_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``supir degrade``."""
    add = parser.add_argument
    add("inputs", nargs="+", type=on_disk, metavar="IN", help="clean pictures, folders of them, or patterns")
    add("-o", "--output", type=on_disk, required=True, metavar="OUT", help="folder")
    add("--setting", choices=DAMAGES, required=True, help="of the paper's Table 1, or second-order: Real-ESRGAN's")
    add("--seed", type=seed, default=0, help="of the noise, and of damage of second order (%(default)s)")
    add("-r", "--recursive", action="store_true", help="go into the folders below too")
    add("-q", "--quiet", action="store_true", help="say only what failed")
    add_cluster(parser, networks=False)


def degrade_pictures(options: argparse.Namespace) -> int:
    """Run ``supir degrade``; gives the exit code.

    Raises:
        Exception: nothing can be done at all: of the options, the inputs, the output.
    """
    check_cluster(options)
    make_all = make_here if options.ray is None else partial(make_on_cluster, options)
    report = Report(options.quiet)
    if options.output.suffix.lower() in SUFFIX_FORMATS:
        raise ValueError(f"{options.output} is a name for one file; name a folder for the results")
    jobs = plan_pictures(options.inputs, options.output, options.output, options.recursive, report)
    check_folder(options.output)
    with Manifest(options.output) as manifest:
        damage_pictures(jobs, options.output, options.setting, options.seed, manifest, report, make_all=make_all)
    return report.close()


def plan_pictures(inputs: Sequence[Path], output: Path, made: Path, recursive: bool, report: Report) -> list[Job]:
    """The pictures of a command line, each with a PNG of its own in ``output``, and with its caption.

    Those in ``made`` are left out: earlier runs made them.

    Raises:
        FileNotFoundError: an input is not there, or a folder holds no picture.
    """
    plan = make_plan(Order(inputs, output, recursive, made=made))
    plan.tell(report)
    return plan.jobs


def damage_pictures(
    jobs: Sequence[Job],
    folder: Path,
    setting: str,
    seed: int,
    manifest: Manifest,
    report: Report,
    side: int | None = None,
    make_all: MakeAll = make_here,
) -> list[Job]:
    """Write the damaged pictures that are not there yet; gives the jobs that did not fail.

    Args:
        jobs: clean pictures, and where the damaged ones go.
        folder: that of the damaged pictures; under it lie their names, by which damage of second order differs.
        setting: of ``DAMAGES``.
        seed: of the noise.
        manifest: knows what is there.
        report: told what becomes of each.
        side: damage the middle square of at most so many pixels only.
        make_all: see ``write_pictures``.
    """
    how: dict[str, Any] = {"setting": setting, "seed": seed}
    how |= {"damage": vars(SETTINGS[setting])} if setting in SETTINGS else {}

    def work(picture: Tensor, job: Job) -> Tensor:
        name = job.result.relative_to(folder).as_posix()
        return damage(clean_part(opaque(picture), side), setting, seed, name)

    how |= {} if side is None else {"middle": side}
    return write_pictures(jobs, work, lambda job: how, manifest, report, make_all=make_all)
