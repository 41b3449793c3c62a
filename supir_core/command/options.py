"""The options of ``supir restore``: those of the method chosen, and what they say about how to restore."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from ..captions.models import LLAVA, PRECISIONS
from ..instantir.settings import InstantSettings
from ..restoration.denoiser import LinearSchedule
from ..supir.settings import PRESETS, Settings

METHODS = ("supir", "instantir")
DTYPES = ("float32", "bfloat16", "float16")

COMMON = (
    ("seed", int, "of the noise; the same seed gives the same picture"),
    ("steps", int, "sampling steps"),
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
)
SUPIR = (
    ("sampler", str, "edm or dpmpp_2m_sde"),
    (
        "restoration-scale",
        float,
        "restoration guidance: larger pulls LESS to the input, 4 in the paper, 0 off",
    ),
    ("s-churn", float, "fresh noise over all steps (edm)"),
    ("s-noise", float, "strength of added noise; more gives more texture"),
)
INSTANTIR = (
    ("cfg", float, "guidance scale; 3 to 5 against over-smooth results"),
    ("control", float, "how closely to follow the input, 0 to 1"),
    ("control-start", float, "share of the steps at which control begins"),
    ("control-end", float, "where it ends; 0.6 to 0.8 is creative: the prompt decides the rest"),
    ("preview-start", float, "where previews begin; 0.1 to 0.4 for fidelity"),
    ("preview-end", float, "where they end"),
    ("adaptive", str, "adaptive restoration: none, residual (the release's) or reference (the paper's)"),
    ("start", str, "sample from the picture under noise, or from noise"),
)
SUPIR_FILES = {"sdxl": "single-file SDXL checkpoint", "supir": "SUPIR-v0Q or SUPIR-v0F, any published form"}
INSTANTIR_FILES = {
    "sdxl": "single-file SDXL checkpoint",
    "adapter": "adapter.pt",
    "aggregator": "aggregator.pt",
    "previewer": "previewer_lora_weights.bin",
}


def method_in(arguments: Sequence[str] | None) -> str:
    """The method that a command line asks for, SUPIR where it names none."""
    parser = argparse.ArgumentParser(prog="supir restore", add_help=False, allow_abbrev=False)
    parser.add_argument("--method", choices=METHODS, default="supir")
    return parser.parse_known_args(arguments)[0].method


def add_options(parser: argparse.ArgumentParser, method: str) -> None:
    """Add the options of ``supir restore`` with a method."""
    _add_pictures(parser)
    supir = method == "supir"
    text = "supir or instantir (%(default)s); --method instantir --help lists the options of that"
    parser.add_argument("--method", choices=METHODS, default="supir", help=text)
    if supir:
        _add_captions(parser)
    else:
        parser.set_defaults(captioner=None, caption_tiles=False)
    _add_weights(parser, SUPIR_FILES if supir else INSTANTIR_FILES)
    group = parser.add_argument_group(f"settings; each replaces the {'preset' if supir else 'published one'}")
    if supir:
        group.add_argument("--preset", choices=PRESETS, default="quality", help="(%(default)s)")
    for name, kind, text in COMMON + (SUPIR if supir else INSTANTIR):
        group.add_argument(f"--{name}", type=kind, help=text)
    group.add_argument(
        "--shifting", action="store_true", default=None, help="move the tile grid at every step"
    )
    if supir:
        for name, text in (("cfg", "guidance scale"), ("control", "strength of the adaptor")):
            text = f"{text} at the first noise level and at the last"
            group.add_argument(f"--{name}", nargs=2, type=float, metavar=("START", "END"), help=text)


def settings_from(options: argparse.Namespace) -> Settings | InstantSettings:
    """The preset, or the published settings, with every setting that was given replaced."""
    base = PRESETS[options.preset] if options.method == "supir" else InstantSettings()
    names = {field.name for field in fields(base)}
    given: dict[str, Any] = {
        name: value for name, value in vars(options).items() if name in names and value is not None
    }
    for name in ("cfg", "control"):
        if isinstance(given.get(name), list):
            given[name] = LinearSchedule(*given[name])
    return replace(base, **given)


def _add_pictures(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("inputs", nargs="+", type=Path, metavar="IN", help="pictures, or folders of them")
    text = "folder, or a .png for a single picture"
    add("-o", "--output", type=Path, required=True, metavar="OUT", help=text)
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--scale", type=float, default=2.0, help="enlargement (%(default)s)")
    size.add_argument("--size", type=_size, metavar="WxH", help="exact size of the result instead")
    add(
        "--caption",
        help="what the pictures show; else the .txt beside a picture, else --captioner, else nothing",
    )
    add("--overwrite", action="store_true", help="restore pictures again that are done already")
    add("--stage1", action="store_true", help="write what sampling began from beside each result")
    add("--no-metadata", action="store_true", help="leave settings, hashes and the label out of the files")


def _add_weights(parser: argparse.ArgumentParser, files: dict[str, str]) -> None:
    weights = parser.add_argument_group("weights")
    for name, text in files.items():
        weights.add_argument(f"--{name}", type=Path, metavar="FILE", help=text)
    hub = "else from the hub or its cache"
    weights.add_argument("--tokenizer", metavar="FOLDER", help=f"CLIP tokenizer; {hub}")
    if files is INSTANTIR_FILES:
        weights.add_argument("--dino", metavar="FOLDER", help=f"DINOv2-L in transformers' layout; {hub}")
    else:
        weights.add_argument("--demo", action="store_true", help="use the demo weights instead")
    weights.add_argument("--device", help="cpu, cuda, cuda:1, mps; a GPU by default where there is one")
    weights.add_argument("--dtype", choices=DTYPES, help="float16 on a GPU, float32 on a CPU by default")


def _size(text: str) -> tuple[int, int]:
    """``WxH`` as (height, width)."""
    width, _, height = text.lower().partition("x")
    if not (width.isdigit() and height.isdigit() and int(width) and int(height)):
        raise argparse.ArgumentTypeError(f'expected WIDTHxHEIGHT such as 3000x2000, got "{text}"')
    return int(height), int(width)


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
