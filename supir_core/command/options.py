"""The options of ``supir restore``: those of the method chosen, and what they say about how to restore."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from ..captions.models import LLAVA, PRECISIONS
from ..cluster.options import add_cluster
from ..files.checkpoint import DTYPES
from ..files.objects import Address, place
from ..files.writing import FORMATS
from ..instantir.settings import InstantSettings
from ..restoration.denoiser import LinearSchedule
from ..restoration.knobs import SCALE, Knob, knobs
from ..restoration.regions import CONTEXT, FEATHER
from ..restoration.sizes import AUTO, FIT, LONGEST_SIDE, MEGAPIXELS, SHRINK_FIRST, TargetSize
from ..sdxl.model import WEIGHTS
from ..sdxl.residency import MODES
from ..supir.settings import DEFAULT_PRESET, PRESETS, Settings
from .models import DINO_FOLDER, TOKENIZER_FOLDER
from .settings import base_settings, with_given

METHODS = ("supir", "instantir")
ALIASES = {"vae_memory": ("vae_tile",)}
"""Earlier names of options, which still work."""

DEVICES = "cpu, cuda, cuda:1, mps; a GPU by default where there is one"
SDXL = "SDXL checkpoint: a single file, or a folder in diffusers' layout"
SUPIR_FILES = {"sdxl": SDXL, "supir": "SUPIR-v0Q or SUPIR-v0F, any published form"}
INSTANTIR_FILES = {
    "sdxl": SDXL,
    "adapter": "adapter.pt",
    "aggregator": "aggregator.pt",
    "previewer": "previewer_lora_weights.bin",
}


def method_in(arguments: Sequence[str] | None) -> str:
    """The method that a command line asks for, SUPIR where it names none of ``METHODS``."""
    parser = argparse.ArgumentParser(prog="supir restore", add_help=False)  # shortens names as the real one does
    parser.add_argument("--method")
    method = parser.parse_known_args(arguments)[0].method
    return method if method in METHODS else "supir"


def add_options(parser: argparse.ArgumentParser, method: str) -> None:
    """Add the options of ``supir restore`` with a method."""
    _add_pictures(parser)
    supir = method == "supir"
    text = "supir or instantir (%(default)s); --method instantir --help lists the options of that"
    parser.add_argument("--method", choices=METHODS, default="supir", help=text)
    if supir:
        add_captions(parser)
    else:
        parser.set_defaults(captioner=None, caption_tiles=False, save_captions=False, demo=False)
    add_weights(parser, SUPIR_FILES if supir else INSTANTIR_FILES)
    add_cluster(parser)
    group = parser.add_argument_group(f"settings; each replaces the {'preset' if supir else 'published one'}")
    if supir:
        group.add_argument("--preset", choices=PRESETS, help=f"({DEFAULT_PRESET}; demo with the demo weights)")
    for name, described in knobs(Settings if supir else InstantSettings).items():
        if name not in OF_BATCHES:
            add_knob(group, name, described)


OF_BATCHES = ("same_noise",)
"""Settings that mean nothing for files, which are one picture each and have the seed itself."""


def add_knob(group: Any, name: str, described: Knob) -> None:
    """Add the option of a setting."""
    names = [f"--{alias.replace('_', '-')}" for alias in (name, *ALIASES.get(name, ()))]
    default, text = described.default, described.text.replace("%", "%%")
    if isinstance(default, bool):
        group.add_argument(*names, dest=name, action="store_true", default=None, help=text)
    elif isinstance(default, LinearSchedule):
        shown = f"{described.range()}, default {default.start:g} {default.end:g}"
        text = f"{text} At the first noise level and at the last, linear in between. ({shown})"
        group.add_argument(*names, dest=name, nargs=2, type=float, metavar=("START", "END"), help=text)
    elif isinstance(default, str):
        shown = f" (default {default})" if described.choices else ""
        group.add_argument(*names, dest=name, choices=described.choices or None, help=text + shown)
    else:
        kind = float if isinstance(default, float) else int
        shown = f"{described.range()}, default {'automatic' if default is None else format(default, 'g')}"
        group.add_argument(*names, dest=name, type=kind, metavar="N", help=f"{text} ({shown})")


def settings_from(options: argparse.Namespace) -> Settings | InstantSettings:
    """The preset, by default that of the weights, or the published settings, with every setting that was given replaced."""
    base = base_settings(options.method, getattr(options, "preset", None), getattr(options, "demo", False))
    given = {field.name: getattr(options, field.name, None) for field in fields(base)}
    return with_given(base, {name: value for name, value in given.items() if value is not None})


def _add_pictures(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("inputs", nargs="+", type=place, metavar="IN", help="pictures, folders of them, or patterns such as '*.jpg'")
    text = "folder, or a file for a single picture; may be the folder of the inputs"
    add("-o", "--output", type=place, required=True, metavar="OUT", help=text)
    text = "go into the folders below too; the results are in folders of the same names"
    add("-r", "--recursive", action="store_true", help=text)
    _add_sizes(parser)
    add(
        "--caption",
        help="what the pictures show; else the .txt beside a picture, else --captioner, else nothing",
    )
    text = "which page or frame of files with several, from 1"
    add("--page", type=_count, metavar="N", help=text)
    text = "restore pictures again that are done already, and replace files that are not results"
    add("--overwrite", action="store_true", help=text)
    add("--stage1", action="store_true", help="write what sampling began from beside each result")
    _add_regions(
        parser.add_argument_group("regions", "Only what is white in a mask is restored; the rest stays as it is.")
    )
    _add_results(parser.add_argument_group("results"))
    _add_talk(parser.add_argument_group("what is said"))


def on_disk(text: str) -> Path:
    """A path, where addresses of stores are none."""
    if isinstance(path := place(text), Address):
        raise argparse.ArgumentTypeError(
            f'expected a path on a disk, as only `supir restore` knows stores, got "{text}"'
        )
    return path


def seed(text: str) -> int:
    """A seed in its range."""
    allowed = knobs(Settings)["seed"]
    try:
        allowed.check("seed", int(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f'expected a whole number {allowed.range()}, got "{text}"') from error
    return int(text)


def _add_sizes(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("size of the result", "docs/sizes.md has a table for prints.")
    one = group.add_mutually_exclusive_group()
    text = f"{SCALE.text} ({SCALE.range()}, default {SCALE.default:g}, and 1 for pictures with a mask)"
    one.add_argument("--scale", type=float, metavar="N", help=text)
    for name, knob, kind in (("longest-side", LONGEST_SIDE, int), ("megapixels", MEGAPIXELS, float)):
        one.add_argument(f"--{name}", type=kind, metavar="N", help=f"{knob.text} ({knob.range()})")
    one.add_argument("--size", type=_size, metavar="WxH", help="Exact size of the result.")
    add_knob(group, "fit", FIT)
    text = f"{SHRINK_FIRST.text} {AUTO}: as far as it loses no detail, by its spectrum. ({SHRINK_FIRST.range()})"
    group.add_argument("--shrink-first", type=_shrink, metavar=f"N|{AUTO}", help=text)


def target_from(options: argparse.Namespace) -> TargetSize:
    """The size of results that the options ask for.

    Raises:
        ValueError: it is out of range, or ``--fit`` is given without ``--size``.
    """
    names = [field.name for field in fields(TargetSize)]
    return TargetSize(**{name: getattr(options, name) for name in names if getattr(options, name) is not None})


def _add_regions(group: Any) -> None:
    text = "of all pictures; else NAME.mask.png beside a picture, if it is there"
    group.add_argument("--mask", type=Path, metavar="FILE", help=text)
    for name, knob in (("context", CONTEXT), ("feather", FEATHER)):
        add_knob(group, name, knob)
        group.set_defaults(**{name: knob.default})


def _add_results(group: Any) -> None:
    add = group.add_argument
    add("--format", choices=FORMATS, help="(png, or as the name of a single result says)")
    add("--quality", type=_quality, metavar="N", help="of jpeg and webp (1 to 100)")
    add("--strip", action="store_true", help="leave out what the camera wrote: date, place and all")
    text = "write supir_report.html beside the results, a page that compares each with its input"
    add("--report", action="store_true", help=text)
    add("--no-metadata", action="store_true", help="leave settings, hashes and the label out of the files")


def _add_talk(group: Any) -> None:
    add = group.add_argument
    add("--dry-run", action="store_true", help="say what would be done, and do nothing")
    add("--json", action="store_true", help="write a JSON object a line to stdout for each picture")
    add("-q", "--quiet", action="store_true", help="say only what failed")
    add("-v", "--verbose", action="store_true", help="show where errors came from")


def add_weights(parser: argparse.ArgumentParser, files: dict[str, str]) -> None:
    """Add the options that name files of weights and say how they are kept."""
    weights = parser.add_argument_group("weights")
    for name, text in files.items():
        weights.add_argument(f"--{name}", type=Path, metavar="FILE", help=text)
    weights.add_argument("--vae", type=Path, metavar="FILE", help="SDXL's VAE, in place of the checkpoint's")
    hub = "else from the hub or its cache"
    text = f"CLIP tokenizer; by default the folder {TOKENIZER_FOLDER} beside the SDXL checkpoint, {hub}"
    weights.add_argument("--tokenizer", metavar="FOLDER", help=text)
    if files is INSTANTIR_FILES:
        text = f"DINOv2-L in transformers' layout; by default the folder {DINO_FOLDER} beside the adapter, {hub}"
        weights.add_argument("--dino", metavar="FOLDER", help=text)
    else:
        weights.add_argument("--demo", action="store_true", help="use the demo weights instead")
        text = "compile the networks that sample (torch.compile), for many pictures on a GPU; keeps all weights there"
        weights.add_argument("--compile", action="store_true", help=text)
    weights.add_argument("--device", help=DEVICES)
    text = "how networks share the GPU (%(default)s): keep them there while there is room, always (full), drop each after its "
    text += "work (stage), or fetch those that sample block by block (stream)"
    weights.add_argument("--memory", choices=MODES, default="auto", help=text)
    text = "float8 keeps the weights of the networks that sample in 8 bits: half the memory, a small loss (%(default)s)"
    weights.add_argument("--weights", choices=WEIGHTS, default="same", help=text)
    weights.add_argument("--dtype", choices=DTYPES, help="float16 on a GPU, float32 on a CPU by default")


def _size(text: str) -> tuple[int, int]:
    """``WxH`` as (height, width)."""
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise argparse.ArgumentTypeError(f'expected WIDTHxHEIGHT such as 3000x2000, got "{text}"')
    return int(height), int(width)


def _shrink(text: str) -> float | str:
    """A factor, or ``AUTO``."""
    try:
        return AUTO if text == AUTO else float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f'expected a factor or {AUTO}, got "{text}"') from error


def _count(text: str) -> int:
    """A whole number from 1."""
    if not (text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f'expected a whole number from 1, got "{text}"')
    return int(text)


def _quality(text: str) -> int:
    """A whole number from 1 to 100."""
    if _count(text) > 100:
        raise argparse.ArgumentTypeError(f'expected 1 to 100, got "{text}"')
    return int(text)


def add_captions(parser: argparse.ArgumentParser, kept: bool = True) -> None:
    """Add the options of captions that a model writes, and that are ``kept`` beside the pictures if that is asked for."""
    add = parser.add_argument_group(
        "captions",
        "A model describes stage 1 of the pictures that have no caption. Trust it for scenery; for portraits and anything "
        "with text or logos write a short noun phrase yourself.",
    ).add_argument
    text = f"folder or hub id of an image-text-to-text model, such as {LLAVA}"
    add("--captioner", metavar="MODEL", help=text)
    text = "of its weights (%(default)s); 8bit and 4bit need bitsandbytes and accelerate"
    add("--caption-precision", choices=PRECISIONS, default="auto", help=text)
    text = "where it runs, --device by default; spread for several GPUs"
    add("--caption-device", metavar="DEVICE", help=text)
    text = "a caption for each tile; else from the .tiles.txt, a line each"
    add("--caption-tiles", action="store_true", help=text)
    if kept:
        text = "write .txt or .tiles.txt beside each picture, for the next run"
        add("--save-captions", action="store_true", help=text)
