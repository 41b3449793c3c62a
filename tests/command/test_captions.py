"""The command with a captioner: stage 1 is described, the words are kept and used again."""

import pytest
import torch

from supir_core.captions.models import load_captioner
from supir_core.captions.protocol import STANDARD
from supir_core.command import captions as captioning
from supir_core.command.captions import Captions, caption_jobs
from supir_core.command.demo import DEMO_SETTINGS
from supir_core.command.plan import Order, make_plan
from supir_core.command.report import Report
from supir_core.command.task import Task
from supir_core.files.metadata import read_label
from supir_core.files.pictures import read_picture, write_picture
from supir_core.restoration.canvas import resize
from supir_core.restoration.sizes import TargetSize
from supir_core.supir.pipeline import restore
from supir_core.supir.settings import preset

from ..tiny_captioners import make_llava
from .test_cli import FAST, make_picture

TILED = ["--steps", "1", "--scale", "3", "--tile", "64", "--overlap", "0"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_llava(tmp_path_factory.mktemp("llava"))


class Eye:
    """In place of a captioner: keeps what it is shown, and says the mean colour of it."""

    def __init__(self):
        self.seen = []

    def caption(self, pictures, request=STANDARD, on_token=None):
        self.seen += pictures
        return [" ".join(f"{value:.2f}" for value in picture.mean((1, 2))) for picture in pictures]


def planned(source):
    return make_plan(Order([source], source.parent / "out")).jobs


def test_stage_1_is_described_and_not_the_damaged_picture(demo_model, tmp_path):
    source = make_picture(tmp_path / "a.png")
    eye = Eye()
    report = Report()
    (job,) = caption_jobs(planned(source), Task(DEMO_SETTINGS), Captions(lambda: demo_model, lambda: eye), report)
    settings = preset("demo", steps=1)
    expected = restore(demo_model, read_picture(source), settings, scale=2.0, caption=job.captions)
    assert report.failures == []
    assert eye.seen[0].shape == (3, 64, 85)  # as the model works: the short side has at least 64 pixels
    assert torch.allclose(resize(eye.seen[0][None], (60, 80)), expected.stage1, atol=1e-5)


def test_tiles_are_described_in_the_order_in_which_they_are_sampled(demo_model, tmp_path):
    colors = torch.tensor([[0.9, 0.1, 0.1], [0.1, 0.9, 0.1], [0.1, 0.1, 0.9], [0.9, 0.9, 0.1]])
    quarters = colors.T.reshape(3, 2, 2).repeat_interleave(128, 1).repeat_interleave(128, 2)
    write_picture(tmp_path / "a.png", quarters)
    task = Task(preset("demo", tile=128, overlap=0), target=TargetSize(1.0))
    captions = Captions(lambda: demo_model, Eye, tiles=True)
    (job,) = caption_jobs(planned(tmp_path / "a.png"), task, captions, Report())
    seen = torch.tensor([[float(value) for value in caption.split()] for caption in job.captions])
    assert (torch.cdist(seen, colors).argmin(1) == torch.arange(4)).all()


def test_a_captioner_is_asked_saved_and_used_again(run, folder, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    make_picture(photos / "a.png")
    make_picture(photos / "b.png")
    (photos / "b.txt").write_text("my own words", encoding="utf-8")
    arguments = ["restore", photos, "-o", tmp_path / "out", "--demo", *FAST, "--captioner", folder]
    assert run(*arguments, "--save-captions")[0] == 0
    caption = (photos / "a.txt").read_text(encoding="utf-8").strip()
    assert caption
    assert read_label(tmp_path / "out" / "a.png")["supir.caption"] == caption
    assert read_label(tmp_path / "out" / "b.png")["supir.caption"] == "my own words"
    assert (photos / "b.txt").read_text(encoding="utf-8") == "my own words"
    assert sorted(path.name for path in photos.iterdir()) == ["a.png", "a.txt", "b.png", "b.txt"]

    (photos / "a.txt").write_text("a boat", encoding="utf-8")
    arguments[-1] = tmp_path / "no captioner is needed"
    assert run(*arguments, "--overwrite")[0] == 0
    assert read_label(tmp_path / "out" / "a.png")["supir.caption"] == "a boat"


def test_captions_are_not_saved_unasked(run, folder, tmp_path):
    source = make_picture(tmp_path / "a.png")
    code, _ = run("restore", source, "-o", tmp_path / "out", "--demo", *FAST, "--captioner", folder)
    assert code == 0
    assert read_label(tmp_path / "out" / "a.png")["supir.caption"]
    assert not (tmp_path / "a.txt").exists()


def test_captions_of_tiles_have_a_file_of_their_own(run, folder, tmp_path):
    source = make_picture(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text("the whole", encoding="utf-8")
    arguments = ["restore", source, "-o", tmp_path / "out", "--demo", *TILED, "--caption-tiles"]
    assert run(*arguments, "--captioner", folder, "--save-captions")[0] == 0
    lines = (tmp_path / "a.tiles.txt").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 4  # 90 x 120 pixels in squares of 64
    assert read_label(tmp_path / "out" / "a.png")["supir.caption"] == "\n".join(lines)

    (tmp_path / "a.tiles.txt").write_text("1\n2\n3\n4\n", encoding="utf-8")
    assert run(*arguments, "--overwrite")[0] == 0
    assert read_label(tmp_path / "out" / "a.png")["supir.caption"] == "1\n2\n3\n4"

    (tmp_path / "a.tiles.txt").write_text("1\n2\n", encoding="utf-8")
    code, said = run(*arguments, "--overwrite")
    assert code == 1
    assert "got 2 captions for 4 tiles" in said


def test_a_missing_captioner_is_one_clear_line(run, tmp_path):
    source = make_picture(tmp_path / "a.png")
    arguments = ["-o", tmp_path / "out", "--demo", *FAST, "--captioner", tmp_path / "none"]
    code, said = run("restore", source, *arguments)
    assert code == 1
    assert "error: no captioner at" in said
    assert said.count("\n") == 1


def test_one_bad_picture_does_not_keep_the_others_from_their_captions(run, folder, tmp_path):
    (tmp_path / "bad.png").write_text("no picture", encoding="utf-8")
    good = make_picture(tmp_path / "good.png")
    arguments = ["-o", tmp_path / "out", "--demo", *FAST, "--captioner", folder]
    code, said = run("restore", tmp_path / "bad.png", good, *arguments)
    assert code == 1
    assert said.count("bad.png: not a picture") == 1
    assert (tmp_path / "out" / "good.png").exists()


def test_a_long_caption_is_kept_whole(demo_model, tmp_path):
    text = "A red boat lies in the harbour of a small town. " * 20

    class Talker(Eye):
        def caption(self, pictures, request=STANDARD, on_token=None):
            return [text]

    source = make_picture(tmp_path / "a.png")
    captions = Captions(lambda: demo_model, Talker)
    (job,) = caption_jobs(planned(source), Task(DEMO_SETTINGS, target=TargetSize(1.0)), captions, Report())
    assert job.captions == (text,)


def test_the_precision_is_passed_on(run, folder, tmp_path, monkeypatch):
    asked = []

    def load(source, precision, device):
        asked.append((source, precision, device))
        return load_captioner(source, "float32", "cpu")

    monkeypatch.setattr(captioning, "load_captioner", load)
    source = make_picture(tmp_path / "a.png")
    arguments = ["--captioner", folder, "--caption-precision", "4bit", "--caption-device", "spread"]
    assert run("restore", source, "-o", tmp_path / "out", "--demo", *FAST, *arguments)[0] == 0
    assert asked == [(str(folder), "4bit", "spread")]
