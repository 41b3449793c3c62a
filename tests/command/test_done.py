"""Done means that the result is whole and was made of this input in this way; the output is tried before the weights."""

import shutil
import subprocess
from collections import namedtuple

import pytest

from supir_core.command import cli
from supir_core.files.pictures import read_label

from .test_cli import make_picture

QUICK = ["--demo", "--steps", "1", "--scale", "0.5"]


@pytest.fixture
def restored(run, tmp_path):
    """A picture, and what runs the command on it; it is done."""
    source, result = make_picture(tmp_path / "a.png", (24, 16)), tmp_path / "out" / "a.png"

    def again(*more):
        return run("restore", source, "-o", result.parent, *QUICK, *more)

    assert again()[0] == 0
    return source, result, again


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--steps", "2"], "made with steps 1 instead of 2"),
        (["--caption", "a boat"], "made with another caption"),
        (["--seed", "7"], "made with seed 0 instead of 7"),
        (["--stage1"], "a_stage1.png is missing"),
        (["--strip"], "another strip"),
        (["--no-metadata"], "carries a label"),
    ],
)
def test_a_result_made_in_another_way_is_made_anew_and_the_run_says_why(restored, more, said):
    _, result, again = restored
    before = result.stat().st_mtime_ns
    code, told = again(*more)
    assert code == 0
    assert said in told
    assert result.stat().st_mtime_ns != before
    before = result.stat().st_mtime_ns
    assert "1 of 1 done already" in again(*more)[1]
    assert result.stat().st_mtime_ns == before


@pytest.mark.parametrize("more", [["--vae-memory", "512"], ["--tiles-per-call", "2"], ["--preset", "demo"], ["-v"]])
def test_what_does_not_change_the_picture_leaves_it_done(restored, more):
    _, result, again = restored
    before = result.stat().st_mtime_ns
    assert again(*more)[0] == 0
    assert result.stat().st_mtime_ns == before


def test_another_input_of_the_same_name_is_restored(restored):
    source, _, again = restored
    make_picture(source, (30, 20))
    code, said = again()
    assert (code, "made with another input" in said) == (0, True)


def test_other_weights_make_it_anew(restored, monkeypatch):
    monkeypatch.setattr("supir_core.command.weights.Weights.hashes", {"other": "00"})
    code, said = restored[2]()
    assert (code, "made with another weights" in said) == (0, True)


@pytest.mark.parametrize("part", [0.0, 0.5, 0.9])
def test_a_cut_result_is_made_anew(restored, part):
    _, result, again = restored
    whole = result.read_bytes()
    result.write_bytes(whole[: int(part * len(whole))])
    assert again()[0] == 0
    assert read_label(result)["supir.seed"] == "0"


@pytest.mark.parametrize("content", ["picture", "text"])
@pytest.mark.parametrize("name", ["a.png", "a_stage1.png"])
def test_a_file_that_is_not_ours_stays_unless_overwriting_is_asked_for(restored, content, name):
    _, result, again = restored
    file = result.with_name(name)
    file.unlink(missing_ok=True)
    if content == "picture":
        make_picture(file)
    else:
        file.write_text("my notes", encoding="utf-8")
    before = file.read_bytes()
    code, said = again("--stage1")
    assert code == 1
    assert "replace it with --overwrite" in said
    assert file.read_bytes() == before
    assert again("--stage1", "--overwrite")[0] == 0
    assert read_label(file)


def test_a_folder_in_the_place_of_a_result_stays(restored):
    _, result, again = restored
    result.unlink()
    result.mkdir()
    for more in ([], ["--overwrite"]):
        code, said = again(*more)
        assert (code, "is a folder; move it" in said) == (1, True)


def test_without_labels_a_readable_result_is_taken_for_done_and_the_run_says_so(restored):
    _, result, again = restored
    assert again("--no-metadata", "--overwrite")[0] == 0
    before = result.stat().st_mtime_ns
    code, said = again("--no-metadata")
    assert (code, "carry no label" in said) == (0, True)
    assert result.stat().st_mtime_ns == before


# --- before the weights are loaded


@pytest.fixture
def unloaded(tmp_path, monkeypatch, capsys):
    """Run the command; the weights must not be asked for."""

    def asked(*_):
        raise AssertionError("the weights were loaded")

    monkeypatch.setattr("supir_core.command.demo.load_demo_model", asked)

    def call(*arguments):
        code = cli.main([str(argument) for argument in ("restore", *arguments, "--demo")])
        return code, capsys.readouterr().err

    return call


def test_pictures_that_cannot_be_read_do_not_load_the_weights(unloaded, tmp_path):
    (tmp_path / "a.png").touch()
    code, said = unloaded(tmp_path / "a.png", "-o", tmp_path / "out")
    assert (code, "weights were loaded" in said) == (1, False)


def test_a_folder_that_cannot_be_written_to_is_said_first(unloaded, tmp_path, monkeypatch):
    def refused(*_, **__):
        raise PermissionError(13, "Permission denied")

    source = make_picture(tmp_path / "a.png")
    monkeypatch.setattr("tempfile.TemporaryFile", refused)
    code, said = unloaded(source, "-o", tmp_path / "out")
    assert code == 1
    assert said == (
        f"error: {tmp_path / 'out'}: results cannot be written there (Permission denied); name another folder with -o\n"
    )


def test_too_little_room_is_said_first(unloaded, tmp_path, monkeypatch):
    source = make_picture(tmp_path / "a.png", (400, 300))
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(10**9, 10**9 - 10**5, 10**5))
    code, said = unloaded(source, "-o", tmp_path / "out", "--scale", "4")
    assert code == 1
    assert "the results take about" in said
    assert said.count("\n") == 1


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mounting, capture_output=True, check=False).returncode:
        pytest.skip("no disk may be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_said_first(unloaded, tmp_path, small_disk):
    (small_disk / "full").write_bytes(bytes(64 * 1024))
    code, said = unloaded(make_picture(tmp_path / "a.png"), "-o", small_disk)
    assert code == 1
    assert f"{small_disk}: results cannot be written there (No space left on device)" in said
    assert said.count("\n") == 1


def test_a_disk_that_fills_while_it_works_stops_the_run(run, tmp_path, small_disk, monkeypatch):
    for name in ("a.png", "b.png", "c.png"):
        make_picture(tmp_path / name, (100, 150))  # 45 KB of noise each
    monkeypatch.setattr("supir_core.command.output.check_room", lambda *_: None)
    sources = [tmp_path / name for name in ("a.png", "b.png", "c.png")]
    code, said = run("restore", *sources, "-o", small_disk, "--demo", "--steps", "1", "--scale", "1", "--quiet")
    assert code == 1
    assert "No space left on device" in said
    assert said.count("\n") == 1
    assert {path.name for path in small_disk.iterdir()} in ({"a.png"}, {"a.png", "b.png"})


def test_a_name_that_is_too_long_with_stage_1_is_named_first(unloaded, tmp_path):
    source = make_picture(tmp_path / ("a" * 251 + ".png"))
    code, said = unloaded(source, "-o", tmp_path / "out", "--stage1")
    assert (code, "File name too long" in said) == (1, True)
    assert said.startswith("failed: ")
    assert said.count("\n") == 1


def test_a_name_of_255_bytes_is_written(run, tmp_path):
    source = make_picture(tmp_path / ("a" * 251 + ".png"), (24, 16))
    assert run("restore", source, "-o", tmp_path / "out", *QUICK)[0] == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == [source.name]


def test_a_symlink_that_leads_to_itself_is_one_line(unloaded, tmp_path):
    source = make_picture(tmp_path / "a.png")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    code, said = unloaded(source, "-o", tmp_path / "loop")
    assert (code, said.count("\n")) == (1, 1)
