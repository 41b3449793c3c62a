"""The benchmarks say which they are, refuse what cannot be measured, and run the networks that they name."""

import importlib
import json
import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

FOLDER = Path(__file__).parents[1] / "benchmarks"
SCRIPTS = {path.name for path in FOLDER.glob("*.py") if "__main__" in path.read_text(encoding="utf-8")}


@pytest.fixture
def script(monkeypatch):
    """Imports one by its name."""
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module


def test_the_readme_has_a_line_for_each():
    table = (FOLDER / "README.md").read_text(encoding="utf-8").partition("## Measured")[0]
    assert sorted(re.findall(r"^\| `(\w+\.py)` \|", table, re.MULTILINE)) == sorted(SCRIPTS)


def test_a_quick_run_leaves_the_results_of_a_full_one(script, monkeypatch, tmp_path):
    measure = script("measure")
    monkeypatch.setattr(measure, "RESULTS", tmp_path)
    monkeypatch.setattr(measure, "ROOT", tmp_path)
    for words, seconds in (([], 3.0), (["--quick"], 0.1)):
        measure.write_results("some", {"s": seconds}, measure.arguments("Some.", device=False).parse_args(words))
    told = {path.name: json.loads(path.read_text(encoding="utf-8")) for path in tmp_path.iterdir()}
    assert {name: some["s"] for name, some in told.items()} == {"some.json": 3.0, "some_quick.json": 0.1}
    assert told["some_quick.json"]["options"] == {"quick": True, "device": "cpu"}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--device", "cuda:9"], 'expected a device of this machine .*, got "cuda:9"'),
        (["--repeats", "0"], 'expected a whole number from 1, got "0"'),
        (["--count", "2048x"], 'expected WIDTHxHEIGHT such as 2048x1536, got "2048x"'),
    ],
)
def test_what_cannot_be_measured_is_refused(script, monkeypatch, capsys, words, says):
    monkeypatch.setattr("sys.argv", ["tiles.py", *words])
    with pytest.raises(SystemExit):
        script("tiles").main()
    assert re.search(says, capsys.readouterr().err)


def test_attention_is_counted_after_the_text_is_read(script):
    q, calls = torch.empty(2, 4, 100, 64, device="meta"), []

    def attend():
        calls.append(F.scaled_dot_product_attention(q, q, q) if calls else q @ q.mT)

    assert script("measure").operations({"attend": attend}) == {"attend": 2 * 2 * 2 * 4 * 100 * 100 * 64 / 1e12}


@torch.no_grad()
@pytest.mark.parametrize("name", ["guided_call", "instantir"])
def test_what_is_timed_is_what_is_counted(script, name):
    """The same functions compute on the CPU and are counted on ``meta``."""
    bench = script(name)
    functions = bench.prepare(bench.build_networks(True, torch.float32, torch.device("cpu")), 8).functions()
    for function in functions.values():
        function()
    counts = bench.count_operations(True, 8)
    assert list(counts) == list(functions)
    assert counts["unet"] < counts[bench.BASELINE]


def test_growth_in_both_powers_of_the_pixels_is_found(script):
    operations = script("operations")
    row = operations.row("some", [3e-5 * side**2 + 2e-12 * side**4 for side in operations.SIDES])
    assert float(row["a"]) == pytest.approx(3e-5)
    assert float(row["b"]) == pytest.approx(2e-12)
    assert row["at the middle"] == pytest.approx(1)
