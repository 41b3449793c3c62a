"""The ``supir`` command: restore pictures, inspect checkpoints, run the demonstration."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

import torch

from ..captions.models import load_captioner
from ..files.checkpoint import DTYPES, UnsupportedCheckpointError, open_checkpoint, sha256
from ..files.kinds import KNOWN_KINDS
from ..instantir.model import InstantIRModel, load_instantir
from ..instantir.pipeline import restore_instantir
from ..supir.model import SupirModel, load_model
from ..supir.pipeline import restore
from .batch import Batch, plan_jobs, run_batch
from .captions import Captions, caption_jobs
from .options import INSTANTIR_FILES, SUPIR_FILES, add_options, method_in, settings_from


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        0, or 1 where something failed, 130 where it was interrupted.
    """
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    options = _parser(method_in(arguments)).parse_args(arguments)
    try:
        return options.run(options)
    except KeyboardInterrupt:
        _say("stopped; finished pictures are kept, the same command resumes")
        return 130
    except (OSError, ValueError) as error:
        _say(f"error: {error}")
        return 1


def _parser(method: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="supir", description="Restore badly damaged photographs with SUPIR or InstantIR."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    restoring = commands.add_parser("restore", help="restore pictures")
    add_options(restoring, method)
    restoring.set_defaults(run=_restore)
    inspect = commands.add_parser("inspect", help="say what a checkpoint file is")
    inspect.add_argument("file", type=Path)
    inspect.set_defaults(run=_inspect)
    demo = commands.add_parser("demo", help="damage a photograph and restore it with the demo weights")
    demo.add_argument("-o", "--output", type=Path, default=Path("demo_output"), help="folder (%(default)s)")
    demo.add_argument("--seed", type=int, default=0)
    demo.set_defaults(run=_demo)
    doctor = commands.add_parser("doctor", help="say what this machine can do, and check that it computes right")
    doctor.add_argument("--device", help="cpu, cuda, cuda:1, mps; a GPU by default where there is one")
    doctor.set_defaults(run=_doctor)
    return parser


def _restore(options: argparse.Namespace) -> int:
    settings = settings_from(options)
    jobs = plan_jobs(options.inputs, options.output, options.caption, options.caption_tiles)
    todo = [job for job in jobs if options.overwrite or not job.result.exists()]
    if len(todo) < len(jobs):
        _say(f"{len(jobs) - len(todo)} of {len(jobs)} done already")
    if not todo:
        return 0
    if options.method == "supir":
        model = _load_supir(options)
        one = partial(restore, model)
    else:
        model = _load_instantir(options)
        one = partial(restore_instantir, model)
    batch = Batch(
        restore=one,
        settings=settings,
        scale=options.scale,
        size=options.size,
        hashes=None if options.no_metadata else {file.name: sha256(file) for file in model.files},
        keep_stage1=options.stage1,
    )
    failures = []
    if options.captioner and isinstance(model, SupirModel):
        todo, failures = caption_jobs(todo, batch, _captions(options, model))
    failures += run_batch(todo, batch)
    for job, error in failures:
        _say(f"failed: {job.source}: {error}")
    return 1 if failures else 0


def _captions(options: argparse.Namespace, model: SupirModel) -> Captions:
    device = options.caption_device or options.device or ("cpu" if options.demo else None)
    return Captions(
        model=model,
        load=lambda: load_captioner(options.captioner, options.caption_precision, device),
        tiles=options.caption_tiles,
        save=options.save_captions,
    )


def _load_supir(options: argparse.Namespace) -> SupirModel:
    memory = options.memory
    if options.compile and memory != "full":
        if memory != "auto":
            raise ValueError(
                f"--compile keeps all weights on the GPU, so it does not go with --memory {memory}; leave out one"
            )
        memory = "full"
    if options.demo:
        from .demo import load_demo_model

        model = load_demo_model(options.device, _dtype(options), memory, options.weights)
    else:
        sdxl, supir = _files(options, SUPIR_FILES, "; or --demo to try without the real weights")
        model = load_model(sdxl, supir, options.tokenizer, options.device, _dtype(options), memory, options.weights)
    if options.compile:
        model.compile()
    return model


def _load_instantir(options: argparse.Namespace) -> InstantIRModel:
    return load_instantir(
        *_files(options, INSTANTIR_FILES),
        dino=options.dino,
        tokenizer=options.tokenizer,
        device=options.device,
        dtype=_dtype(options),
        memory=options.memory,
        weights=options.weights,
    )


def _files(options: argparse.Namespace, names: Iterable[str], otherwise: str = "") -> list[Path]:
    missing = [f"--{name} FILE" for name in names if getattr(options, name) is None]
    if missing:
        raise ValueError(f"{' and '.join(missing)} expected{otherwise}")
    return [getattr(options, name) for name in names]


def _dtype(options: argparse.Namespace) -> torch.dtype | None:
    return DTYPES[options.dtype] if options.dtype else None


def _inspect(options: argparse.Namespace) -> int:
    try:
        checkpoint = open_checkpoint(options.file)
    except UnsupportedCheckpointError as error:
        _say(str(error))
        return 1
    if checkpoint.kind not in KNOWN_KINDS:
        _say(f"{options.file.name}: {checkpoint.kind}; expected one of: {', '.join(KNOWN_KINDS)}")
        return 1
    sys.stdout.write(f"{options.file.name}: {checkpoint.describe()}\n")
    return 0


def _demo(options: argparse.Namespace) -> int:
    from .demo import run_demo

    shown = run_demo(options.output, options.seed)
    for name, (fidelity, distance) in shown.distances.items():
        sys.stdout.write(f"{name:9} PSNR {fidelity:5.2f} dB, GMSD {distance:.3f} to the original\n")
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


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
