"""What is learnt from: crops of clean pictures, the same damaged, and what they show.

Every draw of a sample follows from the seed and the sample's number alone. So a run that goes on sees what it would
have seen, and several processes see together what one would with as much larger a batch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import default_collate

from ..command.caption_files import captioned_pictures
from ..evaluation.degradation import SETTINGS, degrade, degrade_at_random, enlarged
from ..files.checkpoint import sha256
from ..files.pictures import read_picture
from ..files.stored import read_tensors
from ..files.writing import write_tensors
from ..restoration.canvas import resize
from ..restoration.noise import latent_noise
from ..restoration.prompts import full_prompt
from ..restoration.transparency import opaque
from .config import TrainingConfig

CROP, ROW = 0, 1
"""Streams of random numbers: those of crop and damage, and those of text, noise and noise level."""

*LIGHTER, HARDEST = SETTINGS  # the paper's tests by name
DRAWN = ("side", "crop_least", "crop_most", "factor", "hardest_share", "lighter_share", "seed")
KEYS = (*DRAWN, "precision", "sdxl", "supir", "dr_encoder", "dino")
"""What latents depend on besides the pictures."""

Tensors = dict[str, Tensor]
"""The pictures of a row or a batch by name: ``clean`` and ``damaged``, or what a stage's ``encode`` makes of them."""


class Batch(NamedTuple):
    """What a stage computes its loss of. A sample is the same without the first dimension.

    Attributes:
        tensors: the pictures, each ``(B, 3, side, side)`` in [0, 1]: ``clean``, the targets, and ``damaged``, the same
            damaged and enlarged back, in 8 bits; from the cache what the stage's ``encode`` makes of both.
        texts: the prompt of each.
        noise: unit normal noise for latents, ``(B, 4, side / 8, side / 8)``.
        index: training noise level of each, ``(B,)``.
        seen: which of them DINOv2 sees, ``(B,)``.
        step: of the optimiser, the first of which is 1.
    """

    tensors: Tensors
    texts: Any
    noise: Tensor
    index: Any
    seen: Any
    step: int = 0


class Samples:
    """Numbered samples without end, as the config says.

    ``words`` are the method's settings, for their quality words; ``processes`` share the samples of each step, and
    ``process`` is the number of this one.
    """

    def __init__(self, config: TrainingConfig, words: Any, process: int = 0, processes: int = 1):
        self.config, self.words = config, words
        self.process, self.processes = process, processes
        self.pictures = captioned_pictures(config.pictures, required=config.captions == "required")
        self.negatives = captioned_pictures(config.negatives) if config.negatives else []
        self.tensors: Callable[[int, int, bool], Tensors] = self.pair  # or what `fill` kept

    def batch(self, number: int) -> Batch:
        """This process's part of batch ``number`` of all, of which a step accumulates some."""
        first = (number * self.processes + self.process) * self.config.batch
        rows = default_collate([self.sample(first + row) for row in range(self.config.batch)])
        return rows._replace(step=number // self.config.accumulate + 1)

    def sample(self, number: int) -> Batch:
        """A picture of a round through all of them, in an order that each round has of its own."""
        config = self.config
        round_, place = divmod(number, len(self.pictures))
        picture = int(np.random.default_rng([config.seed, round_]).permutation(len(self.pictures))[place])
        random = np.random.default_rng([config.seed, ROW, number])
        negative = bool(random.random() < config.negative_share)
        tensors = self.tensors(picture, round_ % config.variants if config.cache else round_, negative)
        return Batch(
            {name: tensor[0] for name, tensor in tensors.items()},
            self._text(self.pictures[picture][1], negative, random),
            latent_noise(int(random.integers(2**63)), config.side),
            index=int(random.integers(1000)),
            seen=bool(random.random() >= config.drop_picture),
        )

    def pair(self, picture: int, version: int, negative: bool) -> Tensors:
        """A clean and a damaged crop. Of a negative row both are damaged, or of a bad picture where there are any."""
        random = np.random.default_rng([self.config.seed, CROP, picture, version, negative])
        path = self.pictures[picture][0]
        if negative and self.negatives:
            path = self.negatives[random.integers(len(self.negatives))][0]
        clean = self._cut(path, random)
        damaged = self._damage(clean, random)
        return {"clean": damaged if negative and not self.negatives else clean, "damaged": damaged}

    def fill(self, stage: Any, device: torch.device, report: Callable[[str], None]) -> None:
        """Keep what a stage makes of all crops and damages, of this process's pictures those that are missing.

        Raises:
            ValueError: the stage needs pictures.
            OSError: the disk is full.
        """
        if not stage.cached:
            raise ValueError("this stage learns from pictures, so it has no use for cache; leave it out")
        folder = self._cache(type(stage).__name__)

        def file(picture: int, version: int, negative: bool) -> Path:
            return folder / f"{picture}_{version}_{int(negative)}.safetensors"

        kinds = sorted({False, self.config.negative_share > 0})
        keys = list(product(range(len(self.pictures)), range(self.config.variants), kinds))
        missing = [key for key in keys[self.process :: self.processes] if not file(*key).exists()]
        if missing:
            report(f"encoding {len(missing)} of {len(keys)} crops to {folder}")
        for key in missing:
            with torch.no_grad():
                write_tensors(file(*key), stage.encode({name: t.to(device) for name, t in self.pair(*key).items()}))
        self.tensors = lambda *key: read_tensors(file(*key))

    def _cache(self, kind: str) -> Path:
        """The folder of latents that these pictures, numbers and weights make."""
        digest = hashlib.sha256(kind.encode())
        for name in KEYS:
            value = str(getattr(self.config, name))
            digest.update(f"{name}={sha256(value) if Path(value).is_file() else value}\n".encode())
        for path, _ in [*self.pictures, *self.negatives]:
            state = path.stat()
            digest.update(f"{path.name} {state.st_size} {state.st_mtime_ns}\n".encode())
        return Path(self.config.cache) / digest.hexdigest()[:16]

    def _cut(self, path: Path, random: np.random.Generator) -> Tensor:
        """A random square of a picture, resized to the side of the crops, mirrored or not: ``(1, 3, side, side)``."""
        config, picture = self.config, opaque(read_picture(path))
        height, width = picture.shape[2:]
        least = round(config.side * config.crop_least)
        if min(height, width) < least:
            raise ValueError(
                f"{path}: {width}x{height} pixels, but squares of at least {least} are cut from every picture; take it "
                "out of the folder, or make `side` or `crop_least` smaller"
            )
        size = int(min(height, width, config.side * random.uniform(config.crop_least, config.crop_most)))
        top, left = random.integers(height - size + 1), random.integers(width - size + 1)
        crop = resize(picture[..., top : top + size, left : left + size], (config.side, config.side))
        return crop.flip(-1) if random.random() < 0.5 else crop

    def _damage(self, clean: Tensor, random: np.random.Generator) -> Tensor:
        config, draw = self.config, random.random()
        if draw < config.hardest_share + config.lighter_share:
            test = SETTINGS[HARDEST if draw < config.hardest_share else LIGHTER[random.integers(len(LIGHTER))]]
            factor = test.factor * config.factor // SETTINGS[HARDEST].factor
            small = degrade(clean, replace(test, factor=factor), int(random.integers(1 << 30)))
        else:
            small = degrade_at_random(clean, random, config.factor)
        return enlarged(small, (config.side, config.side))

    def _text(self, caption: str, negative: bool, random: np.random.Generator) -> str:
        draw = random.random()
        if draw < self.config.drop_text:
            return ""
        if negative:
            return self.words.negative
        plain = draw < self.config.drop_text + self.config.drop_caption
        return full_prompt("" if plain else caption, self.words.positive)
