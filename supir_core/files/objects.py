"""Objects in stores such as S3, by addresses that fsspec knows; they are read and written whole."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .hidden import part_name

FLAT = ("s3", "s3a", "gs", "gcs", "abfs", "az", "hf", "memory")
"""Stores of keys, which have no folders that would have to be made."""

BLOCK = 2**24
"""Bytes that are copied at once."""


class Address(type(Path())):
    """An address such as s3://bucket/folder/a.png, of which names are made as of any path."""

    def __str__(self) -> str:
        scheme, _, rest = super().__str__().replace("\\", "/").partition("/")
        return f"{scheme}//{rest}"


def place(text: str) -> Path:
    """A path, or an ``Address`` where the text is one; that of a file is a path."""
    text = text.removeprefix("file://").removeprefix("local://")
    return Address(text) if "://" in text else Path(text)


def open_store(address: Path) -> tuple[Any, str]:
    """The file system of an address, and its key there.

    Raises:
        RuntimeError: a package is not installed.
        ValueError: there is no such kind of store.
    """
    try:
        import fsspec
    except ImportError as error:
        raise RuntimeError(f'{address} needs the package fsspec: pip install -e ".[cloud]"') from error
    try:
        return fsspec.core.url_to_fs(str(address))
    except ImportError as error:
        raise RuntimeError(f"{address}: {error}") from error


def find_objects(address: Path, recursive: bool) -> Iterator[tuple[Path, Path]]:
    """An object, or all below a folder, each with the path of its own folder from there.

    Raises:
        FileNotFoundError: there is neither.
    """
    where, key = open_store(address)
    if where.isfile(key):
        yield address, Path()
        return
    names = where.find(key, maxdepth=None if recursive else 1)
    if not names:
        raise FileNotFoundError(f"{address}: no such object or folder")
    for name in sorted(names):
        below = Path(name.removeprefix(key).lstrip("/"))
        yield address / below, below.parent


def fetch(address: Path, file: Path) -> bool:
    """Copy an object to a file; says whether there is one."""
    where, key = open_store(address)
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        where.get_file(key, str(file))
    except FileNotFoundError:
        file.unlink(missing_ok=True)
        return False
    return True


def store(file: Path, address: Path) -> None:
    """Copy a file to an object, whole or not at all."""
    where, key = open_store(address)
    _make_folder(where, key)
    with where.transaction, file.open("rb") as given:  # an object that is not complete is not there
        taken = where.open(key, "wb")
        shutil.copyfileobj(given, taken, BLOCK)
        taken.close()


def check_store(folder: Path) -> None:
    """Try to write into a folder.

    Raises:
        OSError: that is refused.
    """
    try:
        where, key = open_store(part_name(folder / "probe"))
        _make_folder(where, key)
        where.pipe_file(key, b"")
        where.rm_file(key)
    except OSError as error:
        raise OSError(f"{folder}: results cannot be written there ({error}); name another folder with -o") from error


def _make_folder(where: Any, key: str) -> None:
    names = (where.protocol,) if isinstance(where.protocol, str) else where.protocol
    if not set(names) & set(FLAT):
        where.makedirs(key.rpartition("/")[0], exist_ok=True)
