"""What the README says holds."""

import re
import shutil
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement

import supir_core
from supir_core.command.demo import DAMAGED_FILE, SDXL_FILE, SUPIR_FILE, TOKENIZER_FOLDER, WEIGHTS
from supir_core.supir import model
from supir_core.supir.settings import PRESETS, preset

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("page", ["README.md", "docs/library.md"])
def test_the_example_runs_as_pasted(tmp_path, monkeypatch, page):
    """With the demo weights under the names of the real ones, and fewer steps."""
    (example, *_) = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)
    for name, source in (
        ("sdxl.safetensors", SDXL_FILE),
        ("SUPIR-v0Q.ckpt", SUPIR_FILE),
        ("photo.jpg", DAMAGED_FILE),
    ):
        shutil.copy(WEIGHTS / source, tmp_path / name)
    tokenizer = model.load_tokenizer(WEIGHTS / TOKENIZER_FOLDER)
    monkeypatch.setattr(model, "load_tokenizer", lambda source: tokenizer)
    monkeypatch.setitem(PRESETS, "quality", preset("demo"))
    monkeypatch.chdir(tmp_path)
    exec(example, {})
    damaged, restored = (supir_core.read_picture(tmp_path / name) for name in ("photo.jpg", "restored.png"))
    assert restored.shape[2:] == torch.Size(2 * side for side in damaged.shape[2:])


def test_what_comfyui_manager_installs_exists_on_every_platform():
    """bitsandbytes has no wheels for Macs but the newest."""
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    required = [Requirement(line) for line in lines if not line.startswith("#")]

    def on(platform):
        return {some.name for some in required if not some.marker or some.marker.evaluate({"sys_platform": platform})}

    assert on("linux") == on("win32") == {"accelerate", "bitsandbytes", "ftfy"}
    assert on("darwin") == {"accelerate", "ftfy"}
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert all(str(some).replace('"', "'") in project.replace('"', "'") for some in required)


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) < 900


def test_the_version_is_the_packages():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert re.findall(r'^version = "(.*)"', text, re.MULTILINE) == [supir_core.__version__]


def test_links_lead_somewhere():
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("demo/*.md")]:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), (page.name, target)
