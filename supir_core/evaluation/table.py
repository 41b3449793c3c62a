"""Tables of results: means over pictures and seeds, as JSON, CSV and Markdown, beside what was published."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from statistics import fmean, pstdev
from typing import Any, NamedTuple

from .measures import FROM_PYIQA, Metric
from .protocols import Numbers, Published, published_for


class Score(NamedTuple):
    """A number for one result."""

    setting: str
    method: str
    metric: str
    picture: str
    seed: int
    value: float


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes:
        setting: of damage.
        method: that restored.
        metric: by which it was measured.
        mean: over pictures and seeds.
        spread: standard deviation over pictures and seeds.
        n: how many results there are.
        published: the paper's mean, where there is one.
    """

    setting: str
    method: str
    metric: str
    mean: float
    spread: float
    n: int
    published: float | None = None

    def described(self) -> dict[str, Any]:
        """The line by name; published numbers and the difference to them only where there are some."""
        told = {name: value for name, value in asdict(self).items() if value is not None}
        return told if self.published is None else told | {"difference": self.mean - self.published}


def summarize(scores: Iterable[Score], published: Published | None = None) -> list[Row]:
    """The table of scores, a setting after the other; settings, methods and metrics in the order in which they first appear."""
    groups: dict[tuple[str, str, str], list[float]] = {}
    for score in scores:
        groups.setdefault(score[:3], []).append(score.value)
    settings = list(dict.fromkeys(setting for setting, *_ in groups))
    return [
        Row(*key, fmean(values), pstdev(values), len(values), _published(published or {}, *key))
        for key, values in sorted(groups.items(), key=lambda group: settings.index(group[0][0]))
    ]


def plain(metric: str) -> str:
    """A metric's name as papers write it, whichever library it comes from."""
    return metric.removeprefix(FROM_PYIQA)


def _published(published: Published, setting: str, method: str, metric: str) -> float | None:
    return published_for(published.get(setting, {}), method).get(plain(metric))


def to_json(rows: Sequence[Row]) -> str:
    """A list of objects."""
    return json.dumps([row.described() for row in rows], indent=1) + "\n"


def to_csv(rows: Sequence[Row]) -> str:
    """The same, for spreadsheets."""
    names = [*Row.__dataclass_fields__, "difference"]
    out = io.StringIO()
    writer = csv.DictWriter(out, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(row.described() for row in rows)
    return out.getvalue()


def to_markdown(
    rows: Sequence[Row], metrics: Sequence[Metric], published: Published | None = None, notes: Sequence[str] = ()
) -> str:
    """A table for each setting: mean, spread, and in brackets the difference to the published number.

    The published numbers have lines of their own below.
    """
    parts = []
    for setting, group in groupby(rows, key=lambda row: row.setting):
        theirs = (published or {}).get(setting, {})
        parts += [f"## {setting}", "", *_table(list(group), metrics, theirs), ""]
    return "\n".join([*parts, *(f"- {note}" for note in notes)]).rstrip() + "\n"


def _table(rows: Sequence[Row], metrics: Sequence[Metric], published: Mapping[str, Numbers]) -> list[str]:
    heads = [f"{metric.name} {'↓' if metric.smaller_is_better else '↑'}" for metric in metrics]
    lines = [["method", *heads, "n"], ["---"] * (len(heads) + 2)]
    cells: dict[str, dict[str, Row]] = {}
    for row in rows:
        cells.setdefault(row.method, {})[row.metric] = row
    for method, found in cells.items():
        counts = sorted({row.n for row in found.values()})
        numbers = [_cell(found[metric.name]) if metric.name in found else "" for metric in metrics]
        lines.append([method, *numbers, "-".join(map(str, counts))])
    for method, numbers in published.items():
        known = [_number(numbers.get(plain(metric.name))) for metric in metrics]
        lines.append([f"{method}, published", *known, ""])
    return [f"| {' | '.join(line)} |" for line in lines]


def _cell(row: Row) -> str:
    digits = decimals(row.mean)
    text = f"{row.mean:.{digits}f} ± {row.spread:.{digits}f}"
    return text if row.published is None else f"{text} ({row.mean - row.published:+.{digits}f})"


def _number(number: float | None) -> str:
    return "" if number is None else f"{number:.{decimals(number)}f}"


def decimals(number: float) -> int:
    """How many of a number are shown: two above 1, where those lie that have units, four below."""
    return 2 if abs(number) >= 1 else 4
