"""What a training is told: every number of it, read from a TOML or YAML file, and written beside the weights."""

from __future__ import annotations

import json
import math
import os
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from ..command.caption_files import check_apart
from ..evaluation.degradation import DAMAGES
from ..files.checkpoint import DTYPES
from ..files.mapping import read_mapping
from ..restoration.knobs import Checked, Knob, knob
from ..restoration.settings import SIDE_MULTIPLE
from ..supir.settings import NEGATIVE_PROMPT, PRESETS

STAGE_DEFAULTS: dict[str, dict[str, Any]] = {
    "dr-encoder": {"rate": 5e-5},
    "adaptor": {"rate": 1e-5},
    "instantir-dcp": {"rate": 1e-4, "negative_share": 0.0},
    "instantir-previewer": {"rate": 1e-4, "negative_share": 0.0, "drop_text": 1.0, "drop_picture": 0.0},
    "instantir-aggregator": {"rate": 1e-4, "negative_share": 0.0, "drop_text": 1.0, "drop_picture": 0.0},
}
"""The stages by name, and where their defaults differ. Rates as published; that of the encoder is ours."""

MAY_CHANGE = {
    *("steps", "report_every", "checkpoint_every", "workers", "tracker", "output", "save_as"),
    *("held_out", "held_out_every", "held_out_damage", "held_out_preset", "held_out_steps"),
}
"""What may differ in a run that goes on from another: of what was learnt nothing depends on it."""

SHARE: dict[str, Any] = {"least": 0.0, "most": 1.0, "step": 0.01}
TIMES: dict[str, Any] = {"least": 0.0, "most": 100.0, "step": 0.01}
CROP: dict[str, Any] = {"least": 0.1, "most": 100.0, "step": 0.01}
COUNT: dict[str, Any] = {"least": 1, "most": 10**9}
SEED: dict[str, Any] = {"least": 0, "most": 2**32 - 1}
"""Ranges of numbers."""


def _path(text: str) -> Any:
    """A file or folder."""
    return field(default="", metadata={"knob": Knob(text, ""), "path": True})


@dataclass(frozen=True)
class TrainingConfig(Checked):
    """All of a training. Weights that are not named are made: see ``docs/training.md`` for which a stage needs."""

    steps: int = knob(10_000, "Steps of the optimiser.", **COUNT)
    batch: int = knob(1, "Pictures of a process that go through the networks together.", **COUNT)
    accumulate: int = knob(16, "Batches whose gradients one step takes together.", **COUNT)
    rate: float = knob(1e-5, "Largest learning rate.", **SHARE)
    warmup: int = knob(100, "Steps over which the rate rises to its largest.", least=0, most=10**9)
    schedule: str = knob("constant", "What the rate does then; cosine falls to 0.", choices=("constant", "cosine"))
    weight_decay: float = knob(0.01, "Of AdamW.", **TIMES)
    clip: float = knob(1.0, "Largest norm of the gradient; 0 is any.", **TIMES)
    eight_bit: bool = knob(False, "AdamW of bitsandbytes, with a quarter of the memory; needs a GPU.")
    precision: str = knob("float32", "Of the work; weights that learn stay float32.", choices=("float32", "bf16"))
    ema: float = knob(0.999, "Decay of the averaged weights, which are what is saved; 0 is none.", **SHARE)
    ema_every: int = knob(10, "Steps between two updates of the averaged weights, which are in main memory.", **COUNT)
    seed: int = knob(0, "Of all that is drawn.", **SEED)
    workers: int = knob(2, "Threads that read and damage pictures.", least=1, most=256)
    report_every: int = knob(50, "Steps between two lines of the log.", **COUNT)
    checkpoint_every: int = knob(500, "Steps between two checkpoints; the last two are kept.", **COUNT)
    tracker: str = knob("none", "Shows log and sheets, where it is installed.", choices=("none", "tensorboard"))
    output: str = _path("Folder for the weights, checkpoints, log and held-out pictures.")
    pictures: str = _path("Folder of clean pictures, with a .txt caption beside each.")
    negatives: str = _path("Folder of pictures by `supir negatives`; else damaged pictures are learnt as such.")
    held_out: str = _path("Folder of pictures that are restored and measured, and never learnt.")
    sdxl: str = _path("SDXL checkpoint in a single file.")
    supir: str = _path("SUPIR weights to begin from.")
    dr_encoder: str = _path("Weights of the encoder, where not those in `supir`.")
    adapter: str = _path("InstantIR's adapter to begin from, or to build on.")
    previewer: str = _path("InstantIR's previewer LoRA to begin from, or to build on.")
    aggregator: str = _path("InstantIR's aggregator to begin from.")
    dino: str = _path("Folder of DINOv2-L; the hub's where none is named.")
    tokenizer: str = _path("Folder of the CLIP tokenizer; the hub's where none is named.")
    depth_share: float = knob(1.0, "Of the transformer blocks of a new adaptor: 0.5 as in the paper.", **SHARE)
    ramp: int = knob(500, "Steps over which a new adaptor's strength rises from 0 to 1.", least=0, most=10**9)
    rank: int = knob(64, "Of a new previewer.", **COUNT)
    resampler_width: int = knob(1280, "Of a new adapter's resampler.", least=64, most=8192, step=64)
    resampler_depth: int = knob(4, "Layers of it.", **COUNT)
    resampler_tokens: int = knob(64, "Tokens that it makes.", **COUNT)
    checkpointing: bool = knob(True, "Compute feature maps again in the backward pass: less memory, a third more time.")
    save_as: str = knob("float16", "Precision of the weights' file.", choices=tuple(DTYPES))
    side: int = knob(512, "Side of the crops in pixels.", least=64, most=4096, step=64)
    crop_least: float = knob(1.0, "Smallest square that is cut, over `side`; below 1 teaches blur.", **CROP)
    crop_most: float = knob(2.0, "Largest square that is cut, over `side`.", **CROP)
    captions: str = knob("required", "Whether every picture needs a caption.", choices=("required", "optional"))
    factor: int = knob(4, "How many times smaller damaged pictures are before they are enlarged.", least=1, most=64)
    hardest_share: float = knob(0.0, "Of pictures damaged by the paper's hardest test, not at random.", **SHARE)
    lighter_share: float = knob(0.0, "Of pictures damaged by one of the paper's other tests.", **SHARE)
    drop_text: float = knob(0.1, "Share of rows without any text.", **SHARE)
    drop_caption: float = knob(0.1, "Share of rows with the quality words alone.", **SHARE)
    drop_picture: float = knob(0.15, "Share of rows for which DINOv2 sees no picture.", **SHARE)
    negative_share: float = knob(0.1, "Share of rows under the negative prompt, with bad targets.", **SHARE)
    loss: str = knob("noise", "Error of noise, or of velocity: high levels count more.", choices=("noise", "velocity"))
    perceived: float = knob(0.0, "Weight of GMSD beside the encoder's squared error, 0.015 for the demo's.", **TIMES)
    skip: int = knob(
        20, "Training noise levels that the teacher of the previewer crosses in a step.", least=1, most=999
    )
    cache: str = _path("Folder for latents, which are then made once for each picture and variant.")
    variants: int = knob(4, "Crops and damages of a picture in the cache.", **COUNT)
    held_out_every: int = knob(500, "Steps between two restorations of the held-out pictures.", **COUNT)
    held_out_damage: str = knob("blur_sr4_noise_jpeg", "Of the held-out pictures.", choices=DAMAGES)
    held_out_preset: str = knob("quality", "How SUPIR restores them.", choices=tuple(PRESETS))
    held_out_steps: int = knob(30, "Sampling steps of their restoration.", **COUNT)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.crop_least > self.crop_most:
            raise ValueError(f"expected crop_least <= crop_most, got {self.crop_least} and {self.crop_most}")
        if (share := self.hardest_share + self.lighter_share) > 1:
            raise ValueError(f"expected hardest_share and lighter_share to be at most 1 together, got {share:g}")

    def rate_at(self, step: int) -> float:
        """Learning rate of a step, the first of which is 1."""
        risen = min(1.0, step / self.warmup) if self.warmup else 1.0
        past = max(0, step - self.warmup) / max(1, self.steps - self.warmup)
        return self.rate * risen * (0.5 + 0.5 * math.cos(math.pi * past) if self.schedule == "cosine" else 1.0)


@dataclass(frozen=True)
class Negatives(Checked):
    """How pictures are made bad: image-to-image under the negative prompt."""

    strength: float = knob(0.5, "Share of the sampling that is done anew, 0.5 in the paper.", **SHARE)
    steps: int = knob(50, "Sampling steps of the whole; a share of them is done.", **COUNT)
    cfg: float = knob(7.5, "Guidance scale towards the negative prompt.", least=1.0, most=30.0, step=0.1)
    side: int = knob(1024, "Short side in pixels.", least=64, most=4096, step=SIDE_MULTIPLE)
    prompt: str = knob(NEGATIVE_PROMPT, "The negative prompt, the paper's by default.")
    seed: int = knob(0, "Of the first picture; each has its own.", **SEED)


PATHS = {entry.name for entry in fields(TrainingConfig) if "path" in entry.metadata}
ON_HUB = {"dino", "tokenizer"}
"""Which settings are files or folders, and of those which may be an id of the hub."""


def read_config(stage: str, path: str | Path) -> TrainingConfig:
    """Read a config file over the defaults of a stage; paths in it are relative to it, and absolute afterwards.

    Raises:
        ValueError: the file is not TOML or YAML, has an unknown name, or a value out of range.
        OSError: the file cannot be read.
    """
    path = Path(path)
    given = read_mapping(path)
    defaults = {entry.name: entry.default for entry in fields(TrainingConfig)}
    for name, value in given.items():
        if name not in defaults:
            raise ValueError(f'{path}: no setting is called "{name}"; there are {", ".join(sorted(defaults))}')
        if name in PATHS and isinstance(value, str) and value:
            file = path.parent.absolute() / os.path.expanduser(value)
            given[name] = value if name in ON_HUB and not file.exists() else str(file)
        elif isinstance(defaults[name], float) and isinstance(value, str):  # YAML takes 1e-5 for text
            with suppress(ValueError):  # what is no number is refused with its range
                given[name] = float(value)
    for name in ("output", "pictures"):
        if not given.get(name):
            raise ValueError(f'{path}: expected {name} = "FOLDER"')
    try:
        config = TrainingConfig(**STAGE_DEFAULTS.get(stage, {}) | given)
        read = {name: folder for name in ("pictures", "negatives", "held_out") if (folder := getattr(config, name))}
        check_apart(read, {"held_out of output, for contact sheets,": Path(config.output, "held_out")})
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return config


def as_toml(config: TrainingConfig) -> str:
    """The whole config as a file that ``read_config`` reads."""
    return "".join(f"{name} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in asdict(config).items())
