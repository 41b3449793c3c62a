"""Metrics by name, through kept libraries: ``piq``, and ``pyiqa`` for those that it has alone and the papers' variants."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from ..sdxl.memory import is_out_of_memory, memory_for, reading

FROM_PYIQA = "pyiqa:"
"""Before the name of any metric of pyiqa, such as ``pyiqa:lpips``."""

INSTALL = {
    "piq": "the extra evaluate: pip install piq",
    "spandrel": "the extra evaluate: pip install spandrel",
    "pyiqa": "the extra pyiqa: pip install pyiqa",
}
"""Packages, and how to get them."""

PIQ = {"psnr": "psnr", "ssim": "ssim", "gmsd": "gmsd", "lpips": "LPIPS", "dists": "DISTS", "clipiqa": "CLIPIQA"}
PYIQA = ("maniqa", "musiq", "niqe")
NAMES = (*PIQ, *PYIQA)
SMALLER_IS_BETTER = ("gmsd", "lpips", "dists", "niqe")
WITHOUT_REFERENCE = ("clipiqa", *PYIQA)


class Metric(NamedTuple):
    """A metric that is ready.

    Attributes:
        name: by which it was asked for.
        smaller_is_better: a distance and not a quality.
        needs_reference: compares with the clean picture; else it looks at the result alone.
        measure: gives the number for pictures ``(1, 3, H, W)`` in [0, 1]: result and clean one, or the result alone.
    """

    name: str
    smaller_is_better: bool
    needs_reference: bool
    measure: Callable[..., float]

    @memory_for("a metric is taken", "Take it of smaller pictures, on the CPU")
    def __call__(self, picture: Tensor, reference: Tensor | None) -> float:
        """The number for a result.

        Raises:
            ValueError: it cannot be taken of such a picture; each metric has a least size of its own.
            MemoryFullError: a memory is full.
        """
        try:
            return self.measure(picture, reference) if self.needs_reference else self.measure(picture)
        except (ValueError, RuntimeError, AssertionError) as error:
            if is_out_of_memory(error):
                raise
            height, width = picture.shape[2:]
            raise ValueError(f"{self.name} cannot be taken of a picture of {width}x{height} pixels: {error}") from error


class MetricUnavailableError(RuntimeError):
    """A metric that cannot be had here: its package is missing, or its weights could not be fetched."""


def check_metric(name: str) -> str:
    """A metric's name, if there is such a metric.

    Raises:
        ValueError: there is none.
    """
    if name in NAMES or name.startswith(FROM_PYIQA):
        return name
    raise ValueError(
        f'expected {", ".join(NAMES)}, or {FROM_PYIQA} and any name that pyiqa knows, got "{name}"; choose one of them'
    )


@reading
def load_metric(name: str, device: torch.device | str = "cpu") -> Metric:
    """Get a metric ready, with its weights where it has any.

    Raises:
        MetricUnavailableError: its package is missing, or its weights could not be fetched.
        ValueError: there is no such metric.
    """
    check_metric(name)
    try:
        return _from_piq(name, device) if name in PIQ else _from_pyiqa(name, device)
    except ImportError as error:
        package = "piq" if name in PIQ else "pyiqa"
        raise MetricUnavailableError(f"it needs {package}, of {INSTALL[package]}") from error
    except Exception as error:  # pages that are not there, no connection, half a file: each library has its own
        if is_out_of_memory(error):
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise MetricUnavailableError(f"it could not be loaded, usually for want of its weights: {reason}") from error


def _from_piq(name: str, device: torch.device | str) -> Metric:
    import piq

    found = getattr(piq, PIQ[name])
    if isinstance(found, type):
        found = found().to(device)
    elif name == "ssim":
        found = partial(found, downsample=False)  # as skimage and the papers' tools have it

    @torch.no_grad()
    def measure(*pictures: Tensor) -> float:
        return float(found(*(picture.to(device) for picture in pictures)))

    return Metric(name, name in SMALLER_IS_BETTER, name not in WITHOUT_REFERENCE, measure)


def _from_pyiqa(name: str, device: torch.device | str) -> Metric:
    import pyiqa  # pyright: ignore[reportMissingImports]

    found = pyiqa.create_metric(name.removeprefix(FROM_PYIQA), device=torch.device(device))

    @torch.no_grad()
    def measure(*pictures: Tensor) -> float:
        return float(found(*pictures))

    return Metric(name, found.lower_better, found.metric_mode == "FR", measure)
