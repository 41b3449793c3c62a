"""How the papers tested, as far as a machine can repeat it, and the numbers that they published."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from torch import Tensor

from ..restoration.canvas import middle_of, resize
from .degradation import SECOND_ORDER, SETTINGS

GIVEN = "given"
"""The setting of pictures that are damaged already."""

Numbers = Mapping[str, float]
"""By metric."""

Published = Mapping[str, Mapping[str, Numbers]]
"""By setting and method."""


def _rows(metrics: str, rows: Mapping[str, str]) -> dict[str, Numbers]:
    return {
        method: dict(zip(metrics.split(), map(float, numbers.split()), strict=True)) for method, numbers in rows.items()
    }


def whole(picture: Tensor) -> Tensor:
    """The picture as it is."""
    return picture


def shrunk(picture: Tensor) -> Tensor:
    """The whole picture with 512 pixels on its shorter side."""
    height, width = picture.shape[2:]
    factor = 512 / min(height, width)
    return resize(picture, (round(height * factor), round(width * factor)))


def middle(picture: Tensor) -> Tensor:
    """The middle 512x512 pixels, or what there is of them."""
    return middle_of(picture, (512, 512))


@dataclass(frozen=True)
class Protocol:
    """How a table was made.

    Attributes:
        table: which it is.
        methods: as ``supir evaluate`` names them.
        metrics: as ``supir evaluate`` names them.
        settings: of damage; none where the pictures are damaged already.
        side: of the middle square of each clean picture that is damaged.
        view: what is measured of a result and of the clean picture.
        published: the numbers of the paper.
        notes: what to know.
    """

    table: str
    methods: tuple[str, ...] = ("bicubic",)
    metrics: tuple[str, ...] = ("psnr", "ssim", "gmsd")
    settings: tuple[str, ...] = ()
    side: int | None = None
    view: Callable[[Tensor], Tensor] = whole
    published: Published = field(default_factory=dict)
    notes: tuple[str, ...] = ()


CAPTIONS = (
    "The paper's captions are LLaVA's, of stage 1: --captioner writes such; else captions come from .txt files beside the "
    "pictures, or are empty."
)
CHANNELS = "PSNR and SSIM are of all three channels."

_SIX = "psnr ssim lpips maniqa clipiqa musiq"
_SEVEN = "psnr ssim lpips clipiqa maniqa musiq niqe"
_SUPIR_METRICS = ("psnr", "ssim", "pyiqa:lpips", "maniqa", "pyiqa:clipiqa", "musiq")

_TABLE_1: Published = {
    "sr4": _rows(
        _SIX,
        {
            "SUPIR": "22.66 .5763 .2662 .4738 .8049 73.83",
            "Real-ESRGAN": "24.26 .6657 .2116 .2287 .5884 69.51",
            "DiffBIR": "23.44 .5841 .2337 .2879 .7147 71.64",
            "PASD": "24.90 .6653 .1893 .2607 .6466 71.39",
        },
    ),
    "sr8": _rows(
        _SIX,
        {
            "SUPIR": "20.68 .4488 .3749 .4687 .8009 73.16",
            "Real-ESRGAN": "21.79 .5280 .3276 .2051 .5349 63.80",
            "DiffBIR": "21.86 .4957 .3106 .2845 .7080 70.26",
            "PASD": "21.97 .5149 .3034 .2412 .6402 70.20",
        },
    ),
    "blur_sr4": _rows(
        _SIX,
        {
            "SUPIR": "22.43 .5626 .2771 .4757 .8110 73.55",
            "Real-ESRGAN": "24.08 .6496 .2208 .2357 .5853 69.27",
            "DiffBIR": "23.28 .5741 .2395 .2829 .7055 71.22",
            "PASD": "24.85 .6560 .1952 .2500 .6335 71.07",
        },
    ),
}
_REAL_60 = _rows(
    "clipiqa musiq maniqa",
    {
        "SUPIR": ".8232 73.00 .4295",
        "PASD": ".7714 71.87 .3169",
        "StableSR": ".7654 70.70 .3035",
        "DiffBIR": ".6983 69.69 .2619",
        "Real-ESRGAN": ".5174 59.42 .2262",
        "BSRGAN": ".4119 55.64 .1585",
    },
)
_TABLE_1A = _rows(
    _SEVEN,
    {
        "InstantIR": "18.54 .5126 .3986 .5497 .4379 68.59 4.37",
        "SUPIR": "20.46 .4990 .4090 .4875 .3081 56.43 4.40",
        "CoSeR": "19.92 .5114 .3353 .6651 .4152 67.51 3.91",
        "StableSR": "20.42 .5388 .3751 .4672 .2602 52.33 5.27",
        "Real-ESRGAN": "19.92 .5317 .7554 .2102 .2331 17.39 9.84",
    },
)
_INSTANTIR = Protocol(
    table="Table 1a of Huang et al. (2024), synthetic",
    methods=("bicubic", "instantir"),
    metrics=("psnr", "ssim", "pyiqa:lpips", "pyiqa:clipiqa", "maniqa", "musiq", "niqe"),
    settings=(SECOND_ORDER,),
    side=1024,
    notes=("The paper's pictures are 2,000 of the validation sets of DIV2K and LSDIR.", CHANNELS),
)

COMPARISON = Protocol("Comparison")
"""Of whatever is asked for; its metrics need no weights."""

PROTOCOLS: dict[str, Protocol] = {
    "supir-table1": Protocol(
        table="Table 1 of Yu et al. (2024)",
        methods=("bicubic", "supir:paper"),
        metrics=_SUPIR_METRICS,
        settings=tuple(SETTINGS),
        side=1024,
        published=_TABLE_1,
        notes=(
            "The published numbers of sr4_noise and of blur_sr4_noise_jpeg are not printed: our copy of the table has one "
            "group for both, and does not tell which of the two it is.",
            CAPTIONS,
            CHANNELS,
        ),
    ),
    "supir-real": Protocol(
        table="the real-world test of Yu et al. (2024), 60 pictures",
        methods=("bicubic", "supir:paper"),
        metrics=("pyiqa:clipiqa", "musiq", "maniqa"),
        published={GIVEN: _REAL_60},
        notes=(CAPTIONS,),
    ),
    "instantir-1": replace(
        _INSTANTIR,
        view=shrunk,
        published={SECOND_ORDER: _TABLE_1A},
        notes=(
            "Scenario 1: results shrunk to 512. Our copy of the table does not say which scenario it is of; it is printed "
            "here.",
            *_INSTANTIR.notes,
        ),
    ),
    "instantir-2": replace(
        _INSTANTIR,
        view=middle,
        notes=("Scenario 2: the middle 512x512 of 1024.", *_INSTANTIR.notes),
    ),
}


def published_for(published: Mapping[str, Numbers], method: str) -> Numbers:
    """The published numbers of the method that one of ours is: ``supir:paper`` is SUPIR, names count without case."""
    wanted = method.partition(":")[0].casefold()
    return next((numbers for name, numbers in published.items() if name.casefold() == wanted), {})
