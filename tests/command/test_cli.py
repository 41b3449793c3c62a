import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from supir_core.command import cli, weights
from supir_core.command.options import method_in
from supir_core.files.checkpoint import sha256
from supir_core.files.metadata import SOURCE_TYPE, read_label
from supir_core.files.pictures import UnreadablePictureError, read_picture

FAST = ["--steps", "2", "--scale", "1"]


def make_picture(path, size=(40, 30), mode="RGB", **options):
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], len(mode)), dtype=np.uint8)
    Image.fromarray(pixels.squeeze()).save(path, **options)
    return path


def test_a_picture_is_restored_and_labelled(run, demo_model, tmp_path):
    source = make_picture(tmp_path / "old photo.v1.jpg")
    result = tmp_path / "out.png"
    code, _ = run("restore", source, "-o", result, "--demo", *FAST, "--seed", "7", "--caption", "a boat")
    assert code == 0
    assert Image.open(result).size == (40, 30)
    label = read_label(result)
    assert label["supir.seed"] == "7"
    assert label["supir.caption"] == "a boat"
    assert json.loads(label["supir.settings"])["steps"] == 2
    assert json.loads(label["supir.models"]) == {file.name: sha256(file) for file in demo_model.files}
    assert SOURCE_TYPE in label["XML:com.adobe.xmp"]
    assert b"DigitalSourceType" in result.read_bytes()  # not compressed, so that any tool can find it


def test_no_metadata_leaves_the_label_out(run, tmp_path):
    source = make_picture(tmp_path / "a.png")
    run("restore", source, "-o", tmp_path / "out.png", "--demo", *FAST, "--no-metadata")
    assert read_label(tmp_path / "out.png") is None


def test_a_folder_is_restored_with_captions_and_resumed(run, tmp_path):
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    make_picture(photos / "a.png")
    make_picture(photos / "b.jpg")
    (photos / "a.txt").write_text("a dog\n", encoding="utf-8")
    (photos / "notes.md").write_text("no picture", encoding="utf-8")
    assert run("restore", photos, "-o", out, "--demo", *FAST, "--stage1")[0] == 0
    assert sorted(file.name for file in out.iterdir()) == ["a.png", "a_stage1.png", "b.png", "b_stage1.png"]
    assert read_label(out / "a.png")["supir.caption"] == "a dog"
    assert read_label(out / "b.png")["supir.caption"] == ""
    (out / "a.png").unlink()
    kept = (out / "b.png").stat().st_mtime_ns
    code, said = run("restore", photos, "-o", out, "--demo", *FAST)
    assert code == 0
    assert "1 of 2 done already" in said
    assert (out / "a.png").exists()
    assert (out / "b.png").stat().st_mtime_ns == kept


def test_one_bad_picture_does_not_stop_the_others(run, tmp_path):
    (tmp_path / "bad.png").write_text("no picture", encoding="utf-8")
    good = make_picture(tmp_path / "good.png")
    code, said = run("restore", tmp_path / "bad.png", good, "-o", tmp_path / "out", "--demo", *FAST)
    assert code == 1
    assert "bad.png" in said
    assert "not a picture that can be read" in said
    assert (tmp_path / "out" / "good.png").exists()
    assert not list((tmp_path / "out").glob("*.part"))


def test_a_full_memory_names_what_helps(run, tmp_path, monkeypatch):
    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    for name in ("a.png", "b.png"):
        make_picture(tmp_path / name)
    monkeypatch.setattr("supir_core.command.weights.restore", full)
    code, said = run("restore", tmp_path / "a.png", tmp_path / "b.png", "-o", tmp_path / "out", "--demo", *FAST)
    assert code == 1
    assert said.count("--memory stream or --weights float8") == 2
    assert not list((tmp_path / "out").glob("*.png"))


def test_an_interrupt_keeps_what_is_done(run, tmp_path, monkeypatch):
    for name in ("a.png", "b.png"):
        make_picture(tmp_path / name)
    real, calls = weights.restore, []

    def interrupted(*args, **options):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*args, **options)

    monkeypatch.setattr("supir_core.command.weights.restore", interrupted)
    code, said = run("restore", tmp_path / "a.png", tmp_path / "b.png", "-o", tmp_path / "out", "--demo", *FAST)
    assert code == 130
    assert "resumes" in said
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["a.png"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a.png", "-o", "a.png"], "would overwrite it"),
        (["a.png", "a.jpg", "-o", "out.png"], "name a folder instead"),
        (["a.png", "-o", "out.jpg", "--format", "webp"], "name a file of .webp"),
        (["a.png", "-o", "out", "--quality", "80"], "for --format jpeg and webp"),
        (["a.png", "-o", "out", "--device", "banana"], "expected a device that is there"),
        (["a.png", "-o", "a.jpg/out"], "results cannot be written there"),
        (["empty", "-o", "out"], "no picture in this folder"),
        (["missing.png", "-o", "out"], "no such picture"),
        (["a.png", "-o", "out", "--tile", "100"], "multiple of 64"),
        (["a.png", "-o", "out.avif"], "name a file of .png"),
        (["a.png", "-o", "out", "--context", "nan"], "context must be within 1 to 4, got nan"),
        (["a.png", "-o", "out", "--feather", "-3"], "feather must be within 0 to 512, got -3"),
        (["a.png", "-o", "out", "--save-captions"], "name one with --captioner"),
        (["a.png", "-o", "s3://bucket/out", "--report"], "leave it out for those in a store"),
        (["a.png", "-o", "out", "--sdxl", "a.png", "--tokenizer", "t"], "leave out --sdxl and --tokenizer, or --demo"),
        (["a.png", "-o", "out", "--compile", "--memory", "stage"], "does not go with --memory stage"),
    ],
)
def test_mistakes_are_one_clear_line(run, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    for name in ("a.png", "a.jpg"):
        make_picture(tmp_path / name)
    code, err = run("restore", *arguments, "--demo")
    assert code == 1
    assert said in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "words", [["--meth", "instantir"], ["--method=instantir"], ["--method", "x", "--metho=instantir"]]
)
def test_the_method_is_known_however_its_option_is_written(words):
    assert method_in(["restore", "a.png", *words]) == "instantir"


def test_missing_weights_are_asked_for(run, tmp_path):
    source = make_picture(tmp_path / "a.png")
    code, err = run("restore", source, "-o", tmp_path / "out")
    assert code == 1
    assert "--sdxl FILE and --supir FILE expected" in err


def test_inspect_says_what_a_file_is(run, demo_model, tmp_path, capsys):
    assert cli.main(["inspect", str(demo_model.files[0])]) == 0
    assert "SDXL checkpoint" in capsys.readouterr().out
    (tmp_path / "notes.txt").write_text("notes", encoding="utf-8")
    save_file(
        {"double_blocks.0.a": torch.zeros(1), "single_blocks.0.a": torch.zeros(1)},
        tmp_path / "flux.safetensors",
    )
    for name, said in (
        ("notes.txt", "a text file"),
        ("flux.safetensors", "Flux model"),
        ("none", "not there"),
    ):
        code, err = run("inspect", tmp_path / name)
        assert code == 1
        assert said in err
        assert err.count("\n") == 1


def test_the_module_is_the_command():
    done = subprocess.run([sys.executable, "-m", "supir_core", "--help"], capture_output=True, text=True, check=True)
    assert "restore" in done.stdout


def test_pictures_are_read_as_a_viewer_shows_them(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    make_picture(tmp_path / "side.jpg", size=(40, 30), exif=exif)
    assert read_picture(tmp_path / "side.jpg").shape == (1, 3, 40, 30)
    make_picture(tmp_path / "alpha.png", mode="RGBA")
    assert read_picture(tmp_path / "alpha.png").shape == (1, 4, 30, 40)
    make_picture(tmp_path / "grey.png", mode="L")
    assert read_picture(tmp_path / "grey.png").shape == (1, 3, 30, 40)
    deep = np.linspace(0, 65535, 12).astype(np.uint16).reshape(3, 4)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    expected = torch.from_numpy(deep.astype(np.float32)) / 65535
    assert torch.allclose(read_picture(tmp_path / "deep.png")[0, 0], expected)


def test_a_truncated_picture_is_refused(tmp_path):
    whole = make_picture(tmp_path / "a.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UnreadablePictureError, match="not a picture that can be read"):
        read_picture(tmp_path / "cut.png")


def test_the_preset_follows_the_weights_unless_one_is_named(run, tmp_path):
    source = make_picture(tmp_path / "a.png", size=(24, 16))
    for number, more in enumerate(([], ["--preset", "demo"], ["--preset", "fidelity", "--steps", "1"])):
        assert run("restore", source, "-o", tmp_path / f"{number}.png", "--demo", "--scale", "1", *more)[0] == 0
    made = [json.loads(read_label(tmp_path / f"{number}.png")["supir.settings"]) for number in range(3)]
    assert made[0] == made[1]
    assert made[0]["steps"] == 2
    assert made[2]["cfg"] == {"start": 1.0, "end": 4.0}


def test_verbose_shows_where_an_error_came_from(run, tmp_path, monkeypatch):
    (tmp_path / "bad.png").write_text("no picture", encoding="utf-8")
    options = [tmp_path / "bad.png", "-o", tmp_path / "out", "--demo", "--verbose"]
    shown = []
    monkeypatch.setattr("supir_core.command.report.log.debug", lambda *_, exc_info: shown.append(exc_info))
    assert run("restore", *options)[0] == 1
    assert isinstance(shown[0], UnreadablePictureError)


def test_names_that_a_terminal_cannot_show_are_written_and_closed_streams_do_no_harm(run, tmp_path, monkeypatch):
    latin = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", latin)
    monkeypatch.setattr(sys, "stderr", None)
    monkeypatch.setattr(
        "supir_core.command.commands._doctor", lambda _: sys.stdout.write("日本") and sys.stderr.write("")
    )
    assert cli.main(["doctor"]) == 0
    latin.flush()
    assert latin.buffer.getvalue() == rb"\u65e5\u672c"


def test_a_batch_goes_on_where_the_reader_of_its_json_ends(run, tmp_path, monkeypatch):
    sources = [make_picture(tmp_path / name, (24, 16)) for name in ("a.png", "b.png")]
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        code, said = run("restore", *sources, "-o", tmp_path / "out", "--demo", *FAST, "--json")
    assert (code, said.count("going on without --json")) == (0, 1)
    assert len(list((tmp_path / "out").iterdir())) == 2


def test_quiet_says_nothing_where_nothing_fails(run, tmp_path):
    source = make_picture(tmp_path / "a.png")
    assert run("restore", source, "-o", tmp_path / "out", "--demo", *FAST, "--quiet") == (0, "")


@pytest.mark.parametrize(
    ("suffix", "more", "kind"),
    [
        (".jpg", [], "JPEG"),
        (".tif", [], "TIFF"),
        (".webp", ["--quality", "80"], "WEBP"),
        ("", ["--format", "webp"], "WEBP"),
    ],
)
def test_results_are_of_the_format_that_is_asked_for_and_done_in_it(run, tmp_path, suffix, more, kind):
    source, out = make_picture(tmp_path / "a.png"), tmp_path / f"out{suffix}"
    command = ["restore", source, "-o", out, "--demo", *FAST, *more]
    assert run(*command)[0] == 0
    assert Image.open(out if suffix else out / "a.webp").format == kind
    assert "1 of 1 done already" in run(*command)[1]


def test_the_command_starts_without_pytorch():
    program = "import sys, supir_core.command.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
