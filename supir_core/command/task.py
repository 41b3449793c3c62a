"""What all the pictures of a run share: how they are restored and written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ..files.checkpoint import sha256
from ..files.metadata import Label
from ..instantir.settings import InstantSettings
from ..restoration.regions import CONTEXT, FEATHER
from ..restoration.sizes import TargetSize
from ..supir.settings import Settings
from .plan import Job


@dataclass(frozen=True)
class Task:
    """What all the pictures of a run share.

    Attributes:
        settings: how they are restored.
        target: size of the results; a picture with a mask keeps its own where none is given.
        models: gives the SHA-256 of each model file by its name; ``None`` leaves the label out.
        page: which page or frame is read.
        quality: of JPEG and WebP.
        strip: leave out what the camera wrote.
        overwrite: restore again what is there already, whoever made it; ``None`` where that cannot be asked for.
        captioned: a model writes the captions that are missing.
        context: of regions, where pictures have masks; see ``find_regions``.
        feather: likewise.
        caption_tiles: captions are those of the tiles.
    """

    settings: Settings | InstantSettings
    target: TargetSize = field(default_factory=TargetSize)
    models: Callable[[], Mapping[str, str]] | None = None
    page: int | None = None
    quality: int | None = None
    strip: bool = False
    overwrite: bool | None = None
    captioned: bool = False
    context: float = CONTEXT.default
    feather: int = FEATHER.default
    caption_tiles: bool = False

    def sizing(self, job: Job) -> TargetSize:
        """The size of a picture's result."""
        return self.target if self.target.given or job.mask is None else replace(self.target, scale=1.0)

    def enlarged(self, job: Job, size: tuple[int, int]) -> tuple[int, int]:
        """(height, width) to which a picture with a mask is enlarged before its regions are restored.

        Raises:
            ValueError: it is to be more than enlarged.
        """
        if not self.target.plain:
            raise ValueError(
                "a picture with a mask is only enlarged, as nothing changes outside of the mask; leave out --fit and "
                "--shrink-first for it"
            )
        return self.sizing(job).result(size)

    def regions(self) -> dict[str, Any]:
        """How regions are cut out."""
        return {"context": self.context, "feather": self.feather}

    def described(self) -> dict[str, Any]:
        """How results are made, by name: the settings, and what was asked for besides."""
        more = {"page": self.page, "quality": self.quality, "strip": self.strip}
        return asdict(self.settings) | {name: value for name, value in more.items() if value}

    def label(self, job: Job) -> Label | None:
        """The label of a result, ``None`` where results have none."""
        if self.models is None:
            return None
        masked = {"mask": sha256(job.mask), **self.regions()} if job.mask else {}
        return Label(
            self.settings.method,
            self.described() | masked,
            "\n".join(job.captions or ()),
            self.sizing(job).described(),
            models=self.models(),
            input=sha256(job.source),
        )
