"""What each of the commands does, and what is said when it fails."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from .. import __version__
from ..files.checkpoint import open_checkpoint
from ..files.errors import UnsupportedCheckpointError
from ..files.kinds import KNOWN_KINDS
from . import download
from .degrading import add_degrade_options, degrade_pictures
from .evaluating import add_evaluate_options, evaluate_pictures
from .options import DEVICES, add_options, method_in
from .report import one_line, write_line
from .restoring import restore_pictures
from .training import add_training

log = logging.getLogger(__name__)


def run(arguments: Sequence[str] | None) -> int:
    """Parse the arguments and do what they say.

    Returns:
        0, or 1 where something failed.
    """
    options = _parser(method_in(arguments)).parse_args(arguments)
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    quiet, verbose = getattr(options, "quiet", False), getattr(options, "verbose", False)
    level = logging.DEBUG if verbose else logging.ERROR if quiet else logging.WARNING
    logging.getLogger(__name__.partition(".")[0]).setLevel(level)
    try:
        return options.run(options)
    except Exception as error:
        log.debug("traceback", exc_info=True)
        write_line(f"error: {one_line(error, hasattr(options, 'memory'))}")
        return 1


def _parser(method: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="supir", description="Restore badly damaged photographs with SUPIR or InstantIR."
    )
    parser.add_argument("--version", action="version", version=f"supir {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    restoring = commands.add_parser("restore", help="restore pictures")
    add_options(restoring, method)
    restoring.set_defaults(run=restore_pictures)
    inspect = commands.add_parser("inspect", help="say what a checkpoint file is")
    inspect.add_argument("file", type=Path)
    inspect.set_defaults(run=_inspect)
    downloading = commands.add_parser("download", help="fetch the models: SDXL, SUPIR, InstantIR, DINOv2, LLaVA")
    download.add_options(downloading)
    downloading.set_defaults(run=download.download)
    demo = commands.add_parser("demo", help="damage a photograph and restore it with the demo weights")
    demo.add_argument("-o", "--output", type=Path, default=Path("demo_output"), help="folder (%(default)s)")
    demo.add_argument("--seed", type=int, default=0, help="of the noise (%(default)s)")
    demo.set_defaults(run=_demo)
    degrade = commands.add_parser("degrade", help="damage clean pictures, as the papers' tests do")
    add_degrade_options(degrade)
    degrade.set_defaults(run=degrade_pictures)
    evaluate = commands.add_parser("evaluate", help="compare methods: tables as in the papers, and a page to look at")
    add_evaluate_options(evaluate)
    evaluate.set_defaults(run=evaluate_pictures)
    add_training(commands)
    doctor = commands.add_parser("doctor", help="say what this machine can do, and check that it computes right")
    doctor.add_argument("--device", help=DEVICES)
    doctor.set_defaults(run=_doctor)
    return parser


def _inspect(options: argparse.Namespace) -> int:
    try:
        checkpoint = open_checkpoint(options.file)
    except UnsupportedCheckpointError as error:
        write_line(str(error))
        return 1
    if checkpoint.kind not in KNOWN_KINDS:
        write_line(f"{options.file.name}: {checkpoint.kind}; expected one of: {', '.join(KNOWN_KINDS)}")
        return 1
    sys.stdout.write(f"{options.file.name}: {checkpoint.describe()}\n")
    return 0


def _demo(options: argparse.Namespace) -> int:
    from .demo import run_demo

    shown = run_demo(options.output, options.seed)
    for name, (fidelity, distance) in shown.distances.items():
        sys.stdout.write(f"{name:27} PSNR {fidelity:5.2f} dB, GMSD {distance:.3f} to the original\n")
    for path in shown.files:
        sys.stdout.write(f"{path}\n")
    return 0


def _doctor(options: argparse.Namespace) -> int:
    from .doctor import check, report

    for line in report(options.device):
        sys.stdout.write(line + "\n")
    passed = True
    for name, error, most in check(options.device):
        fine = error <= most
        passed &= fine
        sys.stdout.write(
            f"self-check, {name}: {'passed' if fine else 'FAILED'}, relative error {error:.1e} of {most:.0e}\n"
        )
    return 0 if passed else 1
