"""A folder as people have it: what can be done is done, what cannot is named, and the second run does nothing."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from supir_core.command.inputs import find_pictures
from supir_core.command.output import pixel_size
from supir_core.command.plan import Order, make_plan
from supir_core.files.pictures import read_label, read_picture

from .stub import stub
from .test_cli import make_picture

QUICK = ["--demo", "--steps", "1", "--scale", "0.5"]


def results(order):
    return {str(job.source.name): str(job.result.name) for job in make_plan(order).jobs}


@pytest.fixture
def thirty(tmp_path):
    """30 files, five of which cannot be done."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(20):
        make_picture(photos / f"{number:02}.png", (24, 16))
    Image.fromarray(np.zeros((16, 4000, 3), np.uint8)).save(photos / "panorama.png")
    Image.fromarray(np.zeros((3, 2000, 3), np.uint8)).save(photos / "strip.png")
    whole = make_picture(photos / "cut.jpg", (60, 60)).read_bytes()
    (photos / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (photos / "empty.png").touch()
    (photos / "page.png").write_text("<html>", encoding="utf-8")
    make_picture(photos / "twin.png", (24, 16))
    make_picture(photos / "twin.jpg", (24, 16))
    (photos / "00.txt").write_text("ein Boot", encoding="utf-16")
    (photos / "01.txt").write_bytes("Käse".encode("latin-1"))
    (photos / "._00.png").write_bytes(b"of macOS")
    return photos


def test_of_thirty_files_all_that_can_be_done_is_done_once(run, thirty, tmp_path, monkeypatch):
    monkeypatch.setattr("supir_core.command.weights.Weights.restorer", lambda _: stub)
    out = tmp_path / "out"
    assert len(list(thirty.iterdir())) == 30
    code, said = run("restore", thirty, "-o", out, *QUICK)
    assert code == 1
    assert "Traceback" not in said
    failed = [line for line in said.splitlines() if line.startswith("failed: ")]
    assert [line.split(": ")[1].rpartition("/")[2] for line in failed] == ["01.png", "cut.jpg", "empty.png", "page.png"]
    assert "not in UTF-8" in failed[0]
    assert "passed over: hidden: 1" in said
    names = {f"{number:02}.png" for number in range(20) if number != 1}
    assert {path.name for path in out.iterdir()} == names | {
        "panorama.png",
        "strip.png",
        "twin.png.png",
        "twin.jpg.png",
    }
    assert read_label(out / "00.png")["supir.caption"] == "ein Boot"
    before = {path: path.stat().st_mtime_ns for path in out.iterdir()}

    code, said = run("restore", thirty, "-o", out, *QUICK, "--json")
    assert code == 1
    assert "23 of 26 done already" in said
    assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == before


def test_a_line_of_json_for_each_picture(run, tmp_path, capsys, monkeypatch):
    from supir_core.command import cli

    good, bad = make_picture(tmp_path / "a.png", (24, 16)), tmp_path / "b.png"
    bad.touch()
    command = [str(part) for part in ("restore", good, bad, "-o", tmp_path / "out", *QUICK, "--json", "--quiet")]
    run("restore", good, "-o", tmp_path / "other", *QUICK)  # loads the demo model
    capsys.readouterr()
    assert cli.main(command) == 1
    shown = capsys.readouterr()
    lines = [json.loads(line) for line in shown.out.splitlines()]
    assert [line["state"] for line in lines] == ["restored", "failed"]
    assert lines[0]["file"] == str(good)
    assert lines[0]["result"] == str(tmp_path / "out" / "a.png")
    assert lines[0]["seconds"] > 0
    assert (lines[0]["settings"]["steps"], lines[0]["settings"]["scale"]) == (1, 0.5)
    assert lines[0]["error"] is None
    assert lines[1]["error"]
    assert shown.err.startswith(f"failed: {bad}: ")
    assert shown.err.count("\n") == 1


def test_the_same_picture_named_twice_is_one(tmp_path, monkeypatch):
    make_picture(tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)
    found, _ = find_pictures([tmp_path / "a.png", tmp_path / ".." / tmp_path.name / "a.png", tmp_path], False)
    assert len(found) == 1


def test_a_pattern_that_the_shell_left_is_expanded_and_a_name_with_brackets_is_a_name(tmp_path):
    for name in ("a.png", "b.png", "c [1].png"):
        make_picture(tmp_path / name)
    assert len(find_pictures([tmp_path / "[ab].png"], False)[0]) == 2
    assert len(find_pictures([tmp_path / "c [1].png"], False)[0]) == 1


def test_captions_and_masks_that_a_pattern_names_are_no_pictures_unless_they_stand_alone(tmp_path):
    for name in ("a.png", "a.mask.png", "b.mask.png"):
        make_picture(tmp_path / name)
    for name in ("a.txt", "a.png.tiles.txt"):
        (tmp_path / name).touch()
    found, passed_over = find_pictures([tmp_path / "*"], False)
    assert ([picture.source.name for picture in found], passed_over) == (["a.png", "b.mask.png"], {"masks": 1})


def test_a_folder_without_pictures_among_others_is_passed_over(tmp_path):
    make_picture(tmp_path / "a.png")
    for name in ("b", "c"):
        (tmp_path / name).mkdir()
    found, passed_over = find_pictures([tmp_path / "*"], False)
    assert (len(found), passed_over) == (1, {f"folders without pictures ({tmp_path / 'b'}, {tmp_path / 'c'})": 2})
    with pytest.raises(FileNotFoundError, match=r"b, .*c: no picture in this folder; expected files of \.png"):
        find_pictures([tmp_path / "b", tmp_path / "c"], False)


def test_links_to_folders_and_to_nothing_are_passed_over(tmp_path):
    make_picture(tmp_path / "a.png")
    (tmp_path / "back").symlink_to(".", target_is_directory=True)
    (tmp_path / "gone.png").symlink_to("nowhere")
    found, passed_over = find_pictures([tmp_path], recursive=True)
    assert (len(found), passed_over) == (1, {"links to folders": 1, "broken links and devices": 1})


@pytest.mark.parametrize(
    ("source", "result", "more"),
    [("x_stage1.png", "x.png", {"stage1": True}), ("a.png", "mask.png", {"mask": Path("mask.png")})],
)
def test_no_file_of_a_single_result_is_written_over_an_input(tmp_path, monkeypatch, source, result, more):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="is an input, and a result would overwrite it"):
        make_plan(Order([make_picture(Path(source))], Path(result), **more))


def test_folders_below_are_passed_over_or_kept_as_a_tree(tmp_path):
    (tmp_path / "in" / "1990" / "june").mkdir(parents=True)
    (tmp_path / "in" / ".trash").mkdir()
    for folder in ("in", "in/1990/june", "in/.trash"):
        make_picture(tmp_path / folder / "a.png")
    (tmp_path / "in" / "clip.mov").touch()
    order = Order([tmp_path / "in"], tmp_path / "out")
    plan = make_plan(order)
    assert len(plan.jobs) == 1
    assert plan.passed_over == {"hidden": 1, "folders (-r goes into them)": 1, ".mov": 1}
    plan = make_plan(Order([tmp_path / "in"], tmp_path / "out", recursive=True))
    assert {job.result.relative_to(tmp_path / "out").as_posix() for job in plan.jobs} == {"a.png", "1990/june/a.png"}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a.jpg", "a.png"], ["a.jpg.png", "a.png.png"]),
        (["A.jpg", "a.jpg"], ["A.jpg.png", "a.jpg.2.png"]),
        (["é.jpg", "e\u0301.png"], ["e\u0301.png.png", "é.jpg.png"]),
        (["a.jpg", "a.jpg.webp", "a.png"], ["a.jpg.png", "a.jpg.webp.png", "a.png.png"]),
    ],
)
def test_no_two_results_have_one_name_on_any_disk(tmp_path, names, expected):
    for name in names:
        make_picture(tmp_path / name)
    if len(list(tmp_path.iterdir())) < len(names):
        pytest.skip("this disk takes them for one")
    assert sorted(results(Order([tmp_path], tmp_path / "out")).values()) == sorted(expected)


def test_stage_1_and_saved_captions_have_names_of_their_own(tmp_path):
    for name in ("x.png", "x_stage1.png", "y.jpg", "y.png"):
        make_picture(tmp_path / name)
    jobs = make_plan(Order([tmp_path], tmp_path / "out", stage1=True, save_captions=True)).jobs
    files = [file for job in jobs for file in (*job.pictures, job.caption_file)]
    assert len(set(files)) == len(files) == 12
    assert {job.caption_file.name for job in jobs if job.source.stem == "y"} == {"y.jpg.txt", "y.png.txt"}


def test_results_in_the_folder_of_the_inputs_are_no_inputs_of_the_next_run(run, tmp_path):
    make_picture(tmp_path / "a.jpg", (24, 16))
    original = make_picture(tmp_path / "b.png", (24, 16)).read_bytes()
    command = ["restore", tmp_path, "-o", tmp_path, *QUICK, "--stage1"]
    assert run(*command)[0] == 0
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"a.jpg", "a.png", "a_stage1.png", "b.png", "b.png.png", "b.png_stage1.png"}
    assert (tmp_path / "b.png").read_bytes() == original
    code, said = run(*command)
    assert code == 0
    assert "results of earlier runs: 4" in said
    assert "2 of 2 done already" in said
    assert {path.name for path in tmp_path.iterdir()} == names
    code, said = run(*command, "--no-metadata")
    assert (code, "name another folder" in said) == (1, True)


@pytest.mark.parametrize(
    ("content", "captions"),
    [
        (b"\xef\xbb\xbfa boat\n", ("a boat",)),
        ("a boat".encode("utf-16"), ("a boat",)),
        (b"\xfe\xff" + "a boat".encode("utf-16-be"), ("a boat",)),
    ],
)
def test_captions_are_read_by_their_byte_order_mark(tmp_path, content, captions):
    source = make_picture(tmp_path / "a.png")
    (tmp_path / "a.txt").write_bytes(content)
    (job,) = make_plan(Order([source], tmp_path / "out")).jobs
    assert job.captions == captions


def test_a_blank_line_is_the_caption_of_a_tile(tmp_path):
    source = make_picture(tmp_path / "a.png")
    (tmp_path / "a.tiles.txt").write_bytes(b"a boat\r\n\r\nsky\r\n")
    (job,) = make_plan(Order([source], tmp_path / "out", caption_tiles=True)).jobs
    assert job.captions == ("a boat", "", "sky")


@pytest.mark.parametrize(("page", "size"), [(None, "60x40"), (1, "30x20"), (2, "60x40"), (3, None)])
def test_the_size_of_a_page_is_known_before_it_is_read(tmp_path, page, size):
    pages = [Image.new("RGB", size) for size in ((30, 20), (60, 40))]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    found = pixel_size(tmp_path / "a.tif", page)
    assert (found and f"{found[1]}x{found[0]}") == size


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
def test_the_size_of_a_picture_on_its_side_is_that_of_the_upright_one(tmp_path, suffix):
    exif = Image.Exif()
    exif[0x0112] = 6
    file = make_picture(tmp_path / f"a{suffix}", (40, 30), exif=exif)
    assert pixel_size(file) == tuple(read_picture(file).shape[2:]) == (40, 30)


def test_a_dry_run_tells_and_does_nothing(run, tmp_path, monkeypatch):
    source = make_picture(tmp_path / "a.png", (400, 300))
    monkeypatch.setattr("supir_core.command.demo.load_demo_model", None)
    options = ["--demo", "--scale", "2", "--tile", "512", "--overlap", "128", "--steps", "3", "--dry-run"]
    code, said = run("restore", source, "-o", tmp_path / "out", *options)
    assert code == 0
    assert (
        "400x300 to 800x600, worked on at 832x640, 2x2 tiles of 512x512 pixels that share 128x128, network calls: 12"
        in said
    )
    code, said = run("restore", source, "-o", tmp_path / "out", "--demo", "--scale", "4", "--steps", "3", "--dry-run")
    assert "worked on at 1600x1216, 2x1 tiles of 896x1216 pixels that share 192x0, network calls: 6" in said
    assert not (tmp_path / "out").exists()
