"""``supir demo``."""

import re
import sys

from PIL import Image

from supir_core.command import cli
from supir_core.files.metadata import read_label
from supir_core.supir.settings import preset

KINDS = ("enlarged", "restored")


def test_the_demo_shows_noise_first_and_then_the_mixture(demo_model, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("supir_core.command.demo.load_demo_model", lambda: demo_model)
    folder = tmp_path / "demo"
    assert cli.main(["demo", "-o", str(folder)]) == 0
    told = capsys.readouterr().out
    gains = {}
    for damage in ("noise 40", "blur, noise, JPEG"):
        enlarged, restored = (float(re.search(f"{damage}: {kind} +PSNR ([0-9.]+)", told)[1]) for kind in KINDS)
        gains[damage] = restored - enlarged
    assert list(gains) == sorted(gains, key=lambda damage: told.index(damage))
    assert gains["noise 40"] > 4 > gains["blur, noise, JPEG"] > 0.6, gains  # measured: 4.28 and 0.80 dB
    sizes = {str(file.relative_to(folder)): Image.open(file).size for file in folder.rglob("*.png")}
    each = {"damaged.png": (128, 128), "stage1.png": (512, 512), "restored.png": (512, 512)}
    assert sizes == {
        **{f"{damage}/{name}": size for damage in ("noise", "mixture") for name, size in each.items()},
        "side_by_side.png": (2088, 1140),
    }
    assert "supir.seed" in read_label(folder / "noise" / "restored.png")


def test_without_scikit_image_the_demo_restores_the_picture_of_the_repository(run, tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "skimage", None)
    monkeypatch.setattr("supir_core.command.demo.DEMO_SETTINGS", preset("fidelity", steps=1))
    assert run("demo", "-o", tmp_path / "demo")[0] == 0
    assert Image.open(tmp_path / "demo" / "side_by_side.png").size == (1568, 574)
    assert "scikit-image is not installed" in caplog.text
