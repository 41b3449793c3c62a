import re
from pathlib import Path

import pytest
import torch

from supir_core.evaluation.degradation import DAMAGES
from supir_core.evaluation.measures import check_metric
from supir_core.evaluation.protocols import GIVEN, PROTOCOLS, middle, published_for, shrunk, whole
from supir_core.evaluation.table import plain
from supir_core.supir.settings import PRESETS

COMPARISON = Path(__file__).parents[2] / "docs" / "comparison.md"


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_protocol_names_only_what_there_is(name):
    protocol = PROTOCOLS[name]
    assert set(protocol.settings) <= set(DAMAGES)
    assert set(protocol.published) <= {*DAMAGES, GIVEN}
    for metric in protocol.metrics:
        check_metric(metric)
    measured = {plain(metric) for metric in protocol.metrics}
    for methods in protocol.published.values():
        assert all(set(numbers) <= measured for numbers in methods.values())


def test_the_papers_preset_is_the_papers():
    paper = PRESETS["paper"]
    assert (paper.steps, paper.cfg.start, paper.cfg.end, paper.restoration_scale) == (100, 7.5, 7.5, 4)


def test_the_scenarios_of_instantir_look_at_512_pixels():
    picture = torch.arange(1024.0).expand(1, 3, 1024, 1024)
    assert (PROTOCOLS["instantir-1"].view, PROTOCOLS["instantir-2"].view) == (shrunk, middle)
    assert shrunk(picture / 1023).shape == middle(picture).shape == (1, 3, 512, 512)
    assert middle(picture)[0, 0, 0, 0] == 256
    assert shrunk(torch.zeros(1, 3, 600, 900)).shape == (1, 3, 512, 768)
    assert whole(picture) is picture


def test_ours_are_compared_with_the_published_method_of_that_name():
    numbers = PROTOCOLS["supir-table1"].published["sr4"]
    assert published_for(numbers, "supir:paper")["psnr"] == 22.66
    assert published_for(numbers, "real-esrgan")["musiq"] == 69.51
    assert published_for(numbers, "bicubic") == {}


def test_what_our_copy_of_the_table_does_not_tell_is_in_no_protocol():
    assert set(PROTOCOLS["supir-table1"].published) == {"sr4", "sr8", "blur_sr4"}


def test_the_page_of_the_comparison_has_the_same_numbers():
    """Every number that a protocol prints stands in the page, in the row of its method."""
    rows = re.findall(r"^\| .*\|$", COMPARISON.read_text(encoding="utf-8"), re.MULTILINE)
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    for protocol in PROTOCOLS.values():
        for methods in protocol.published.values():
            for method, numbers in methods.items():
                values = {f"{value:.4f}" if value < 1 else f"{value:.2f}" for value in numbers.values()}
                assert any(method in row and values <= set(row) for row in cells), (method, values)
