"""``supir restore`` with masks: what is outside keeps every bit."""

import json

import pytest
import torch

from supir_core.command.cli import main
from supir_core.command.demo import WEIGHTS
from supir_core.files.pictures import read_label, read_picture, save_picture


@pytest.fixture
def folder(tmp_path):
    picture = read_picture(WEIGHTS / "damaged.png")[..., :64, :80]
    mask = torch.zeros(1, 3, 64, 80)
    mask[..., 10:34, 10:34] = mask[..., 36:60, 50:74] = 1
    save_picture(tmp_path / "photo.png", picture)
    save_picture(tmp_path / "white.png", mask)
    return tmp_path


def restore(folder, *more):
    return main(["restore", str(folder / "photo.png"), "-o", str(folder / "out"), "--demo", *more])


def changed(folder, size=(64, 80)):
    before, after = (read_picture(folder / name) for name in ("photo.png", "out/photo.png"))
    assert after.shape[2:] == size
    return (before != after).any(dim=1)[0] if before.shape == after.shape else None


def test_only_what_is_white_changes(folder):
    assert restore(folder, "--mask", str(folder / "white.png")) == 0
    marked = read_picture(folder / "white.png")[0, 0] > 0
    assert changed(folder)[marked].float().mean() > 0.8
    assert not changed(folder)[~marked].any()


def test_a_mask_beside_its_picture_counts_and_is_no_picture(folder, capsys):
    (folder / "white.png").rename(folder / "photo.mask.png")
    assert main(["restore", str(folder), "-o", str(folder / "out"), "--demo"]) == 0
    assert [path.name for path in (folder / "out").iterdir()] == ["photo.png"]
    assert "masks: 1" in capsys.readouterr().err
    assert not changed(folder)[:10].any()


def test_the_label_tells_the_mask_and_another_one_is_done_anew(folder, capsys):
    assert restore(folder, "--mask", str(folder / "white.png"), "--feather", "4") == 0
    settings = json.loads(read_label(folder / "out" / "photo.png")["supir.settings"])
    assert settings["feather"] == 4 and len(settings["mask"]) == 64 and settings["scale"] == 1
    assert restore(folder, "--mask", str(folder / "white.png"), "--feather", "4") == 0
    assert "1 of 1 done already" in capsys.readouterr().err
    assert restore(folder, "--mask", str(folder / "white.png")) == 0
    assert "made with feather 4 instead of 16" in capsys.readouterr().err


def test_a_picture_is_enlarged_first_where_that_is_asked_for(folder):
    assert restore(folder, "--mask", str(folder / "white.png"), "--scale", "1.5") == 0
    assert changed(folder, (96, 120)) is None


def test_a_dry_run_counts_the_regions(folder, capsys):
    assert restore(folder, "--mask", str(folder / "white.png"), "--dry-run") == 0
    assert "regions: 2, network calls: 4" in capsys.readouterr().err


@pytest.mark.parametrize("more", [[], ["--dry-run"]])
@pytest.mark.parametrize(
    ("size", "code"), [((80, 64), 0), ((27, 21), 0), ((161, 128), 0), ((64, 80), 1), ((80, 80), 1)]
)
def test_a_mask_of_another_shape_is_refused_and_one_of_another_size_fitted(folder, capsys, size, code, more):
    save_picture(folder / "other.png", torch.ones(1, 3, *reversed(size)))
    assert restore(folder, "--mask", str(folder / "other.png"), "--steps", "1", *more) == code
    said = f"the mask has {size[0]}x{size[1]} pixels and its picture 80x64; expected the same shape"
    assert (said in capsys.readouterr().err) == bool(code)


@pytest.mark.parametrize(("name", "said"), [("none.png", "none.png"), ("text.png", "not a picture that can be read")])
def test_a_mask_that_cannot_be_read_is_said_at_once(folder, capsys, name, said):
    (folder / "text.png").write_text("text")
    assert restore(folder, "--mask", str(folder / name)) != 0
    told = capsys.readouterr().err
    assert said in told and "Traceback" not in told
