"""The numbers of a comparison, one picture at a time, and what is written of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from torch import Tensor

from ..evaluation.cases import Case
from ..evaluation.measures import Metric, MetricUnavailableError, load_metric
from ..evaluation.page import Shown, write_page
from ..evaluation.protocols import Protocol
from ..evaluation.table import Score, summarize, to_csv, to_json, to_markdown
from ..files.pictures import read_picture
from ..files.writing import write_whole
from ..restoration.transparency import opaque
from .batch import attempt
from .methods import Place
from .plan import Job

Results = Mapping[str, Sequence[Case]]
"""The cases that are done, by method."""


def load_metrics(place: Place, names: Sequence[str], referenced: bool) -> tuple[list[Metric], list[str]]:
    """The metrics that can be had here, and a line for each that is left out."""
    metrics, notes = [], []
    for name in names:
        try:
            metric = load_metric(name, place.device)
        except MetricUnavailableError as error:
            notes.append(f"{name} is left out: {error}")
            continue
        if metric.needs_reference and not referenced:
            notes.append(f"{name} is left out: it compares with clean pictures, and there are none (--reference)")
        else:
            metrics.append(metric)
    for note in notes:
        place.report.say(note)
    return metrics, notes


def measure(place: Place, results: Results, metrics: Sequence[Metric], protocol: Protocol) -> list[Score]:
    """Measure every result that is there."""
    scores: list[Score] = []
    with place.report.batch(sum(map(len, results.values()))):
        for method, cases in results.items():
            for case in cases:
                job = Job(case.damaged, case.result(place.folder, method), None)
                scores += (
                    attempt(job, place.report, partial(_scores, case, method, job.result, metrics, protocol)) or []
                )
                place.report.advance()
    return scores


def _scores(case: Case, method: str, result: Path, metrics: Sequence[Metric], protocol: Protocol) -> list[Score]:
    def view(file: Path) -> Tensor:
        return protocol.view(opaque(read_picture(file)))

    picture, reference = view(result), view(case.reference) if case.reference else None
    values = {metric.name: metric(picture, reference) for metric in metrics}
    return [Score(case.setting, method, name, case.name, case.seed, value) for name, value in values.items()]


def write_results(
    place: Place,
    results: Results,
    scores: Sequence[Score],
    metrics: Sequence[Metric],
    protocol: Protocol,
    notes: Sequence[str],
) -> None:
    """Write the tables and the page."""
    rows = summarize(scores, protocol.published)
    markdown = f"# {protocol.table}\n\n{to_markdown(rows, metrics, protocol.published, notes)}"
    for name, text in {"table.json": to_json(rows), "table.csv": to_csv(rows), "table.md": markdown}.items():
        write_whole(place.folder / name, lambda file, text=text: file.writelines([text.encode()]))
    page = place.folder / "index.html"
    write_page(page, protocol.table, _shown(place, results, scores), rows, metrics, protocol.published, notes)
    place.report.say(f"written: {page}, and the table as table.json, table.csv and table.md")


def _shown(place: Place, results: Results, scores: Sequence[Score]) -> list[Shown]:
    """The pictures of the page, with what each method made of them."""
    shown: dict[tuple[str, str, int], Shown] = {}
    for method, cases in results.items():
        for case in cases:
            clean = {"clean": case.reference} if case.reference else {}
            beside = {"damaged": case.damaged, **clean}
            key = (case.setting, case.name, case.seed)
            entry = shown.setdefault(key, Shown(case.name, case.size, beside, setting=case.setting, seed=case.seed))
            entry.results[method] = case.result(place.folder, method)
    for score in scores:
        shown[score.setting, score.picture, score.seed].scores.setdefault(score.method, {})[score.metric] = score.value
    return list(shown.values())
