"""Captions beside the pictures: a text file for each, or one with a line for each tile."""

from __future__ import annotations

import codecs
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..captions.text import tile_lines, tile_text
from ..files.writing import write_whole
from .inputs import CAPTION_ENDINGS, find_pictures

UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def caption_files(source: Path, tiles: bool) -> tuple[Path, Path]:
    """Where the captions of a picture may be: under its stem, and under its whole name, which counts more."""
    ending = CAPTION_ENDINGS[0 if tiles else 1]
    return source.with_suffix(ending), source.with_name(source.name + ending)


def read_captions(source: Path, tiles: bool) -> tuple[str, ...] | None:
    """The caption of a picture, or those of its tiles; ``None`` where there is no file of them.

    Raises:
        ValueError: the file is in an encoding that cannot be told.
    """
    by_stem, by_name = caption_files(source, tiles)
    file = next((path for path in (by_name, by_stem) if os.path.isfile(path)), None)  # false too for names too long
    if file is None:
        return None
    text = _decode(file)
    return tuple(tile_lines(text)) if tiles else (text.strip(),)


def captioned_pictures(folder: str | Path, required: bool = False) -> list[tuple[Path, str]]:
    """The pictures of a folder and those below it, each with its caption, empty where it has none.

    Raises:
        FileNotFoundError: there is no such folder, or no picture in it.
        ValueError: captions are required, and some are missing.
    """
    if not Path(folder).is_dir():
        what = "a file; name its folder, or unpack an archive to one" if Path(folder).exists() else "not there"
        raise FileNotFoundError(f"{folder}: expected a folder of pictures, but it is {what}")
    paths = [found.source for found in find_pictures([Path(folder)], recursive=True)[0]]
    captions = {path: read_captions(path, tiles=False) for path in paths}
    missing = [path for path, caption in captions.items() if caption is None]
    if missing and required:
        raise ValueError(
            f"{folder}: expected a caption beside each picture, but {len(missing)} of {len(paths)} have none, such as "
            f"{missing[0].name}. Write {missing[0].stem}.txt, let `supir restore --captioner MODEL --save-captions` "
            'write them, or set captions = "optional"'
        )
    return [(path, "".join(caption or ())) for path, caption in captions.items()]


def check_apart(read: Mapping[str, str | Path], written: Mapping[str, str | Path]) -> None:
    """Refuse a folder within one of which every picture is read: its pictures would be read too.

    Raises:
        ValueError: there is one, named as the keys say.
    """
    for outer, folder in read.items():
        for name, inner in {**read, **written}.items():
            if name != outer and Path(inner).resolve().is_relative_to(Path(folder).resolve()):
                raise ValueError(f"{name} lies in {outer}, where every picture is read; name a folder outside of it")


def write_captions(file: Path, lines: Sequence[str]) -> None:
    """Write captions, a line each, whole or not at all."""
    write_whole(file, lambda out: out.writelines([tile_text(lines).encode()]))


def _decode(file: Path) -> str:
    """The text of a file in UTF-8 or, where it starts with a byte order mark, in UTF-16."""
    data = file.read_bytes()
    try:
        text = data.decode("utf-16" if data.startswith(UTF16_MARKS) else "utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise ValueError(f"its caption {file} is not in UTF-8, nor in UTF-16 with a byte order mark; save it as UTF-8")
    return text
