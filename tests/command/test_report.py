"""What the command shows while it works."""

import io
import re
from pathlib import Path

from supir_core.command import cli
from supir_core.command.commands import _parser
from supir_core.command.options import METHODS
from supir_core.command.report import PicturesBar


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
