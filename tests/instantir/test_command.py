"""InstantIR from the command line."""

import json

import numpy as np
import pytest
from PIL import Image

from supir_core.command import cli
from supir_core.command.demo import SDXL_FILE, TOKENIZER_FOLDER, WEIGHTS
from supir_core.files.kinds import ADAPTER, AGGREGATOR, PREVIEWER
from supir_core.files.metadata import read_label


@pytest.fixture
def command(files, tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)).save(tmp_path / "in.png")
    names = ("adapter", "aggregator", "previewer", "dino")
    weights = [part for name, path in zip(names, files, strict=True) for part in (f"--{name}", path)]
    weights += ["--sdxl", WEIGHTS / SDXL_FILE, "--tokenizer", WEIGHTS / TOKENIZER_FOLDER, "--device", "cpu"]

    def run(*more):
        given = ["restore", "--method", "instantir", tmp_path / "in.png", "-o", tmp_path / "out.png"]
        return cli.main([str(part) for part in (*given, *weights, "--scale", "2", *more)])

    return run


def test_the_command_restores_and_labels(command, tmp_path):
    assert command("--steps", "2", "--cfg", "5", "--control-end", "0.5", "--caption", "a boat") == 0
    assert Image.open(tmp_path / "out.png").size == (80, 60)
    label = read_label(tmp_path / "out.png")
    assert "(InstantIR)" in label["Description"]
    assert "(InstantIR)" in label["XML:com.adobe.xmp"]
    settings = json.loads(label["supir.settings"])
    assert (settings["steps"], settings["cfg"], settings["control_end"]) == (2, 5.0, 0.5)
    assert len(json.loads(label["supir.models"])) == 4


def test_the_command_refuses_settings_of_the_other_method(command, capsys):
    with pytest.raises(SystemExit):
        command("--s-churn", "3")
    assert "--s-churn" in capsys.readouterr().err


def test_the_command_asks_for_the_files_it_needs(tmp_path, capsys):
    Image.new("RGB", (8, 8)).save(tmp_path / "in.png")
    given = ["restore", "--method", "instantir", str(tmp_path / "in.png"), "-o", str(tmp_path / "out")]
    assert cli.main(given) == 1
    said = capsys.readouterr().err
    assert "--adapter FILE and --aggregator FILE and --previewer FILE expected" in said


def test_inspect_names_the_files(files, capsys):
    for path, kind in zip(files[:3], (ADAPTER, AGGREGATOR, PREVIEWER), strict=True):
        assert cli.main(["inspect", str(path)]) == 0
        assert kind in capsys.readouterr().out
