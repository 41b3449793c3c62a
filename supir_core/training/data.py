"""What is learnt from: crops of clean pictures, the same damaged, and what they show.

Every draw of a sample follows from the seed and the sample's number alone. So a run that goes on sees what it would
have seen, and several processes see together what one would with as much larger a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..command.caption_files import read_captions
from ..command.inputs import find_pictures
from ..evaluation.degradation import SETTINGS, degrade, degrade_at_random
from ..files.pictures import read_picture
from ..restoration.canvas import resize
from ..restoration.noise import seeded_noise
from ..restoration.prompts import full_prompt
from ..restoration.transparency import opaque
from .config import TrainingConfig

HARDEST = "blur_sr4_noise_jpeg"

CROP, ROW = 0, 1
"""Streams of random numbers: those of crop and damage, and those of text, noise and noise level."""


class Prompts(NamedTuple):
    """A method's quality words, and what it keeps away from."""

    positive: str
    negative: str


Tensors = dict[str, Tensor]
"""The pictures of a row or a batch by name: ``clean`` and ``damaged``, or what a stage's ``encode`` makes of them."""


class Sample(NamedTuple):
    """A row of a batch; see ``Batch``."""

    tensors: Tensors
    text: str
    seed: int
    level: int
    seen: bool


@dataclass(frozen=True)
class Batch:
    """What a stage computes its loss of.

    Attributes:
        step: of the optimiser, the first of which is 1.
        tensors: the pictures, each ``(B, 3, side, side)`` in [0, 1]: ``clean``, the targets, and ``damaged``, the same
            damaged and enlarged back, in 8 bits; from the cache what the stage's ``encode`` makes of both.
        texts: the prompt of each.
        seeds: of the noise of each.
        index: training noise level of each, ``(B,)``.
        seen: which of them DINOv2 sees, ``(B,)``.
    """

    step: int
    tensors: Tensors
    texts: list[str]
    seeds: list[int]
    index: Tensor
    seen: Tensor

    @classmethod
    def of(cls, step: int, samples: Sequence[Sample]) -> Batch:
        """Samples together."""
        rows, texts, seeds, levels, seen = zip(*samples, strict=True)
        tensors = {name: torch.cat([row[name] for row in rows]) for name in rows[0]}
        return cls(step, tensors, list(texts), list(seeds), torch.tensor(levels), torch.tensor(seen))

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        tensors = {name: tensor.to(device) for name, tensor in self.tensors.items()}
        return replace(self, tensors=tensors, index=self.index.to(device), seen=self.seen.to(device))

    def noise(self, like: Tensor) -> Tensor:
        """Unit normal noise for latents."""
        return seeded_noise(self.seeds)(like)


class Pictures:
    """The pictures of a folder and those below it, with their captions.

    Raises:
        FileNotFoundError: there is no such folder, or no picture in it.
        ValueError: captions are required, and some are missing.
    """

    def __init__(self, folder: str, captions: str = "optional"):
        self.folder = Path(folder)
        if not self.folder.is_dir():
            what = "a file" if self.folder.exists() else "not there"
            raise FileNotFoundError(f"{folder}: expected a folder of pictures, but it is {what}")
        self.paths = [found.source for found in find_pictures([self.folder], recursive=True)[0]]
        found = [read_captions(path, tiles=False) for path in self.paths]
        missing = [path for path, caption in zip(self.paths, found, strict=True) if caption is None]
        if missing and captions == "required":
            raise ValueError(
                f"{folder}: expected a caption beside each picture, but {len(missing)} of {len(self.paths)} have none, "
                f"such as {missing[0].name}. Write {missing[0].stem}.txt, let `supir restore --captioner MODEL "
                '--save-captions` write them, or set captions = "optional"'
            )
        self.captions = [caption[0] if caption else "" for caption in found]

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, number: int) -> Tensor:
        """A picture, ``(1, 3, H, W)`` in [0, 1]."""
        return opaque(read_picture(self.paths[number]))


class Samples:
    """Numbered samples without end, as the config says.

    Args:
        config: of the training.
        prompts: of the method.
        process: number of this process.
        processes: how many there are, which share each step's samples.

    Attributes:
        tensors: gives the pictures of a sample; a cache may take its place.
    """

    def __init__(self, config: TrainingConfig, prompts: Prompts, process: int = 0, processes: int = 1):
        self.config, self.prompts = config, prompts
        self.process, self.processes = process, processes
        self.pictures = Pictures(config.pictures, config.captions)
        self.negatives = Pictures(config.negatives) if config.negatives else None
        self.tensors: Callable[[int, int, bool], Tensors] = self.pair

    def batch(self, number: int) -> Batch:
        """This process's part of batch ``number`` of all, of which a step accumulates some."""
        first = (number * self.processes + self.process) * self.config.batch
        return Batch.of(
            number // self.config.accumulate + 1, [self.sample(first + row) for row in range(self.config.batch)]
        )

    def sample(self, number: int) -> Sample:
        """A picture of a round through all of them, in an order that each round has of its own."""
        config = self.config
        round_, place = divmod(number, len(self.pictures))
        picture = int(np.random.default_rng([config.seed, round_]).permutation(len(self.pictures))[place])
        random = np.random.default_rng([config.seed, ROW, number])
        negative = bool(random.random() < config.negative_share)
        return Sample(
            self.tensors(picture, round_ % config.variants if config.cache else round_, negative),
            self._text(self.pictures.captions[picture], negative, random),
            seed=int(random.integers(2**63)),
            level=int(random.integers(1000)),
            seen=bool(random.random() >= config.drop_picture),
        )

    def pair(self, picture: int, version: int, negative: bool) -> Tensors:
        """A clean and a damaged crop. Of a negative row both are damaged, or of a bad picture where there are any."""
        random = np.random.default_rng([self.config.seed, CROP, picture, version, negative])
        source = self.pictures
        if negative and self.negatives is not None:
            source, picture = self.negatives, int(random.integers(len(self.negatives)))
        clean = self._cut(source.read(picture), source.paths[picture], random)
        damaged = self._damage(clean, random)
        return {"clean": damaged if negative and self.negatives is None else clean, "damaged": damaged}

    def _cut(self, picture: Tensor, path: Path, random: np.random.Generator) -> Tensor:
        """A random square, resized to the side of the crops, mirrored or not."""
        config = self.config
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
        if random.random() < self.config.hardest_share:
            small = degrade(clean, replace(SETTINGS[HARDEST], factor=self.config.factor), int(random.integers(1 << 30)))
        else:
            small = degrade_at_random(clean, random, self.config.factor)
        return (resize(small, (clean.shape[2], clean.shape[3])) * 255).round() / 255

    def _text(self, caption: str, negative: bool, random: np.random.Generator) -> str:
        draw = random.random()
        if draw < self.config.drop_text:
            return ""
        if negative:
            return self.prompts.negative
        plain = draw < self.config.drop_text + self.config.drop_caption
        return full_prompt("" if plain else caption, self.prompts.positive)


class Ahead:
    """Calls of a function of a number, made in threads before they are asked for, one number after the other."""

    def __init__(self, make: Callable[[int], Any], workers: int):
        self.make, self.workers = make, workers
        self._threads = ThreadPoolExecutor(workers)
        self._coming: dict[int, Future] = {}

    def __call__(self, number: int) -> Any:
        """What the function gives; an exception of it is raised here."""
        for ahead in range(number, number + self.workers + 1):
            if ahead not in self._coming:
                self._coming[ahead] = self._threads.submit(self.make, ahead)
        return self._coming.pop(number).result()

    def close(self) -> None:
        """Let go of the threads."""
        self._threads.shutdown(cancel_futures=True)
