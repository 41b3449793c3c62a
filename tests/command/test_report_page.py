import json
import re
import sys

import numpy as np
import pytest
from PIL import Image

FAST = ["--demo", "--steps", "1", "--scale", "1"]


def make_picture(path, value):
    pixels = np.full((30, 40, 3), value, dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def data_of(page):
    return json.loads(re.search(r'id="data">(.*?)</script>', page.read_text(encoding="utf-8"), re.DOTALL)[1])


def test_a_batch_has_a_page_that_compares_each_result_with_its_input(run, tmp_path):
    photos, out = tmp_path / "photos", tmp_path / "out"
    (photos / "more").mkdir(parents=True)
    make_picture(photos / "a.png", 60)
    make_picture(photos / "more" / "b.tif", 200)
    command = ["restore", photos, "-o", out, "-r", "--report", "--stage1", *FAST]
    assert run(*command)[0] == 0
    data = data_of(out / "supir_report.html")
    assert [(shown["name"], shown["width"], shown["height"]) for shown in data["pictures"]] == [
        ("a.png", 40, 30),
        ("more/b.png", 40, 30),
    ]
    for shown, value in zip(data["pictures"], (60, 200), strict=True):
        assert [*shown["results"]] == ["restored", "stage 1"]
        assert all((out / file).is_file() for file in shown["results"].values())
        copy = np.asarray(Image.open(out / shown["beside"]["input"]))
        assert np.abs(copy.astype(int) - value).max() <= 1
    assert "2 of 2 done already" in run(*command)[1]
    assert len(data_of(out / "supir_report.html")["pictures"]) == 2


def test_the_page_has_copies_of_results_that_browsers_do_not_show(run, tmp_path):
    source = make_picture(tmp_path / "a.png", 60)
    assert run("restore", source, "-o", tmp_path / "out", "--format", "tiff", "--report", *FAST)[0] == 0
    (shown,) = data_of(tmp_path / "out" / "supir_report.html")["pictures"]
    assert shown["results"]["restored"].endswith("/result/a.jpg")
    assert (tmp_path / "out" / shown["results"]["restored"]).is_file()


@pytest.mark.skipif(sys.platform != "linux", reason="other disks take text alone for a name")
def test_the_page_shows_names_that_are_no_text_and_leaves_out_those_too_long(run, tmp_path):
    names = ("\udcff.png", "n" * 250 + ".png")
    for name in names:
        make_picture(tmp_path / name, 60)
    code, said = run("restore", tmp_path, "-o", tmp_path / "out", "--report", "--stage1", *FAST)
    assert (code, said.count("failed: "), "File name too long" in said) == (1, 1, True)
    (shown,) = data_of(tmp_path / "out" / "supir_report.html")["pictures"]
    assert (shown["name"], shown["results"]["restored"]) == ("\udcff.png", "%FF.png")


def test_copies_for_the_page_are_no_inputs_of_the_next_run(run, tmp_path):
    make_picture(tmp_path / "a.png", 60)
    assert run("restore", tmp_path, "-o", tmp_path / "out", "--report", *FAST)[0] == 0
    code, said = run("restore", tmp_path, "-o", tmp_path / "out", "-r", *FAST)
    assert code == 0
    assert "1 of 1 done already" in said
