"""``supir degrade``, and what it shares with ``supir evaluate``."""

import json
import os
import shutil

import pytest
from PIL import Image

from supir_core.command.cli import main
from supir_core.evaluation.degradation import SECOND_ORDER, damage
from supir_core.evaluation.manifest import Manifest
from supir_core.files.hidden import part_name
from supir_core.files.pictures import read_picture


def test_degrade_writes_what_the_library_makes_and_a_manifest(run, clean, tmp_path):
    out = tmp_path / "damaged"
    assert run("degrade", clean, "-o", out, "--setting", "sr4_noise", "--seed", "3")[0] == 0
    expected = damage(read_picture(clean / "b.png")[..., :64, :64], "sr4_noise", 3)
    assert (read_picture(out / "b.png") - expected).abs().max() <= 0.5 / 255 + 1e-6
    entries = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    assert [(entry["file"], entry["setting"], entry["seed"]) for entry in entries] == [
        ("a.png", "sr4_noise", 3),
        ("b.png", "sr4_noise", 3),
    ]
    assert entries[0]["damage"] == {"blur": 0.0, "factor": 4, "noise": 40, "jpeg": 0}


def test_degrade_keeps_what_is_done_and_does_anew_what_was_made_otherwise(run, clean, tmp_path):
    out = tmp_path / "damaged"
    command = ["degrade", clean, "-o", out, "--setting", SECOND_ORDER]
    assert run(*command)[0] == 0
    first, written = (out / "a.png").read_bytes(), (out / "a.png").stat().st_mtime_ns
    (out / "b.png").unlink()
    assert run(*command)[0] == 0
    assert (out / "a.png").stat().st_mtime_ns == written and (out / "b.png").exists()
    assert run(*command, "--seed", "1")[0] == 0
    assert (out / "a.png").read_bytes() != first


def test_a_killed_run_leaves_no_picture_that_passes_for_another_setting(run, clean, tmp_path, monkeypatch):
    out = tmp_path / "damaged"
    command = ["degrade", clean, "-o", out, "--setting"]
    run(*command, "sr4")
    first = (out / "a.png").read_bytes()
    with monkeypatch.context() as killed:  # after the first picture nothing more is written down
        killed.setattr(Manifest, "add", lambda *_: killed.setattr(Manifest, "_write", lambda _: None))
        run(*command, "sr8")
    assert (out / "a.png").read_bytes() != first
    assert run(*command, "sr4")[0] == 0
    assert (out / "a.png").read_bytes() == first


@pytest.mark.parametrize("command", ["degrade", "evaluate"])
def test_what_a_killed_run_left_half_written_is_removed_and_what_another_writes_is_not(run, clean, tmp_path, command):
    out = tmp_path / "out"
    assert run(command, clean, "-o", out, "--setting", "sr4")[0] == 0
    dead, alive = (part_name(file) for file in (out / "manifest.json", next(out.rglob("a.png"))))
    for part in (dead, alive):
        part.write_bytes(b"half")
    os.utime(dead, (0, 0))
    os.utime(alive, (2**31, 2**31))
    assert run(command, clean, "-o", out, "--setting", "sr4")[0] == 0
    assert (dead.exists(), alive.exists()) == (False, True)


@pytest.mark.parametrize("command", ["degrade", "evaluate"])
def test_what_earlier_runs_made_below_the_inputs_is_no_input(run, clean, tmp_path, command):
    shutil.copytree(clean, tmp_path / "in")
    command = [command, tmp_path / "in", "-o", tmp_path / "in" / "out", "-r", "--setting", "sr4"]
    assert run(*command)[0] == 0
    made = sorted(tmp_path.rglob("*"))
    code, said = run(*command)
    assert (code, "results of earlier runs: " in said) == (0, True)
    assert sorted(tmp_path.rglob("*")) == made


@pytest.mark.parametrize("command", ["degrade", "evaluate"])
@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["-o", "out", "--seed", "-1"], "expected a whole number within 0 to"),
        (["-o", "s3://bucket/out"], "expected a path on a disk"),
    ],
)
def test_seeds_and_places_that_cannot_be_are_refused(clean, capsys, command, given, said):
    with pytest.raises(SystemExit):
        main([command, str(clean), "--setting", "sr4", *given])
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("command", ["degrade", "evaluate", "demo"])
def test_an_output_that_is_a_file_is_said_at_once(run, clean, tmp_path, command):
    (tmp_path / "file").touch()
    given = [] if command == "demo" else [clean, "--setting", "sr4"]
    code, said = run(command, *given, "-o", tmp_path / "file")
    assert (code, said) == (
        1,
        f"error: {tmp_path / 'file'}: results cannot be written there (File exists); name another folder with -o\n",
    )


def test_degrade_leaves_a_folder_of_other_files_alone(run, clean, tmp_path):
    (tmp_path / "mine.png").write_bytes(b"")
    code, said = run("degrade", clean, "-o", tmp_path, "--setting", "sr4")
    assert code == 1 and "this folder holds other files" in said


@pytest.mark.parametrize("command", ["degrade", "evaluate"])
def test_a_picture_of_several_frames_is_refused_with_the_command_that_can_choose(run, tmp_path, command):
    (tmp_path / "in").mkdir()
    frames = [Image.new("RGB", (32, 32), color) for color in ("red", "blue")]
    frames[0].save(tmp_path / "in" / "a.gif", save_all=True, append_images=frames[1:])
    code, said = run(command, tmp_path / "in", "-o", tmp_path / "out", "--setting", "sr4")
    assert (code, "it has 2 frames; save one" in said, "supir restore --page N" in said) == (1, True, True)
