"""What a training is told: every number of it, read from a TOML or YAML file, and written beside the weights."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ..evaluation.degradation import SETTINGS
from ..files.checkpoint import DTYPES
from ..restoration.knobs import knob, knobs
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

MAY_CHANGE = {"steps", "report_every", "checkpoint_every", "held_out_every", "workers", "tracker"}
"""What may differ in a run that goes on from another: the weights do not depend on it."""


def _share(default: float, text: str) -> Any:
    return knob(default, text, least=0.0, most=1.0, step=0.01)


def _count(default: int, text: str, least: int = 1) -> Any:
    return knob(default, text, least=least, most=10**9)


def _times(default: float, text: str) -> Any:
    return knob(default, text, least=0.0, most=100.0, step=0.01)


def _path(text: str) -> Any:
    return knob("", text)


@dataclass(frozen=True)
class Pace:
    """How long and how fast the weights learn; each field says what it does.

    Raises:
        ValueError: a value is out of its range.
    """

    steps: int = _count(10_000, "Steps of the optimiser.")
    batch: int = _count(1, "Pictures of a process that go through the networks together.")
    accumulate: int = _count(16, "Batches whose gradients one step takes together.")
    rate: float = _share(1e-5, "Largest learning rate.")
    warmup: int = _count(100, "Steps over which the rate rises to its largest.", least=0)
    schedule: str = knob("constant", "What the rate does then; cosine falls to 0.", choices=("constant", "cosine"))
    weight_decay: float = _times(0.01, "Of AdamW.")
    clip: float = _times(1.0, "Largest norm of the gradient; 0 is any.")
    eight_bit: bool = knob(False, "AdamW of bitsandbytes, with a quarter of the memory; needs a GPU.")
    precision: str = knob("float32", "Of the work; weights that learn stay float32.", choices=("float32", "bf16"))
    ema: float = _share(0.999, "Decay of the averaged weights, which are what is saved; 0 is none.")
    ema_every: int = _count(10, "Steps between two updates of the averaged weights, which are in main memory.")
    seed: int = knob(0, "Of all that is drawn.", least=0, most=2**32 - 1)
    report_every: int = _count(50, "Steps between two lines of the log.")
    checkpoint_every: int = _count(500, "Steps between two checkpoints; the last two are kept.")
    tracker: str = knob("none", "Shows log and sheets, where it is installed.", choices=("none", "tensorboard"))

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        for name, described in knobs(self).items():
            described.check(name, getattr(self, name))

    def rate_at(self, step: int) -> float:
        """Learning rate of a step, the first of which is 1."""
        risen = min(1.0, step / self.warmup) if self.warmup else 1.0
        past = max(0, step - self.warmup) / max(1, self.steps - self.warmup)
        return self.rate * risen * (0.5 + 0.5 * math.cos(math.pi * past) if self.schedule == "cosine" else 1.0)


@dataclass(frozen=True)
class TrainingConfig(Pace):
    """All of a training. Weights that are not named are made: see ``docs/training.md`` for which a stage needs.

    Raises:
        ValueError: a value is out of its range.
    """

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
    depth_share: float = _share(1.0, "Of the transformer blocks of a new adaptor: 0.5 as in the paper.")
    ramp: int = _count(500, "Steps over which a new adaptor's strength rises from 0 to 1.", least=0)
    rank: int = _count(64, "Of a new previewer.")
    resampler_width: int = knob(1280, "Of a new adapter's resampler.", least=64, most=8192, step=64)
    resampler_depth: int = _count(4, "Layers of it.")
    resampler_tokens: int = _count(64, "Tokens that it makes.")
    checkpointing: bool = knob(True, "Compute feature maps again in the backward pass: less memory, a third more time.")
    save_as: str = knob("float16", "Precision of the weights' file.", choices=tuple(DTYPES))
    side: int = knob(512, "Side of the crops in pixels.", least=64, most=4096, step=64)
    crop_least: float = _times(1.0, "Smallest square that is cut, over `side`; below 1 teaches blur.")
    crop_most: float = _times(2.0, "Largest square that is cut, over `side`.")
    captions: str = knob("required", "Whether every picture needs a caption.", choices=("required", "optional"))
    factor: int = _count(4, "How many times smaller the damaged pictures are before they are enlarged again.")
    hardest_share: float = _share(0.0, "Of pictures damaged by the paper's hardest test, not at random.")
    drop_text: float = _share(0.1, "Share of rows without any text.")
    drop_caption: float = _share(0.1, "Share of rows with the quality words alone.")
    drop_picture: float = _share(0.15, "Share of rows for which DINOv2 sees no picture.")
    negative_share: float = _share(0.1, "Share of rows under the negative prompt, whose targets are bad pictures.")
    loss: str = knob("noise", "Error of noise, or of velocity: high levels count more.", choices=("noise", "velocity"))
    perceived: float = _times(0.0, "Weight of GMSD beside the encoder's squared error, 0.015 for the demo's.")
    skip: int = _count(20, "Training noise levels that the teacher of the previewer crosses in a step.")
    cache: str = _path("Folder for latents, which are then made once for each picture and variant.")
    variants: int = _count(4, "Crops and damages of a picture in the cache.")
    workers: int = _count(2, "Threads that read and damage pictures.")
    held_out_every: int = _count(500, "Steps between two restorations of the held-out pictures.")
    held_out_damage: str = knob("blur_sr4_noise_jpeg", "Of the held-out pictures.", choices=tuple(SETTINGS))
    held_out_preset: str = knob("quality", "How SUPIR restores them.", choices=tuple(PRESETS))
    held_out_steps: int = _count(30, "Sampling steps of their restoration.")


@dataclass(frozen=True)
class Negatives:
    """How pictures are made bad: image-to-image under the negative prompt.

    Raises:
        ValueError: a value is out of its range.
    """

    strength: float = _share(0.5, "Share of the sampling that is done anew, 0.5 in the paper.")
    steps: int = _count(50, "Sampling steps of the whole; a share of them is done.")
    cfg: float = knob(7.5, "Guidance scale towards the negative prompt.", least=1.0, most=30.0, step=0.1)
    side: int = knob(1024, "Short side in pixels.", least=64, most=4096, step=SIDE_MULTIPLE)
    prompt: str = knob(NEGATIVE_PROMPT, "The negative prompt, the paper's by default.")
    seed: int = knob(0, "Of the first picture; each has its own.", least=0, most=2**32 - 1)

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        for name, described in knobs(self).items():
            described.check(name, getattr(self, name))


def read_config(stage: str, path: str | Path) -> TrainingConfig:
    """Read a config file over the defaults of a stage; paths in it are relative to it, and absolute afterwards.

    Raises:
        ValueError: the file is not TOML or YAML, has an unknown name, or a value out of range.
        OSError: the file cannot be read.
    """
    path = Path(path)
    given = _parsed(path)
    known = {entry.name: entry.default for entry in fields(TrainingConfig)}
    for name, value in given.items():
        if name not in known:
            raise ValueError(f'{path}: no setting is called "{name}"; there are {", ".join(sorted(known))}')
        if isinstance(known[name], float) and isinstance(value, str):  # YAML takes 1e-5 for text
            try:
                given[name] = float(value)
            except ValueError:
                continue  # it is refused with its range
    for name in ("output", "pictures"):
        if not given.get(name):
            raise ValueError(f'{path}: expected {name} = "FOLDER"')
    for name in PATHS & given.keys():
        if given[name] and (name not in HUB or (path.parent / Path(given[name]).expanduser()).exists()):
            given[name] = str(path.parent.absolute() / Path(given[name]).expanduser())
    try:
        return TrainingConfig(**STAGE_DEFAULTS[stage] | given)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


HUB = {"dino", "tokenizer"}
"""What may be an id of the hub in place of a folder."""

PATHS = HUB | {"output", "pictures", "negatives", "held_out", "sdxl", "supir", "dr_encoder", "cache"}
PATHS |= {"adapter", "previewer", "aggregator"}


def as_toml(config: TrainingConfig) -> str:
    """The whole config as a file that ``read_config`` reads."""
    return "".join(f"{name} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in asdict(config).items())


def _parsed(path: Path) -> dict[str, Any]:
    text = path.read_text(encoding="utf-8")
    try:
        if path.suffix.lower() in (".yaml", ".yml"):
            import yaml

            content = yaml.safe_load(text)
        else:
            content = _toml().loads(text)
    except Exception as error:  # each parser has an error of its own
        if isinstance(error, ImportError):
            raise
        raise ValueError(f"{path}: expected TOML, or YAML in a .yaml file ({' '.join(str(error).split())})") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected lines such as steps = 1000, got {type(content).__name__}")
    return content


def _toml() -> Any:
    try:
        import tomllib
    except ModuleNotFoundError:  # Python 3.10
        import tomli as tomllib  # type: ignore[no-redef]
    return tomllib
