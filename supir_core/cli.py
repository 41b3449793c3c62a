"""The ``supir`` command: restore pictures, inspect checkpoints, run the demonstration."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from .batch import Batch, plan_jobs, run_batch
from .caption_batch import Captions, caption_jobs
from .caption_models import LLAVA, PRECISIONS, load_captioner
from .checkpoint import KNOWN_KINDS, UnsupportedCheckpointError, open_checkpoint, sha256
from .denoiser import Linear
from .model import SupirModel, load_model
from .settings import PRESETS, Settings

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        0, or 1 where something failed, 130 where it was interrupted.
    """
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except KeyboardInterrupt:
        _say("stopped; finished pictures are kept, the same command resumes")
        return 130
    except (OSError, ValueError) as error:
        _say(f"error: {error}")
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="supir", description="Restore badly damaged photographs with SUPIR."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_restore(commands.add_parser("restore", help="restore pictures"))
    inspect = commands.add_parser("inspect", help="say what a checkpoint file is")
    inspect.add_argument("file", type=Path)
    inspect.set_defaults(run=_inspect)
    demo = commands.add_parser("demo", help="damage a photograph and restore it with the demo weights")
    demo.add_argument("-o", "--output", type=Path, default=Path("demo_output"), help="folder (%(default)s)")
    demo.add_argument("--seed", type=int, default=0)
    demo.set_defaults(run=_demo)
    return parser


def _add_restore(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(run=_restore)
    add = parser.add_argument
    add("inputs", nargs="+", type=Path, metavar="IN", help="pictures, or folders of them")
    add(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="OUT",
        help="folder, or a .png for a single picture",
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--scale", type=float, default=2.0, help="enlargement (%(default)s)")
    size.add_argument("--size", type=_size, metavar="WxH", help="exact size of the result instead")
    add(
        "--caption",
        help="what the pictures show; else the .txt beside a picture, else --captioner, else nothing",
    )
    add("--overwrite", action="store_true", help="restore pictures again that are done already")
    add("--stage1", action="store_true", help="write the stage-1 picture beside each result")
    add("--no-metadata", action="store_true", help="leave settings, hashes and the label out of the files")

    _add_captions(parser)

    weights = parser.add_argument_group("weights")
    weights.add_argument("--sdxl", type=Path, metavar="FILE", help="single-file SDXL checkpoint")
    weights.add_argument(
        "--supir", type=Path, metavar="FILE", help="SUPIR-v0Q or SUPIR-v0F, any published form"
    )
    weights.add_argument(
        "--tokenizer", metavar="FOLDER", help="CLIP tokenizer; else from the hub or its cache"
    )
    weights.add_argument("--demo", action="store_true", help="use the demo weights instead")
    weights.add_argument("--device", help="cpu, cuda, cuda:1, mps; a GPU by default where there is one")
    weights.add_argument("--dtype", choices=DTYPES, help="float16 on a GPU, float32 on a CPU by default")

    group = parser.add_argument_group("settings; each replaces the preset's")
    group.add_argument("--preset", choices=PRESETS, default="quality", help="(%(default)s)")
    for name, kind, text in (
        ("seed", int, "of the noise; the same seed gives the same picture"),
        ("steps", int, "sampling steps"),
        ("sampler", str, "edm or dpmpp_2m_sde"),
        (
            "restoration-scale",
            float,
            "restoration guidance: larger pulls LESS to the input, 4 in the paper, 0 off",
        ),
        ("s-churn", float, "fresh noise over all steps (edm)"),
        ("s-noise", float, "strength of added noise; more gives more texture"),
        ("positive", str, "quality words after the caption"),
        ("negative", str, "what to keep away from"),
        ("tile", int, "side of a tile in pixels, a multiple of 64"),
        ("overlap", int, "pixels that tiles share, a quarter of the tile by default"),
        ("blend", str, "smooth, or exact for the published Gaussian"),
        ("tiles-per-call", int, "tiles in the network at once; faster, more memory"),
        ("vae-tile", int, "side of a square of pixels whose memory the VAE may use"),
        ("color-fix", str, "wavelet, adain or none"),
        ("color-strength", float, "0 to 1"),
        ("min-side", int, "shortest side to work at; 1024 for SDXL"),
    ):
        group.add_argument(f"--{name}", type=kind, help=text)
    group.add_argument(
        "--shifting", action="store_true", default=None, help="move the tile grid at every step"
    )
    for name, text in (("cfg", "guidance scale"), ("control", "strength of the adaptor")):
        text = f"{text} at the first noise level and at the last"
        group.add_argument(f"--{name}", nargs=2, type=float, metavar=("START", "END"), help=text)


def _add_captions(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group(
        "captions",
        "A model describes stage 1 of the pictures that have no caption. Trust it for scenery; for portraits and anything "
        "with text or logos write a short noun phrase yourself.",
    ).add_argument
    add(
        "--captioner",
        metavar="MODEL",
        help=f"folder or hub id of an image-text-to-text model, such as {LLAVA}",
    )
    add(
        "--caption-precision",
        choices=PRECISIONS,
        default="auto",
        help="of its weights (%(default)s); 8bit and 4bit need bitsandbytes and accelerate",
    )
    add(
        "--caption-device",
        metavar="DEVICE",
        help="where it runs, --device by default; spread for several GPUs",
    )
    add(
        "--caption-tiles",
        action="store_true",
        help="a caption for each tile; else from the .tiles.txt, a line each",
    )
    add(
        "--save-captions",
        action="store_true",
        help="write .txt or .tiles.txt beside each picture, for the next run",
    )


def _restore(options: argparse.Namespace) -> int:
    settings = settings_from(options)
    jobs = plan_jobs(options.inputs, options.output, options.caption, options.caption_tiles)
    todo = [job for job in jobs if options.overwrite or not job.result.exists()]
    if len(todo) < len(jobs):
        _say(f"{len(jobs) - len(todo)} of {len(jobs)} done already")
    if not todo:
        return 0
    model = _model(options)
    batch = Batch(
        model=model,
        settings=settings,
        scale=options.scale,
        size=options.size,
        hashes=None if options.no_metadata else {file.name: sha256(file) for file in model.files},
        keep_stage1=options.stage1,
    )
    failures = []
    if options.captioner:
        todo, failures = caption_jobs(todo, batch, _captions(options))
    failures += run_batch(todo, batch)
    for job, error in failures:
        _say(f"failed: {job.source}: {error}")
    return 1 if failures else 0


def _captions(options: argparse.Namespace) -> Captions:
    device = options.caption_device or options.device or ("cpu" if options.demo else None)
    return Captions(
        load=lambda: load_captioner(options.captioner, options.caption_precision, device),
        tiles=options.caption_tiles,
        save=options.save_captions,
    )


def settings_from(options: argparse.Namespace) -> Settings:
    """The preset with every setting that was given replaced."""
    preset = PRESETS[options.preset]
    given = {
        name: value for name, value in vars(options).items() if hasattr(preset, name) and value is not None
    }
    for name in ("cfg", "control"):
        if name in given:
            given[name] = Linear(*given[name])
    return replace(preset, **given)


def _model(options: argparse.Namespace) -> SupirModel:
    if options.demo:
        from .demo import load_demo_model

        return load_demo_model()
    missing = [f"--{name} FILE" for name in ("sdxl", "supir") if getattr(options, name) is None]
    if missing:
        raise ValueError(f"{' and '.join(missing)} expected; or --demo to try without the real weights")
    dtype = DTYPES[options.dtype] if options.dtype else None
    return load_model(options.sdxl, options.supir, options.tokenizer, options.device, dtype)


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


def _size(text: str) -> tuple[int, int]:
    """``WxH`` as (height, width)."""
    width, _, height = text.lower().partition("x")
    if not (width.isdigit() and height.isdigit() and int(width) and int(height)):
        raise argparse.ArgumentTypeError(f'expected WIDTHxHEIGHT such as 3000x2000, got "{text}"')
    return int(height), int(width)


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
