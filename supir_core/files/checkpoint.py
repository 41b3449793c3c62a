"""Checkpoint files: opened lazily, recognised by their keys, read without executing anything in them."""

from __future__ import annotations

import hashlib
import math
import pickle
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from .kinds import EXPECTED, SDXL, UNUSED_SUPIR_KEYS, canonical_key, recognise

NESTED = ("image_proj", "ip_adapter")
"""Parts that are dictionaries of their own in a pickle."""


DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
"""What weights may be computed with, by name."""


class UnsupportedCheckpointError(ValueError):
    """A file that is not what was asked for; the message says what it is and what was expected."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint file whose contents are known; tensors are read when asked for, and no file stays open.

    Attributes:
        path: the file.
        shapes: shape of every tensor by its key, which is the same for all published names of it.
        kind: ``SUPIR``, ``SDXL``, or what else the keys look like.
        names: the key in the file for each key in ``shapes``.
        read: gives ``(key in the file, tensor)`` pairs for some keys, memory-mapped where the format allows.
    """

    path: Path
    shapes: Mapping[str, tuple[int, ...]]
    kind: str
    names: Mapping[str, str]
    read: Callable[[Path, Iterable[str]], Iterator[tuple[str, Tensor]]]

    def tensors(self, keys: Iterable[str], dtype: torch.dtype | None = None) -> dict[str, Tensor]:
        """Read some tensors, and convert them one by one where a dtype is given."""
        wanted = {self.names[key]: key for key in keys}
        pairs = self.read(self.path, wanted)
        return {wanted[name]: tensor.to(dtype) if dtype else tensor for name, tensor in pairs}

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
        return f"{self.kind}, {parameters / 1e6:,.1f} M parameters, {self.path.stat().st_size:,} bytes: {listed}"

    def require(self, kind: str) -> None:
        """Raise UnsupportedCheckpointError unless the file is of this kind."""
        if self.kind != kind:
            raise UnsupportedCheckpointError(f"{self.path.name}: expected {kind}, this is {self.kind}")


def open_checkpoint(path: str | Path) -> Checkpoint:
    """Open a .safetensors or .ckpt file and recognise it by its keys.

    Raises:
        UnsupportedCheckpointError: the file cannot be read as a checkpoint.
        FileNotFoundError: there is no such file.
    """
    path = Path(path)
    if not path.is_file():
        what = "a folder" if path.is_dir() else "not there"
        raise FileNotFoundError(f"{path}: expected {EXPECTED}, but it is {what}")
    safe = _is_safetensors(path)
    shapes = _safetensors_shapes(path) if safe else _pickle_shapes(path)
    kind = recognise(shapes)
    names = {canonical_key(key, kind): key for key in shapes}
    for key in UNUSED_SUPIR_KEYS:
        names.pop(key, None)
    return Checkpoint(
        path,
        {key: shapes[name] for key, name in names.items()},
        kind,
        names,
        _read_safetensors if safe else _read_pickle,
    )


def sha256(path: str | Path) -> str:
    """Hash of a file's bytes, as hexadecimal."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(1 << 24):
            digest.update(block)
    return digest.hexdigest()


def _is_safetensors(path: Path) -> bool:
    """A safetensors file starts with the length of its JSON header."""
    with path.open("rb") as file:
        head = file.read(9)
    return len(head) == 9 and head[8:] == b"{"


def _safetensors_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    try:
        with safe_open(path, framework="pt") as file:
            return {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise UnsupportedCheckpointError(
            f"{path.name}: a damaged safetensors file ({error}). It is {path.stat().st_size:,} bytes long; "
            "the download probably broke off: download it again"
        ) from error


def _read_safetensors(path: Path, names: Iterable[str]) -> Iterator[tuple[str, Tensor]]:
    for some in _few(names):
        with safe_open(path, framework="pt") as file:
            for name in some:
                yield name, file.get_tensor(name)


def _pickle_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    return {key: tuple(tensor.shape) for key, tensor in _unpickle(path).items()}


def _read_pickle(path: Path, names: Iterable[str]) -> Iterator[tuple[str, Tensor]]:
    mapped = zipfile.is_zipfile(path)
    for some in _few(names) if mapped else [list(names)]:
        tensors = _unpickle(path)
        for name in some:
            yield name, tensors.pop(name)


def _few(names: Iterable[str], count: int = 32) -> Iterator[list[str]]:
    """A few names at a time.

    A mapped file takes memory as it is read, until nothing of it is used any more. So it is mapped anew for every few
    tensors: those that are converted leave nothing behind.
    """
    left = iter(names)
    while some := list(islice(left, count)):
        yield some


def _unpickle(path: Path) -> dict[str, Tensor]:
    """The tensors in a file of torch.save, with nothing but tensors and plain values allowed in it."""
    with path.open("rb") as file:
        head = file.read(64)
    zipped = head[:2] == b"PK"
    if not zipped and head[:1] != b"\x80":
        raise UnsupportedCheckpointError(f"{path.name}: expected {EXPECTED}, this is {_guess(head)}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except pickle.UnpicklingError as error:
        raise UnsupportedCheckpointError(
            f"{path.name}: this pickle asks for code to be run, which was refused ({_first_line(error)}). "
            "Weights alone are expected; get the file as .safetensors, from a source that you trust"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError) as error:
        raise UnsupportedCheckpointError(
            f"{path.name}: a damaged torch file ({_first_line(error)}). It is {path.stat().st_size:,} bytes long; "
            "the download probably broke off: download it again"
        ) from error
    while isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict):
        raise UnsupportedCheckpointError(
            f"{path.name}: expected {EXPECTED}, this is a pickled {type(content).__name__}"
        )
    for part in NESTED:
        if isinstance(content.get(part), dict):
            content |= {f"{part}.{key}": value for key, value in content.pop(part).items()}
    return {key: value for key, value in content.items() if isinstance(value, Tensor)}


def _guess(head: bytes) -> str:
    if not head:
        return "an empty file"
    if head.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer in place of the file: fetch the real one with `git lfs pull` or download it again"
    if head.startswith((b"\xff\xd8", b"\x89PNG")):
        return "a picture"
    if head.lstrip()[:1] == b"<":
        return "a web page: the download link led to a page, not to the file"
    if all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head):
        return "a text file"
    return f"neither safetensors nor a torch file (it starts with {head[:8].hex(' ')})"


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
