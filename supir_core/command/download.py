"""``supir download``: the models by short names, into a folder or where ComfyUI looks."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from .hub import DownloadError, RemoteFile, fetch, remote_files
from .models import MODELS
from .report import one_line, write_line

GIGABYTE = 1e9


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``supir download``."""
    text = f"{', '.join(MODELS)}; --list says what they are"
    parser.add_argument("names", nargs="*", metavar="MODEL", help=text)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("-o", "--output", type=Path, metavar="DIR", help="folder, also of the tokenizer")
    where.add_argument(
        "--comfyui", type=Path, metavar="PATH", help="ComfyUI's folder: each file goes where ComfyUI looks"
    )
    where.add_argument("--list", action="store_true", help="say what there is, and how large")


def download(options: argparse.Namespace) -> int:
    """Fetch models, or list them.

    Returns:
        The exit code.

    Raises:
        ValueError: a model of no such name, or ComfyUI is not there.
        DownloadError: a file cannot be had; see ``hub.fetch``.
    """
    names = _known(options.names)
    if options.list:
        return _list(names or list(MODELS))
    if not names:
        raise ValueError(f"expected which models to download: {', '.join(MODELS)}")
    root = _comfyui_models(options.comfyui) if options.comfyui else options.output
    files = [file for name in names for file in remote_files(MODELS[name], root, bool(options.comfyui))]
    _require_room(files, root)
    for name in names:
        if MODELS[name].licence:
            write_line(f"{name} is {MODELS[name].licence}")
    for file in files:
        new = fetch(file)
        write_line(
            f"{file.target.name}: {'fetched' if new else 'there already'}, {file.size:,} bytes, hash as on the hub"
        )
        sys.stdout.write(f"{file.target}\n")
    return 0


def _known(names: Sequence[str]) -> list[str]:
    names = list(dict.fromkeys(name.lower() for name in names))
    for name in names:
        if name not in MODELS:
            raise ValueError(f'no model "{name}"; there are {", ".join(MODELS)}')
    return names


def _comfyui_models(path: Path) -> Path:
    if not (path / "models").is_dir():
        raise ValueError(f"{path}: expected ComfyUI's folder, which has a folder named models")
    return path / "models"


def _require_room(files: Sequence[RemoteFile], root: Path) -> None:
    there = next(folder for folder in (root.absolute(), *root.absolute().parents) if folder.exists())
    needed = sum(file.size for file in files if not file.target.exists())
    free = shutil.disk_usage(there).free
    if needed > free:
        raise DownloadError(
            f"{root}: {needed / GIGABYTE:.1f} GB are needed and {free / GIGABYTE:.1f} GB are free; make room or "
            "name another folder"
        )


def _list(names: Sequence[str]) -> int:
    """The models with their sizes; without sizes, and with the exit code 1, where the hub does not answer."""
    try:
        sizes = [sum(file.size for file in remote_files(MODELS[name], Path())) / GIGABYTE for name in names]
    except DownloadError as error:
        write_line(f"error: {one_line(error)}")
        sizes = []
    for number, name in enumerate(names):
        model = MODELS[name]
        size = f"{sizes[number]:5.1f} GB  " if sizes else ""
        sys.stdout.write(f"{name:10} {size}{'; '.join(filter(None, (model.text, model.licence)))}\n")
    return 0 if sizes else 1
