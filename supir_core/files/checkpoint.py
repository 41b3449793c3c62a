"""Checkpoints: recognised by their keys, whatever they are called and wherever they were saved, and read when asked for."""

from __future__ import annotations

import hashlib
import logging
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from .diffusers import is_diffusers, part_files, query_key_value, single_file_name
from .errors import UnsupportedCheckpointError
from .kinds import ADVICE, EXPECTED, MARKS, SDXL, SILENT, SUPIR, canonical_key, is_used, recognise
from .soundness import Soundness
from .source import Source, Sources, as_built, joined, sources_of
from .stored import open_stored

log = logging.getLogger(__name__)

DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
"""What weights may be computed with, by name."""

FEW = 32
"""A mapped file takes memory as it is read, until nothing of it is used any more. So it is mapped anew for every few
tensors: those that are converted leave nothing behind."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint whose contents are known; tensors are read when asked for, and no file stays open.

    Attributes:
        path: the file, or the folder of a model in diffusers' layout.
        kind: ``SUPIR``, ``SDXL``, or what else the keys look like.
        sources: where each tensor comes from, by its key, which is the same for all published names of it.
    """

    path: Path
    kind: str
    sources: Mapping[str, Source]

    @cached_property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of every tensor by its key."""
        return {key: source.shape for key, source in self.sources.items()}

    def tensors(self, keys: Iterable[str], dtype: torch.dtype | None = None) -> dict[str, Tensor]:
        """Read some tensors, and convert them one by one where a dtype is given.

        Raises:
            UnsupportedCheckpointError: they are no sound weights; see ``soundness``.
        """
        keys, sound = list(keys), Soundness(self.path.name, self.kind)
        mapped = all(stored.mapped for key in keys for stored, _ in self.sources[key].parts)
        found = {}
        for some in _few(keys, FEW) if mapped else [keys]:
            parts = self._read(some)
            for key in some:
                given = [parts.pop(part) for part in self.sources[key].parts]
                sound.check(key, given)
                tensor = self.sources[key].make(*given)
                found[key] = tensor.to(dtype) if dtype else tensor
        sound.check_whole()
        return found

    def _read(self, keys: Iterable[str]) -> dict:
        """Tensors of the files, by file and name."""
        wanted: dict = {}
        for key in keys:
            for stored, name in self.sources[key].parts:
                wanted.setdefault(stored, []).append(name)
        return {
            (stored, name): tensor for stored, names in wanted.items() for name, tensor in stored.read(names).items()
        }

    def under(self, prefix: str, dtype: torch.dtype | None = None) -> dict[str, Tensor]:
        """Read the tensors under a prefix, by their key without it."""
        found = self.tensors((key for key in self.shapes if key.startswith(prefix)), dtype)
        return {key[len(prefix) :]: tensor for key, tensor in found.items()}

    def describe(self) -> str:
        """What the file is, in a line: kind, parameters, size and the parts with their number of tensors."""
        depth = 2 if self.kind == SDXL else 1
        parts = Counter(".".join(key.split(".")[:depth]) for key in self.shapes)
        listed = ", ".join(f"{part} ({count})" for part, count in sorted(parts.items()))
        parameters = sum(math.prod(shape) for shape in self.shapes.values())
        size = sum(file.stat().st_size for file in weight_files(self.path))
        return f"{self.kind}, {parameters / 1e6:,.1f} M parameters, {size:,} bytes: {listed}"


def open_checkpoint(path: str | Path, *wanted: str) -> Checkpoint:
    """Open a .safetensors or .ckpt file, or a folder in diffusers' layout, and recognise it by its keys.

    Args:
        path: the file or the folder.
        wanted: the kinds that serve; what else is in the file is then left alone, with a warning that names it.

    Raises:
        UnsupportedCheckpointError: it cannot be read as a checkpoint, or is of another kind.
        FileNotFoundError: there is no such file.
    """
    path = Path(path)
    if is_diffusers(path):
        kind, sources = SDXL, _diffusers_sources(path)
    else:
        stored = open_stored(path, wanted[0] if wanted else EXPECTED)
        kind = recognise(stored.shapes, *wanted)
        sources = sources_of(stored, {key: canonical_key(key, kind) for key in stored.shapes})
    if wanted and kind not in wanted:
        advice = f". {ADVICE[kind]}" if kind in ADVICE else ""
        raise UnsupportedCheckpointError(f"{path.name}: expected {' or '.join(wanted)}, this is {kind}{advice}")
    sources = as_built(sources)
    used = {key: source for key, source in sources.items() if is_used(key, kind)}
    checkpoint = Checkpoint(path, kind, used)
    if wanted:
        _check_contents(checkpoint)
        _tell_unused(path, [key for key in sources if key not in used and not SILENT.fullmatch(key)])
    return checkpoint


def weight_files(path: Path) -> list[Path]:
    """The files that a checkpoint is made of: itself, or those in the folders of a model in diffusers' layout."""
    return [file for files in part_files(path).values() for file in files] if is_diffusers(path) else [path]


def sha256(path: str | Path) -> str:
    """Hash of a file's bytes, as hexadecimal."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(1 << 24):
            digest.update(block)
    return digest.hexdigest()


def _diffusers_sources(folder: Path) -> Sources:
    """Tensors under the names of a single file; query, key and value of the second text encoder are one there."""
    found: dict[str, list[Source]] = {}
    for part, files in part_files(folder).items():
        keys = {
            key: stored
            for file in files
            for stored in [open_stored(file, f"the weights of {part}")]
            for key in stored.shapes
        }
        for key in sorted(keys, key=query_key_value):
            source = Source(((keys[key], key),), keys[key].shapes[key])
            found.setdefault(single_file_name(part, key, keys), []).append(source)
    return {key: some[0] if len(some) == 1 else joined(some) for key, some in found.items()}


def _check_contents(checkpoint: Checkpoint) -> None:
    """Refuse tensors of no elements, whose sizes mean nothing, and SUPIR's weights without its encoder."""
    empty = next((key for key, shape in checkpoint.shapes.items() if 0 in shape and not MARKS.fullmatch(key)), None)
    if empty:
        raise UnsupportedCheckpointError(f"{checkpoint.path.name}: {empty} is empty, {checkpoint.shapes[empty]}")
    if checkpoint.kind == SUPIR and not any(key.startswith("denoise_encoder.") for key in checkpoint.shapes):
        raise UnsupportedCheckpointError(
            f"{checkpoint.path.name}: SUPIR weights without denoise_encoder, the encoder that reads the damaged picture. Take "
            "SUPIR-v0Q or SUPIR-v0F as published or pruned, which have it"
        )


def _tell_unused(path: Path, keys: Iterable[str]) -> None:
    groups = Counter(
        "lora" if "lora_" in key else ".".join(key.split(".")[: 1 + key.startswith(_SHARED)]) for key in keys
    )
    if groups:
        listed = ", ".join(f"{name} ({count})" for name, count in sorted(groups.items()))
        log.warning("%s: more is in it than is used, which is left alone: %s", path.name, listed)


_SHARED = ("model.", "first_stage_model.", "conditioner.")
"""Parts of which some is used."""


def _few(names: Iterable[str], count: int) -> Iterator[list[str]]:
    left = iter(names)
    while some := list(islice(left, count)):
        yield some
