import csv
import io
import json

import pytest

from supir_core.evaluation.measures import Metric
from supir_core.evaluation.table import Score, summarize, to_csv, to_json, to_markdown

METRICS = [Metric("psnr", False, True, float), Metric("pyiqa:lpips", True, True, float)]
SCORES = [
    Score(setting, method, metric, picture, seed, value + 2 * seed)
    for setting in ("sr8", "sr4")
    for method, value in (("bicubic", 20.0), ("supir:paper", 22.0))
    for metric in ("psnr", "pyiqa:lpips")
    for picture in ("a", "b")
    for seed in (0, 1)
]
PUBLISHED = {"sr4": {"SUPIR": {"psnr": 22.66, "lpips": 0.2662}, "PASD": {"psnr": 24.9}}}


def test_mean_and_spread_are_over_pictures_and_seeds():
    first = json.loads(to_json(summarize(SCORES)))[0]
    assert first == {"setting": "sr8", "method": "bicubic", "metric": "psnr", "mean": 21.0, "spread": 1.0, "n": 4}


def test_published_numbers_and_the_difference_stand_beside_ours():
    rows = {
        (row["setting"], row["method"], row["metric"]): row for row in json.loads(to_json(summarize(SCORES, PUBLISHED)))
    }
    assert rows["sr4", "supir:paper", "pyiqa:lpips"]["published"] == 0.2662
    assert rows["sr4", "supir:paper", "psnr"]["difference"] == pytest.approx(0.34)
    assert "published" not in rows["sr4", "bicubic", "psnr"]
    assert "published" not in rows["sr8", "supir:paper", "psnr"]


def test_the_spreadsheet_has_the_same_lines():
    rows = summarize(SCORES, PUBLISHED)
    lines = list(csv.DictReader(io.StringIO(to_csv(rows))))
    assert [line["mean"] for line in lines] == [str(row.mean) for row in rows]
    assert lines[0]["difference"] == ""


def test_markdown_has_a_table_for_each_setting():
    text = to_markdown(summarize(SCORES, PUBLISHED), METRICS, PUBLISHED, ["one note"])
    assert text.index("## sr8") < text.index("## sr4")
    assert "| method | psnr ↑ | pyiqa:lpips ↓ | n |" in text
    assert "| bicubic | 21.00 ± 1.00 | 21.00 ± 1.00 | 4 |" in text
    assert "| supir:paper | 23.00 ± 1.00 (+0.34) | 23.00 ± 1.00 (+22.73) | 4 |" in text
    assert "| PASD, published | 24.90 |  |  |" in text
    assert text.endswith("- one note\n")
