"""Files of the Hugging Face hub, whole or not at all.

``huggingface_hub`` finds and transfers them. It may forget what a run that ended had fetched, so what is kept of a file
between runs, and whether it is whole, is decided here.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from ..files.checkpoint import sha256
from ..files.hidden import hidden_name
from .lock import claim
from .models import Model, Source
from .report import one_line

log = logging.getLogger(__name__)

PATIENCE = 30
"""Seconds in which the hub has to begin its answer."""

CHANGED = "try again, and if it comes to the same look for a proxy or a mirror (HF_ENDPOINT) that changes files"


class DownloadError(OSError):
    """A file that cannot be had, or is not what the hub says it is; the message says what to do."""


class RemoteFile(NamedTuple):
    """A file on the hub and what it is to be here.

    Attributes:
        url: where it is.
        size: in bytes.
        digest: its SHA-256 or, of small files, git's SHA-1.
        target: the file that it becomes.
    """

    url: str
    size: int
    digest: str
    target: Path

    def is_whole(self, path: Path) -> bool:
        """Whether a file has all that the hub says this one has."""
        return path.stat().st_size == self.size and self.digest == (
            sha256(path) if len(self.digest) == 64 else _git_digest(path)
        )


def remote_files(model: Model, root: Path, comfyui: bool = False) -> list[RemoteFile]:
    """The files of a model as the hub has them now, to go below ``root``: one's own folder, or ComfyUI's ``models``.

    Raises:
        DownloadError: the hub does not answer, or has no such file any more.
    """
    places = [(source, source.comfyui if comfyui else source.place) for source in model.sources]
    return [file for source, place in places if place is not None for file in _matching(source, root, place)]


def fetch(file: RemoteFile) -> bool:
    """Fetch a file unless it is there; gives whether it had to be fetched. What broke off before goes on.

    Raises:
        DownloadError: another file of that name is there, the transfer broke off, or what came is something else.
    """
    target = file.target
    target.parent.mkdir(parents=True, exist_ok=True)
    with claim(target) as owner:
        if owner:
            raise DownloadError(f"{target}: is being downloaded already by {owner}")
        if target.exists():
            if not file.is_whole(target):
                raise DownloadError(
                    f"{target}: is there, but is not what the hub has of this name; move it away or name another folder"
                )
            return False
        part = hidden_name(target, f"-{file.digest[:12]}.part")
        _transfer(file, part)
        if not file.is_whole(part):
            part.unlink()
            raise DownloadError(
                f"{target.name}: what came does not have the hash that the hub names, and was removed; {CHANGED}"
            )
        os.replace(part, target)
    return True


def _transfer(file: RemoteFile, part: Path) -> None:
    """Append to a part what it lacks."""
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    more: dict[str, Any] = {"headers": build_hf_headers(), "expected_size": file.size}
    try:
        with part.open("ab") as out:
            http_get(file.url, out, resume_size=out.tell(), displayed_filename=file.target.name, **more)
    except Exception as error:
        log.debug("traceback", exc_info=True)
        name, came = file.target.name, part.stat().st_size
        if type(error) is OSError and error.errno is None:  # it ended in good order, but with another size
            part.unlink()
            raise DownloadError(
                f"{name}: expected {file.size:,} bytes, got {came:,}, which were removed; {CHANGED}"
            ) from error
        raise DownloadError(
            f"{name}: the transfer broke off at {came:,} of {file.size:,} bytes; the same command goes on from there "
            f"({one_line(error)})"
        ) from error


def _matching(source: Source, root: Path, place: str) -> Iterator[RemoteFile]:
    from huggingface_hub import hf_hub_url

    info = _repository(source.repository)
    found = [file for file in info.siblings if _matches(file.rfilename, source.pattern)]
    if not found and "*" not in source.pattern:
        raise DownloadError(f"{source.repository} has no {source.pattern} any more; look for it on the hub")
    for file in found:
        keeps_name = not place or place.endswith("/")
        target = root / place / (PurePosixPath(file.rfilename).name if keeps_name else "")
        digest = file.lfs.sha256 if file.lfs else file.blob_id
        yield RemoteFile(hf_hub_url(source.repository, file.rfilename, revision=info.sha), file.size, digest, target)


def _matches(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) and name.count("/") == pattern.count("/")


@lru_cache
def _repository(name: str) -> Any:
    """What the hub says of a repository and its files."""
    from huggingface_hub import HfApi

    with _answered(name):
        return HfApi().model_info(name, files_metadata=True, timeout=PATIENCE)


@contextmanager
def _answered(name: str) -> Iterator[None]:
    """Say that the hub did not answer, in whichever way its client says so: its errors change with its version."""
    try:
        yield
    except Exception as error:
        from huggingface_hub import constants

        log.debug("traceback", exc_info=True)
        raise DownloadError(
            f"{constants.ENDPOINT} has no answer on {name} ({one_line(error)}); check the network, a proxy "
            "(HTTPS_PROXY) or a mirror (HF_ENDPOINT), and try again"
        ) from error


def _git_digest(path: Path) -> str:
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
