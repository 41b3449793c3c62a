"""One HTML page to look at results: a slider over each pair, one zoom for all, a table that sorts.

It asks for nothing but the pictures beside it.
"""

from __future__ import annotations

import html
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..files.writing import write_whole
from .measures import Metric
from .protocols import Published
from .table import Row, plain

TEMPLATE = Path(__file__).with_name("page.html")


@dataclass
class Shown:
    """A picture of the page.

    Attributes:
        name: of the picture.
        size: (height, width) of the results.
        beside: files to compare with, by what they are.
        results: files of the results, by method.
        setting: how it was damaged.
        seed: of the damage, where there is one.
        scores: numbers by method and metric.
    """

    name: str
    size: tuple[int, int]
    beside: Mapping[str, Path]
    results: dict[str, Path] = field(default_factory=dict)
    setting: str = ""
    seed: int | None = None
    scores: dict[str, dict[str, float]] = field(default_factory=dict)


def write_page(
    file: Path,
    title: str,
    pictures: Sequence[Shown],
    rows: Sequence[Row] = (),
    metrics: Sequence[Metric] = (),
    published: Published | None = None,
    notes: Sequence[str] = (),
) -> None:
    """Write the page; all pictures lie in its folder or below.

    Raises:
        OSError: it cannot be written.
    """
    names = {plain(metric.name): metric.name for metric in metrics}
    data: dict[str, Any] = {
        "metrics": [{"name": metric.name, "smaller": metric.smaller_is_better} for metric in metrics],
        "settings": list(dict.fromkeys(shown.setting for shown in pictures)),
        "rows": [row.described() for row in rows],
        "published": {
            setting: {
                method: {names[name]: number for name, number in numbers.items() if name in names}
                for method, numbers in methods.items()
            }
            for setting, methods in (published or {}).items()
        },
        "pictures": [_described(shown, file.parent) for shown in pictures],
        "notes": list(notes),
    }
    text = json.dumps(data, ensure_ascii=False).replace("<", "\\u003c")
    page = TEMPLATE.read_text(encoding="utf-8").replace("{{title}}", html.escape(title)).replace("{{data}}", text)
    write_whole(file, lambda out: out.writelines([page.encode(errors="backslashreplace")]))


def _described(shown: Shown, folder: Path) -> dict[str, Any]:
    def files(paths: Mapping[str, Path]) -> dict[str, str]:
        return {
            what: quote(os.fsencode(Path(os.path.relpath(path, folder)).as_posix())) for what, path in paths.items()
        }

    height, width = shown.size
    told = {name: getattr(shown, name) for name in ("name", "setting", "seed", "scores")}
    return {**told, "width": width, "height": height, "beside": files(shown.beside), "results": files(shown.results)}
