"""What the command shows while it works."""

import io
import re
from pathlib import Path

import pytest
import torch

from supir_core.command import cli
from supir_core.command.commands import _parser
from supir_core.command.options import METHODS
from supir_core.command.report import PicturesBar

from .test_cli import FAST, make_picture


def test_the_bar_counts_pictures_a_minute(monkeypatch):
    monkeypatch.setattr("tqdm.std.time", lambda: now)
    shown, now = io.StringIO(), 0.0
    with PicturesBar(total=40, file=shown, smoothing=0) as bar:
        now = 30.0
        bar.set_postfix(failed=1, refresh=False)
        bar.update(10)
    assert "10/40 [00:30<01:30, 20.0 pictures a minute, failed=1]" in shown.getvalue()


def test_texts_name_only_options_that_a_command_has():
    parsers = [next(iter(parser._subparsers._group_actions)).choices for parser in map(_parser, METHODS)]
    known = {"--version"} | {
        name for each in parsers for parser in each.values() for name in parser._option_string_actions
    }
    texts = "".join(file.read_text(encoding="utf-8") for file in Path(cli.__file__).parents[1].rglob("*.py"))
    named = set(re.findall(r"(?<![\w`'-])--[a-z][a-z0-9-]*[a-z0-9](?![a-z0-9-])", texts))
    assert named - known == {"--bf16-unet", "--fp32-vae", "--local-dir"}  # of ComfyUI and of the hub's command


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), "the memory is full. Use --memory stream"),
        (MemoryError(), "the memory is full. Close other programs"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "the memory is full. Close other"),
        (RuntimeError("\x1b[31mCUDA error\x1b[0m: \nmany\nlines"), "CUDA error: many lines"),
        (KeyError("x"), "KeyError: 'x'"),
    ],
)
def test_no_error_of_a_picture_is_a_traceback_or_ends_the_batch(run, tmp_path, monkeypatch, error, said):
    def failing(*_, **__):
        raise error

    sources = [make_picture(tmp_path / name) for name in ("a.png", "b.png")]
    monkeypatch.setattr("supir_core.command.weights.restore", failing)
    code, told = run("restore", *sources, "-o", tmp_path / "out", "--demo", *FAST)
    assert code == 1
    assert told.count(said) == told.count("\n") == 2


@pytest.mark.parametrize("error", [MemoryError("no"), RuntimeError("CUDA error\nlines"), AttributeError("bug")])
def test_weights_that_cannot_be_loaded_end_the_run_in_a_line(run, tmp_path, monkeypatch, error):
    def failing(*_):
        raise error

    monkeypatch.setattr("supir_core.command.demo.load_demo_model", failing)
    code, said = run("restore", make_picture(tmp_path / "a.png"), "-o", tmp_path / "out", "--demo", *FAST)
    assert (code, said.count("\n")) == (1, 1)
    assert said.startswith("error: ")
