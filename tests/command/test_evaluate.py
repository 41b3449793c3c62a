import json
import sys
from urllib.error import URLError

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from supir_core.command import weights
from supir_core.command.settings import settings_named

from ..tiny_upscaler import save_upscaler
from .stub import stub

GAUSSIAN = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*_, **__):
        raise URLError("no connection")

    monkeypatch.setattr("torch.hub.load_state_dict_from_url", refuse)


def table(folder):
    rows = json.loads((folder / "table.json").read_text(encoding="utf-8"))
    return {(row["setting"], row["method"], row["metric"]): row for row in rows}


def pixels(path):
    return np.asarray(Image.open(path).convert("RGB")) / 255


def by_skimage(out, setting, method, names=("a", "b"), seeds=(0,)):
    """PSNR and SSIM of the pictures in a folder of results, computed from the files."""
    psnr, ssim = [], []
    for seed in seeds:
        for name in names:
            picture = pixels(out / "restored" / setting / method / f"seed{seed}" / f"{name}.png")
            original = pixels(out / "reference" / f"{name}.png")
            psnr.append(peak_signal_noise_ratio(original, picture, data_range=1))
            ssim.append(structural_similarity(original, picture, channel_axis=2, data_range=1, **GAUSSIAN))
    return psnr, ssim


def test_the_table_has_skimages_numbers(run, clean, tmp_path, no_network):
    """Enlargement, an upscaler and the demo weights on the same damaged pictures; LPIPS has no weights here."""
    out = tmp_path / "out"
    upscaler = save_upscaler(tmp_path / "tiny.pth")
    methods = {"bicubic": "bicubic", str(upscaler): "tiny", "supir": "supir"}
    asked = [word for method in methods for word in ("--method", method)]
    metrics = [word for metric in ("psnr", "ssim", "lpips") for word in ("--metric", metric)]
    code, said = run("evaluate", clean, "-o", out, "--demo", "--setting", "blur_sr4_noise_jpeg", *asked, *metrics)
    assert code == 0
    assert "lpips is left out: it could not be loaded" in said
    rows = table(out)
    assert {metric for _, _, metric in rows} == {"psnr", "ssim"}
    for name in methods.values():
        for metric, values in zip(("psnr", "ssim"), by_skimage(out, "blur_sr4_noise_jpeg", name), strict=True):
            row = rows["blur_sr4_noise_jpeg", name, metric]
            tolerance = {"psnr": 0.01, "ssim": 0.001}[metric]
            assert row["mean"] == pytest.approx(np.mean(values), abs=tolerance)
            assert row["spread"] == pytest.approx(np.std(values), abs=tolerance)
            assert row["n"] == 2
    for name in ("table.md", "table.csv", "index.html"):
        assert "tiny" in (out / name).read_text(encoding="utf-8")
    assert "lpips is left out" in (out / "table.md").read_text(encoding="utf-8")


def test_results_are_kept_and_made_anew_where_something_changed(run, clean, tmp_path):
    out, mine = tmp_path / "out", tmp_path / "settings.json"
    mine.write_text('{"preset": "demo", "steps": 1, "cfg": [1.5, 2]}', encoding="utf-8")
    command = ["evaluate", clean, "-o", out, "--demo", "--setting", "sr4", "--method", "bicubic", "--method"]
    command += [f"supir:{mine}"]
    assert run(*command)[0] == 0
    restored = [*(out / "restored").rglob("*.png")]
    written = {path: path.stat().st_mtime_ns for path in restored}
    assert len(restored) == 4
    assert "2 of 2 done already" in run(*command)[1]
    assert {path: path.stat().st_mtime_ns for path in restored} == written
    mine.write_text('{"preset": "demo", "steps": 2}', encoding="utf-8")
    assert "steps 1 instead of 2" in run(*command)[1]
    changed = {path for path in restored if path.stat().st_mtime_ns != written[path]}
    assert changed == {path for path in restored if "bicubic" not in path.parts}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"preset": ["paper"]}', "expected quality, fidelity, paper"),
        ('\ufeff{"cfg": "high"}', "cfg must be"),
        ("{}", r"a.json: expected JSON \('utf-8' codec"),
        ('{"cfg": [null, 1]}', "cfg must be"),
        ('{"control": {"start": 1, "end": 1}}', "control must be one number, or two for start and end"),
    ],
)
def test_settings_of_a_wrong_kind_are_named(tmp_path, text, message):
    (tmp_path / "a.json").write_text(text, encoding="utf-16" if text == "{}" else "utf-8")
    with pytest.raises(ValueError, match=message):
        settings_named("supir", str(tmp_path / "a.json"), demo=True)


def test_a_metric_that_a_picture_is_too_small_for_is_named(run, tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    code, said = run("evaluate", tmp_path / "a.png", "-o", tmp_path / "out", "--setting", "sr4")
    assert (code, "ssim cannot be taken of a picture of 8x8 pixels" in said) == (1, True)


def test_a_file_with_an_equals_sign_in_its_name_is_a_method(run, clean, tmp_path):
    file = save_upscaler(tmp_path / "scale=2.pth")
    methods = ["--method", file, "--method", f"mine={file}", "--method", "..=bicubic"]
    assert run("evaluate", clean, "-o", tmp_path / "out", "--setting", "sr4", "--metric", "psnr", *methods)[0] == 0
    assert {method for _, method, _ in table(tmp_path / "out")} == {"scale=2", "mine", ".."}
    assert {path.name for path in (tmp_path / "out/restored/sr4").iterdir()} == {"scale_2", "mine", "_"}


def test_several_seeds_are_in_mean_and_spread(run, clean, tmp_path):
    out = tmp_path / "out"
    command = ["evaluate", clean, "-o", out, "--setting", "sr4_noise", "--metric", "psnr"]
    assert run(*command, "--seed", "0", "--seed", "7")[0] == 0
    row = table(out)["sr4_noise", "bicubic", "psnr"]
    values, _ = by_skimage(out, "sr4_noise", "bicubic", seeds=(0, 7))
    assert row["n"] == 4
    assert row["mean"] == pytest.approx(np.mean(values), abs=0.01)
    assert row["spread"] == pytest.approx(np.std(values), abs=0.01)


def test_stage_1_is_measured_where_asked(run, clean, tmp_path):
    out = tmp_path / "out"
    command = ["evaluate", clean / "a.png", "-o", out, "--demo", "--setting", "sr4", "--method", "supir", "--stage1"]
    assert run(*command, "--metric", "psnr")[0] == 0
    assert {method for _, method, _ in table(out)} == {"supir", "supir stage 1"}


def test_both_methods_have_their_settings_seeds_and_captions(run, clean, tmp_path, monkeypatch):
    """With a stub in place of the networks that notes what it is asked for."""
    asked, files = [], []
    for name in ("sdxl", "supir", "adapter", "aggregator", "previewer"):
        (tmp_path / name).touch()
        files += [f"--{name}", tmp_path / name]
    (tmp_path / "picture.png").write_bytes((clean / "a.png").read_bytes())
    (tmp_path / "picture.txt").write_text("a woman", encoding="utf-8")

    def noted(picture, settings, **given):
        asked.append((settings.method, settings.steps, settings.seed, given["size"], given["caption"]))
        return stub(picture, settings, **given)

    monkeypatch.setattr(weights.Weights, "restorer", lambda self: noted)
    monkeypatch.setattr(weights.Weights, "hashes", {"weights": "0"})
    command = ["evaluate", tmp_path / "picture.png", "-o", tmp_path / "out", *files, "--setting", "sr8", "--seed", "4"]
    methods = ["--method", "supir:paper", "--method", "instantir"]
    assert run(*command, *methods, "--metric", "psnr")[0] == 0
    assert asked == [("SUPIR", 100, 4, (64, 80), ("a woman",)), ("InstantIR", 30, 4, (64, 80), ("a woman",))]
    rows = table(tmp_path / "out")
    assert rows["sr8", "supir:paper", "psnr"]["mean"] == rows["sr8", "instantir", "psnr"]["mean"]


def test_damaged_pictures_with_their_clean_ones_and_results_made_elsewhere(run, clean, tmp_path):
    """Results are found by their names' beginning and taken to the size of the clean part."""
    damaged, elsewhere, out = tmp_path / "damaged", tmp_path / "elsewhere", tmp_path / "out"
    run("degrade", clean, "-o", damaged, "--setting", "sr4")
    (damaged / "manifest.json").unlink()
    elsewhere.mkdir()
    for name in ("a", "b"):
        with Image.open(damaged / f"{name}.png") as picture:
            wide, high = picture.size
            picture.resize((wide * 8, high * 8), Image.Resampling.NEAREST).save(elsewhere / f"{name}_out.png")
    command = ["evaluate", damaged, "-o", out, "--reference", clean, "--metric", "psnr"]
    assert run(*command, "--method", "bicubic", "--method", f"Nearest={elsewhere}")[0] == 0
    rows = table(out)
    assert Image.open(out / "restored/given/Nearest/seed0/b.png").size == (64, 64)
    assert rows["given", "Nearest", "psnr"]["mean"] < rows["given", "bicubic", "psnr"]["mean"]
    assert rows["given", "Nearest", "psnr"]["mean"] == pytest.approx(
        np.mean(by_skimage(out, "given", "Nearest")[0]), abs=0.01
    )


def test_damaged_pictures_alone_have_a_page_and_no_distances(run, clean, tmp_path):
    out = tmp_path / "out"
    code, said = run("evaluate", clean, "-o", out, "--scale", "3", "--metric", "psnr", "--metric", "niqe")
    assert code == 0
    assert "psnr is left out: it compares with clean pictures" in said
    assert table(out) == {}
    assert Image.open(out / "restored/given/bicubic/seed0/a.png").size == (240, 192)


def test_a_picture_that_cannot_be_read_does_not_stop_the_others(run, clean, tmp_path):
    pictures = tmp_path / "in"
    pictures.mkdir()
    (pictures / "a.png").write_bytes((clean / "a.png").read_bytes())
    (pictures / "bad.png").write_bytes(b"no picture")
    code, said = run("evaluate", pictures, "-o", tmp_path / "out", "--setting", "sr4", "--metric", "psnr")
    assert code == 1
    assert "bad.png: " in said
    assert table(tmp_path / "out")["sr4", "bicubic", "psnr"]["n"] == 1


def test_a_protocol_prints_the_published_numbers_beside_ours(run, clean, tmp_path):
    out = tmp_path / "out"
    command = ["evaluate", clean / "a.png", "-o", out, "--protocol", "supir-table1", "--metric", "psnr", "--demo"]
    assert run(*command, "--method", f"Real-ESRGAN={save_upscaler(tmp_path / 'tiny.pth')}")[0] == 0
    rows = table(out)
    assert {setting for setting, _, _ in rows} == {"sr4", "sr8", "blur_sr4", "sr4_noise", "blur_sr4_noise_jpeg"}
    ours = rows["sr4", "Real-ESRGAN", "psnr"]
    assert ours["published"] == 24.26
    assert ours["difference"] == pytest.approx(ours["mean"] - 24.26)
    assert "published" not in rows["sr4_noise", "Real-ESRGAN", "psnr"]
    text = (out / "table.md").read_text(encoding="utf-8")
    assert f"({ours['difference']:+.2f})" in text
    assert "| SUPIR, published | 22.66 |" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--method", "esrgan.pth"], "no such file or folder"),
        (["--method", "supir:best", "--demo"], "expected quality, fidelity, paper"),
        (["--method", "instantir"], "--sdxl FILE"),
        (["--method", "bicubic", "--method", "bicubic=bicubic"], "two methods have the same name, as folders go"),
        (["--metric", "psrn"], 'got "psrn"'),
        (["--reference", "."], "leave out it or --setting"),
    ],
)
def test_what_cannot_work_is_said_before_anything_is_done(run, clean, tmp_path, words, message):
    code, said = run("evaluate", clean, "-o", tmp_path / "out", "--setting", "sr4", *words)
    assert code == 1 and message in said
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_no_upscaler_is_said_at_once(run, clean, tmp_path):
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pth")
    command = ["evaluate", clean, "-o", tmp_path / "out", "--setting", "sr4", "--method", tmp_path / "other.pth"]
    code, said = run(*command)
    assert code == 1 and "expected an upscaler that spandrel knows" in said


@pytest.mark.parametrize("package", ["spandrel", "piq"])
def test_a_missing_package_is_named(run, clean, tmp_path, monkeypatch, package):
    file = save_upscaler(tmp_path / "tiny.pth")
    monkeypatch.setitem(sys.modules, package, None)
    command = ["evaluate", clean, "-o", tmp_path / "out", "--setting", "sr4"]
    _, said = run(*command, *(["--method", file] if package == "spandrel" else []))
    assert f"needs {package}, of the extra evaluate: pip install {package}" in said
