"""The weights that a command line names: looked for at once, loaded when the first picture asks for them."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property, partial
from pathlib import Path

import torch

from ..files.checkpoint import DTYPES, sha256, weight_files
from ..instantir.model import InstantIRModel, load_instantir
from ..instantir.pipeline import restore_instantir
from ..restoration.canvas import Restored
from ..sdxl.model import defaults
from ..supir.model import SupirModel, load_model
from ..supir.pipeline import restore
from . import demo
from .models import DINO_FOLDER, TOKENIZER_FOLDER
from .options import INSTANTIR_FILES, SUPIR_FILES


class Weights:
    """What restores the pictures.

    Raises:
        ValueError: a file is not named, or there is no such device.
        FileNotFoundError: a file is not there.
    """

    def __init__(self, options: argparse.Namespace):
        self.options = options
        self.asked: torch.dtype | None = DTYPES[options.dtype] if options.dtype else None
        self.device, self.dtype = defaults(options.device, self.asked)
        self.files = self._find()
        self.compiled = options.method == "supir" and options.compile
        if self.compiled and options.memory not in ("auto", "full"):
            raise ValueError(
                f"--compile keeps all weights on the GPU, so it does not go with --memory {options.memory}; leave out one"
            )
        for path in self._paths:
            if not path.exists():
                raise FileNotFoundError(f"{path}: expected weights, but there is no such file")

    @property
    def _paths(self) -> list[Path]:
        """What was named: a file, or the folder of an SDXL model in diffusers' layout."""
        return [*self.files, *([self.options.vae] if self.options.vae else [])]

    @cached_property
    def hashes(self) -> Mapping[str, str]:
        """SHA-256 of each file by its name."""
        found = [(path, file) for path in self._paths for file in weight_files(path)]
        return {file.relative_to(path.parent).as_posix(): sha256(file) for path, file in found}

    @cached_property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.stat().st_size for path in self._paths for file in weight_files(path))

    @cached_property
    def model(self) -> SupirModel | InstantIRModel:
        """The networks."""
        options = self.options
        memory = "full" if self.compiled else options.memory
        given = {"device": options.device, "dtype": self.asked, "memory": memory, "weights": options.weights}
        if options.method == "instantir":
            dino = options.dino or _beside(options.adapter, DINO_FOLDER)
            return load_instantir(*self.files, dino=dino, tokenizer=self._tokenizer(), vae=options.vae, **given)  # type: ignore[call-arg]
        if options.demo:
            model = demo.load_demo_model(*given.values())
        else:
            model = load_model(*self.files, tokenizer=self._tokenizer(), vae=options.vae, **given)  # type: ignore[call-arg]
        if self.compiled:
            model.compile()
        return model

    def restorer(self) -> Callable[..., Restored]:
        """What restores a picture."""
        model = self.model
        return partial(restore, model) if isinstance(model, SupirModel) else partial(restore_instantir, model)

    def _tokenizer(self) -> str | Path | None:
        return self.options.tokenizer or _beside(self.options.sdxl, TOKENIZER_FOLDER)

    def _find(self) -> list[Path]:
        options = self.options
        if options.method == "instantir":
            return _named(options, INSTANTIR_FILES)
        if options.demo:
            given = [f"--{name}" for name in (*SUPIR_FILES, "vae", "tokenizer") if getattr(options, name) is not None]
            if given:
                raise ValueError(f"the demo weights have all of their own; leave out {' and '.join(given)}, or --demo")
            return demo.demo_files()
        return _named(options, SUPIR_FILES, "; or --demo to try without the real weights")


def _beside(file: Path, folder: str) -> Path | None:
    """A folder beside a file, where ``supir download`` puts it; ``None`` where there is none, for the hub to be asked."""
    found = file.parent / folder
    return found if found.is_dir() else None


def _named(options: argparse.Namespace, names: Iterable[str], otherwise: str = "") -> list[Path]:
    missing = [f"--{name} FILE" for name in names if getattr(options, name) is None]
    if missing:
        raise ValueError(f"{' and '.join(missing)} expected{otherwise}")
    return [getattr(options, name) for name in names]
