"""Files of tensors, safetensors and torch's: opened lazily, and nothing in them is ever run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from .errors import UnsupportedCheckpointError
from .guess import what_it_is
from .pickled import check_zip, unpickle


@dataclass(frozen=True, eq=False)
class Stored:
    """A file whose tensors are read when asked for; no file stays open.

    Attributes:
        path: the file.
        shapes: shape of every tensor by its name in the file.
        read: gives the tensors of some names, memory-mapped where ``mapped``.
        mapped: whether tensors can be read a few at a time, without the rest of the file.
    """

    path: Path
    shapes: Mapping[str, tuple[int, ...]]
    read: Callable[[Sequence[str]], dict[str, Tensor]]
    mapped: bool


def open_stored(path: Path, expected: str) -> Stored:
    """Open a .safetensors file or one of torch.save, whatever its name is.

    Args:
        path: the file.
        expected: what it should be, for errors.

    Raises:
        UnsupportedCheckpointError: it is neither, damaged, or asks for code to be run.
        FileNotFoundError: there is no such file.
    """
    if not path.is_file():
        what = "a folder: name a file" if path.is_dir() else "a device or a pipe" if path.exists() else "not there"
        raise FileNotFoundError(f"{path}: expected {expected}, but it is {what}")
    with path.open("rb") as file:
        head = file.read(64)
    if head[8:9] == b"{":  # after the length of its JSON header
        return Stored(path, _safetensors_shapes(path), lambda names: _read_safetensors(path, names), mapped=True)
    zipped = head[:2] == b"PK"
    if not zipped and head[:1] != b"\x80":
        raise UnsupportedCheckpointError(f"{path.name}: expected {expected}, this is {what_it_is(head)}")
    if zipped:
        check_zip(path)
    shapes = {name: tuple(tensor.shape) for name, tensor in unpickle(path, zipped).items()}
    return Stored(path, shapes, lambda names: _read_pickle(path, names, zipped), mapped=zipped)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a file of ours that can be made anew, as of a cache.

    Raises:
        OSError: it cannot be read.
    """
    try:
        return load_file(path)
    except SafetensorError as error:
        raise OSError(f"{path}: damaged ({error}); remove it, and the same command makes it anew") from error


def stored_label(path: str | Path) -> dict[str, str]:
    """What a file of safetensors says of itself beside its tensors; one of torch says nothing."""
    with suppress(SafetensorError), safe_open(path, framework="pt") as file:
        return file.metadata() or {}
    return {}


@contextmanager
def _safetensors_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except SafetensorError as error:
        advice = "the download probably broke off: download it again"
        raise UnsupportedCheckpointError(
            f"{path.name}: a damaged safetensors file ({error}). It is {path.stat().st_size:,} bytes long; {advice}"
        ) from error


def _safetensors_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    with _safetensors_errors(path), safe_open(path, framework="pt") as file:
        return {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118


def _read_safetensors(path: Path, names: Sequence[str]) -> dict[str, Tensor]:
    with _safetensors_errors(path), safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in names}


def _read_pickle(path: Path, names: Sequence[str], mapped: bool) -> dict[str, Tensor]:
    tensors = unpickle(path, mapped)
    return {name: tensors[name] for name in names}
