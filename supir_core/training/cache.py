"""Latents on disk, made once for every crop and damage that the config allows."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from ..files.checkpoint import sha256
from ..files.hidden import part_name
from .data import Samples, Tensors
from .stages import Stage

DECIDES = ("side", "crop_least", "crop_most", "factor", "hardest_share", "seed", "sdxl", "supir", "dr_encoder", "dino")
"""What latents depend on besides the pictures."""


def fill(samples: Samples, stage: Stage, device: torch.device, report: Callable[[str], None]) -> None:
    """Make the latents that are missing, of this process's pictures, and let the samples read them.

    Raises:
        ValueError: the stage needs pictures.
        OSError: the disk is full.
    """
    config = samples.config
    if not stage.cached:
        raise ValueError("this stage learns from pictures, so it has no use for cache; leave it out")
    folder = folder_of(samples, type(stage).__name__)

    def file(picture: int, version: int, negative: bool) -> Path:
        return folder / f"{picture}_{version}_{int(negative)}.safetensors"

    kinds = (False, True) if config.negative_share else (False,)
    keys = [(p, v, n) for p in range(len(samples.pictures)) for v in range(config.variants) for n in kinds]
    missing = [key for key in keys[samples.process :: samples.processes] if not file(*key).exists()]
    if missing:
        report(f"encoding {len(missing)} of {len(keys)} crops to {folder}")
    folder.mkdir(parents=True, exist_ok=True)
    for key in missing:
        pictures = {name: tensor.to(device) for name, tensor in samples.pair(*key).items()}
        with torch.no_grad():
            tensors = {name: tensor.cpu().contiguous() for name, tensor in stage.encode(pictures).items()}
        part = part_name(file(*key))
        try:
            save_file(tensors, part)
            part.replace(file(*key))
        finally:
            part.unlink(missing_ok=True)

    def read(picture: int, version: int, negative: bool) -> Tensors:
        return load_file(file(picture, version, negative))

    samples.tensors = read


def folder_of(samples: Samples, kind: str) -> Path:
    """The folder of latents that these pictures, numbers and weights make."""
    config = samples.config
    digest = hashlib.sha256(kind.encode())
    for name in DECIDES:
        value = str(getattr(config, name))
        digest.update(f"{name}={sha256(value) if Path(value).is_file() else value}\n".encode())
    for pictures in (samples.pictures, samples.negatives):
        for path in pictures.paths if pictures else []:
            state = path.stat()
            digest.update(f"{path.name} {state.st_size} {state.st_mtime_ns}\n".encode())
    return Path(config.cache) / digest.hexdigest()[:16]
