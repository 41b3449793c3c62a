"""Sizes of results in the command: asked for, written into the label, told before, and refused."""

import json

import pytest
from PIL import Image

from supir_core.command import weights
from supir_core.command.demo import demo_photograph
from supir_core.files.metadata import read_label
from supir_core.files.pictures import write_picture
from supir_core.restoration.canvas import resize

from .stub import stub
from .test_cli import make_picture

QUICK = ("--demo", "--steps", "1")


@pytest.fixture
def source(tmp_path):
    return make_picture(tmp_path / "a.png", (80, 60))


@pytest.fixture(autouse=True)
def no_networks(monkeypatch):
    monkeypatch.setattr(weights.Weights, "restorer", lambda self: stub)
    monkeypatch.setattr(weights.Weights, "hashes", {"weights": "0"})


@pytest.mark.parametrize(
    ("options", "size", "label"),
    [
        (("--longest-side", "200"), (200, 150), {"longest_side": 200}),
        (("--megapixels", "0.03"), (200, 150), {"megapixels": 0.03}),
        (("--size", "50x90"), (50, 90), {"size": [90, 50]}),
        (("--size", "50x90", "--fit", "crop"), (50, 90), {"size": [90, 50], "fit": "crop"}),
        (("--scale", "4", "--shrink-first", "2"), (160, 120), {"scale": 4.0, "shrink_first": 2.0}),
        (("--shrink-first", "auto"), (160, 120), {"scale": 2.0, "shrink_first": "auto"}),
    ],
)
def test_a_result_has_the_size_asked_for_and_its_label_says_how(run, source, tmp_path, options, size, label):
    result = tmp_path / "out.png"
    assert run("restore", source, "-o", result, *QUICK, *options)[0] == 0
    assert Image.open(result).size == size
    settings = json.loads(read_label(result)["supir.settings"])
    assert {name: settings[name] for name in label} == label
    assert "1 of 1 done already" in run("restore", source, "-o", result, *QUICK, *options)[1]


def test_another_size_is_done_anew(run, source, tmp_path):
    for options, said in (
        (("--longest-side", "90"), "restored"),
        (("--longest-side", "120"), "longest_side 90 instead of 120"),
    ):
        assert said in run("restore", source, "-o", tmp_path / "out.png", *QUICK, *options)[1]


def test_a_large_scan_is_shrunk_to_its_detail_and_the_dry_run_knows(run, tmp_path):
    detail = demo_photograph()[..., :160, 150:350]
    write_picture(tmp_path / "scan.png", resize(detail, (480, 600))[0])
    command = ("restore", tmp_path / "scan.png", "-o", tmp_path / "out.png", *QUICK, "--shrink-first", "auto")
    _, said = run(*command, "--dry-run")
    code, restored = run(*command)
    size = Image.open(tmp_path / "out.png").size
    assert code == 0 and "shrunk first from 600x480 to" in restored
    assert f"600x480 to {size[0]}x{size[1]}" in said
    assert 340 <= size[0] <= 480  # twice the 200 pixels of detail, as they were found


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--fit", "crop"), 'fit "crop" is for an exact size'),
        (("--longest-side", "20"), "longest_side must be within 64 to 65536, got 20"),
        (("--shrink-first", "0.5"), "shrink_first must be within 1 to 16, got 0.5"),
    ],
)
def test_what_makes_no_sense_is_said_at_once(run, source, tmp_path, options, message):
    code, said = run("restore", source, "-o", tmp_path / "out.png", *QUICK, *options)
    assert code == 1 and message in said


def test_one_size_only(run, source, tmp_path, capsys):
    for options in (("--scale", "2", "--megapixels", "1"), ("--shrink-first", "much")):
        with pytest.raises(SystemExit):
            run("restore", source, "-o", tmp_path / "out.png", *QUICK, *options)
    assert 'expected a factor or auto, got "much"' in capsys.readouterr().err


def test_a_picture_with_a_mask_is_only_enlarged(run, source, tmp_path):
    Image.new("L", (80, 60), 255).save(tmp_path / "a.mask.png")
    command = ("restore", source, "-o", tmp_path / "out.png", *QUICK, "--shrink-first", "2")
    for more in ((), ("--dry-run",)):
        code, said = run(*command, *more)
        assert code == 1 and "a picture with a mask is only enlarged" in said
