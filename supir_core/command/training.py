"""``supir train`` and ``supir negatives``: their options, and what is said when packages are missing."""

from __future__ import annotations

import argparse
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..files.checkpoint import DTYPES
from ..restoration.knobs import knobs
from ..training.config import STAGE_DEFAULTS, Negatives, read_config
from .options import DEVICES, add_knob
from .report import write_line


def add_training(commands: Any) -> None:
    """Add the commands."""
    training = commands.add_parser("train", help="fine-tune weights on your own pictures")
    training.add_argument("stage", choices=STAGE_DEFAULTS, help="what learns; see docs/training.md")
    training.add_argument("--config", type=Path, required=True, metavar="FILE", help="TOML, or YAML in a .yaml file")
    training.set_defaults(run=_train)
    negatives = commands.add_parser(
        "negatives", help="make the bad pictures that an adaptor is trained to keep away from"
    )
    add = negatives.add_argument
    add("pictures", type=Path, metavar="IN", help="folder of clean pictures")
    add("-o", "--output", type=Path, required=True, metavar="OUT", help="folder of the bad ones")
    add("--sdxl", type=Path, required=True, metavar="FILE", help="single-file SDXL checkpoint")
    add("--tokenizer", metavar="FOLDER", help="CLIP tokenizer; else from the hub or its cache")
    for name, described in knobs(Negatives).items():
        add_knob(negatives, name, described)
    add("--device", help=DEVICES)
    add("--dtype", choices=DTYPES, help="float16 on a GPU, float32 on a CPU by default")
    negatives.set_defaults(run=_negatives)


def _train(options: argparse.Namespace) -> int:
    if not find_spec("accelerate"):
        raise ImportError('training needs accelerate: pip install -e ".[train]"')
    _check_processes()
    from ..sdxl.memory import MemoryFullError, is_out_of_memory
    from ..training.run import train

    try:
        train(options.stage, read_config(options.stage, options.config), write_line)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise MemoryFullError(
            "the memory is full. Set checkpointing = true, on a GPU eight_bit = true too, and make batch (accumulate larger in its "
            "place) or side smaller; with these another output"
        ) from error
    return 0


def _check_processes() -> None:
    """Refuse what accelerate would pass over without a GPU: it would shard nothing, and let each process train alone."""
    import torch
    from accelerate import PartialState
    from accelerate.utils import parse_flag_from_env

    state, started = PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU")), int(os.environ.get("WORLD_SIZE", 1))
    if state.device == torch.device("cpu") and (
        parse_flag_from_env("ACCELERATE_USE_FSDP") or started > state.num_processes
    ):
        raise ValueError(
            "FSDP and several processes need GPUs, and there is none; give `supir train` without a launcher"
        )


def _negatives(options: argparse.Namespace) -> int:
    from ..sdxl.model import load_sdxl
    from ..training.negatives import make_negatives

    given = {name: getattr(options, name) for name in knobs(Negatives)}
    settings = Negatives(**{name: value for name, value in given.items() if value is not None})
    dtype = DTYPES[options.dtype] if options.dtype else None
    model = load_sdxl(options.sdxl, options.tokenizer, options.device, dtype)
    make_negatives(model, options.pictures, options.output, settings, write_line)
    return 0
