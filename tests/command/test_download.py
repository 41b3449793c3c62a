import os
import subprocess
import sys
from pathlib import Path

import pytest

from supir_core.command import cli
from supir_core.command.models import MODELS
from supir_core.sdxl.text import load_tokenizer
from tools.workflows.models import FACES, LIGHTNING, SOURCES, UPSCALER

from .hub import hub_of
from .test_cli import make_picture

ROOT = Path(__file__).parents[2]
TOKENIZER = ROOT / "demo" / "tokenizer"
SDXL = "sd_xl_base_1.0_0.9vae.safetensors"
SUPIR = "SUPIR-v0Q_fp16.safetensors"


def contents():
    """A few bytes for every file of every model; the tokenizer's own."""
    files = {}
    for model in MODELS.values():
        for repository, pattern, *_ in model.sources:
            content = (TOKENIZER / pattern).read_bytes() if "clip" in repository else f"{repository} {pattern}".encode()
            files[repository, pattern.replace("*", "model")] = content
    files["Kijai/SUPIR_pruned", SUPIR] = bytes(range(256)) * 1024
    files["llava-hf/llava-1.5-13b-hf", "onnx/other.json"] = b"not asked for"
    return files


@pytest.fixture
def hub():
    with hub_of(contents()) as hub:
        yield hub


def run(endpoint, *arguments):
    """The command in a process of its own, as the hub's address is read once; gives the exit code, stdout and stderr."""
    return call("download", *arguments, HF_ENDPOINT=endpoint)


def call(*arguments, **environment):
    environment = {**os.environ, "NO_PROXY": "127.0.0.1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", **environment}
    command = [sys.executable, "-m", "supir_core", *map(str, arguments)]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def tree(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_models_and_the_tokenizer_come_into_a_folder_once(hub, tmp_path):
    code, out, said = run(hub.endpoint, "sdxl", "SUPIR-v0Q", "-o", tmp_path)
    assert code == 0, said
    assert tree(tmp_path) == [SUPIR, SDXL, "tokenizer/merges.txt", "tokenizer/vocab.json"]
    assert (tmp_path / SUPIR).read_bytes() == hub.files["Kijai/SUPIR_pruned", SUPIR]
    assert out.splitlines() == [
        str(tmp_path / name) for name in (SDXL, "tokenizer/vocab.json", "tokenizer/merges.txt", SUPIR)
    ]
    assert said.count("non-commercial") == 1
    assert (
        load_tokenizer(tmp_path / "tokenizer")("a harbour").input_ids
        == load_tokenizer(TOKENIZER)("a harbour").input_ids
    )
    asked = len(hub.asked)
    code, _, said = run(hub.endpoint, "sdxl", "supir-v0q", "-o", tmp_path)
    assert (code, len(hub.asked), said.count("there already")) == (0, asked, 4)


def test_what_was_downloaded_restores_without_a_network(hub, tmp_path):
    demo = {"stabilityai/stable-diffusion-xl-base-1.0": (SDXL, "sdxl"), "Kijai/SUPIR_pruned": (SUPIR, "supir")}
    for repository, (name, short) in demo.items():
        hub.files[repository, name] = (ROOT / "demo" / f"demo_{short}.safetensors").read_bytes()
    code, _, said = run(hub.endpoint, "sdxl", "supir-v0q", "-o", tmp_path)
    assert code == 0, said
    source, result = make_picture(tmp_path / "a.png", (24, 16)), tmp_path / "out.png"
    weights = ["--sdxl", tmp_path / SDXL, "--supir", tmp_path / SUPIR, "--preset", "demo", "--steps", "1"]
    empty = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "cache")}
    code, _, said = call("restore", source, "-o", result, *weights, "--min-side", "64", **empty)
    assert code == 0, said
    assert result.exists()


def test_comfyui_finds_every_file(hub, tmp_path):
    (tmp_path / "models").mkdir()
    code, _, said = run(hub.endpoint, *MODELS, "--comfyui", tmp_path)
    assert code == 0, said
    ours = {f"{source.folder}/{name}" for name, source in SOURCES.items() if name not in (LIGHTNING, UPSCALER, FACES)}
    llava = {f"LLM/llava-1.5-13b-hf/model.{ending}" for ending in ("safetensors", "json", "model", "jinja")}
    assert set(tree(tmp_path / "models")) == ours | llava


def test_a_transfer_that_broke_off_goes_on(hub, tmp_path):
    content = hub.files["Kijai/SUPIR_pruned", SUPIR] * 64  # 16 MiB, as the client writes 10 at a time
    hub.files["Kijai/SUPIR_pruned", SUPIR] = content
    hub.cut = len(content) - 1000
    code, _, said = run(hub.endpoint, "supir-v0q", "-o", tmp_path)
    assert code == 1
    (part,) = tmp_path.iterdir()
    came = part.stat().st_size
    assert 0 < came <= hub.cut
    assert f"{SUPIR}: the transfer broke off at {came:,} of {len(content):,} bytes; the same command goes on" in said
    hub.cut, hub.asked[:] = None, []
    code, _, said = run(hub.endpoint, "supir-v0q", "-o", tmp_path)
    assert code == 0, said
    assert hub.asked == [(SUPIR, f"bytes={came}-")]
    assert tree(tmp_path) == [SUPIR]
    assert (tmp_path / SUPIR).read_bytes() == content


@pytest.mark.parametrize(
    ("served", "why"),
    [
        (b"\1" * 262_144, "does not have the hash"),
        (b"\0" * 1000, "expected 262,144 bytes, got 1,000"),
    ],
)
def test_what_is_not_as_the_hub_says_is_refused_and_removed(hub, tmp_path, served, why):
    hub.serve[SUPIR] = served
    code, out, said = run(hub.endpoint, "supir-v0q", "-o", tmp_path)
    assert (code, out) == (1, "")
    assert why in said
    assert tree(tmp_path) == []


def test_another_file_of_the_name_is_left_alone(hub, tmp_path):
    (tmp_path / SUPIR).write_bytes(b"mine")
    code, _, said = run(hub.endpoint, "supir-v0q", "-o", tmp_path)
    assert (code, (tmp_path / SUPIR).read_bytes(), hub.asked) == (1, b"mine", [])
    assert "move it away" in said


def test_the_list_says_what_there_is_and_how_large(hub):
    hub.files["Kijai/SUPIR_pruned", SUPIR] = b"\0" * 100_000_000
    code, out, _ = run(hub.endpoint, "--list")
    assert code == 0
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert list(lines) == list(MODELS)
    assert " 0.1 GB " in lines["supir-v0q"]
    assert [name for name, line in lines.items() if "non-commercial" in line] == ["supir-v0q", "supir-v0f"]


def test_a_hub_that_does_not_answer_is_one_line():
    nowhere = "http://127.0.0.1:9"
    code, out, said = run(nowhere, "--list")
    assert (code, said.count("\n"), len(out.splitlines())) == (1, 1, len(MODELS))
    assert said.startswith(f"error: {nowhere} has no answer on stabilityai/stable-diffusion-xl-base-1.0 (")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["sd15", "-o", "x"], 'error: no model "sd15"; there are sdxl, supir-v0q, supir-v0f, instantir, dinov2, llava'),
        (["-o", "x"], "error: expected which models to download: sdxl,"),
        (["sdxl", "--comfyui", "x"], "error: x: expected ComfyUI's folder, which has a folder named models"),
    ],
)
def test_what_cannot_be_asked_for_is_one_line(arguments, why, capsys):
    assert cli.main(["download", *arguments]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith(why)
