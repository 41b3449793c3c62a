"""Captioners on small models of real families, loaded by the code that loads the real ones."""

import importlib.util
import json
import re
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from supir_core.captions.models import CaptionerError, load_captioner, weight_bytes
from supir_core.captions.protocol import Request, tile_pictures
from supir_core.sdxl.memory import MemoryFullError
from supir_core.supir.settings import Settings

from ..tiny_captioners import MAKERS, WORDS

SHORT = Request(max_tokens=12)
SAMPLED = replace(SHORT, temperature=1.0, seed=3)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {name: make(tmp_path_factory.mktemp(name)) for name, make in MAKERS.items()}


@pytest.fixture(scope="module", params=MAKERS)
def captioner(folders, request):
    return load_captioner(folders[request.param], device="cpu")


@pytest.fixture(scope="module")
def llava(folders):
    return load_captioner(folders["llava"], device="cpu")


@pytest.fixture
def pictures():
    return [torch.rand(3, 40, 50), torch.rand(3, 70, 30), torch.zeros(3, 60, 60)]


def words(text):
    return text.lower().split()


def test_a_picture_is_described_in_words_and_each_differently(captioner, pictures):
    texts = captioner.caption(pictures, SHORT)
    assert all(set(words(text)) <= set(WORDS) for text in texts)
    assert len({*texts}) == 3
    assert all(0 < len(words(text)) <= 12 for text in texts)


def test_the_same_words_again_and_one_by_one(captioner, pictures):
    texts = captioner.caption(pictures, SHORT)
    torch.rand(7)  # other random numbers were drawn in between
    assert captioner.caption(pictures, SHORT) == texts
    assert [captioner.caption([picture], SHORT)[0] for picture in pictures] == texts


def test_sampling_follows_its_seed_and_leaves_other_random_numbers_alone(llava, pictures):
    state = torch.get_rng_state()
    texts = llava.caption(pictures, SAMPLED)
    assert torch.equal(torch.get_rng_state(), state)
    assert llava.caption(pictures, SAMPLED) == texts
    assert llava.caption(pictures, replace(SAMPLED, seed=4)) != texts


def test_the_instruction_counts(llava, pictures):
    asked = replace(SHORT, instruction="house with a red door")
    assert llava.caption(pictures, asked) != llava.caption(pictures, SHORT)


def test_every_token_is_told_and_can_stop_the_work(llava, pictures):
    told = []
    (text,) = llava.caption(pictures[:1], SHORT, lambda: told.append(1))
    assert len(words(text)) <= len(told) <= 12

    def stop():
        told.append(1)
        if len(told) == 3:
            raise KeyboardInterrupt

    told.clear()
    with pytest.raises(KeyboardInterrupt):
        llava.caption(pictures, SHORT, stop)
    assert len(told) == 3


def test_transparency_and_size_are_no_matter(llava):
    large = torch.rand(1, 4, 16, 20).repeat_interleave(100, 2).repeat_interleave(100, 3)[0]
    assert llava.caption([large], SHORT) == llava.caption([large[:3]], SHORT)


@pytest.mark.parametrize("precision", ["8bit", "4bit"])
def test_weights_of_few_bits_take_less_memory_and_still_speak(captioner, folders, pictures, precision):
    pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")
    pytest.importorskip("accelerate", reason="accelerate is not installed")
    family = captioner.network.config.model_type
    small = load_captioner(folders[{"qwen2_vl": "qwen"}.get(family, family)], precision, "cpu")
    texts = small.caption(pictures, SHORT)
    assert small.caption(pictures, SHORT) == texts
    assert all(words(text) for text in texts)
    size, whole = (model.network.get_memory_footprint() for model in (small, captioner))
    assert size < (0.7 if precision == "8bit" else 0.6) * whole


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_weights_have_the_type_asked_for(folders, precision):
    captioner = load_captioner(folders["llava"], precision, "cpu")
    assert captioner.network.dtype is getattr(torch, precision)
    assert captioner.caption([torch.zeros(3, 30, 30)], SHORT)[0]


def test_a_model_may_be_spread(folders, llava, pictures):
    pytest.importorskip("accelerate", reason="accelerate is not installed")
    spread = load_captioner(folders["llava"], "float32", "spread")
    assert spread.caption(pictures, SHORT) == llava.caption(pictures, SHORT)


def test_the_memory_is_known_beforehand(folders, llava):
    real = sum(weight.nbytes for weight in llava.network.parameters())
    assert weight_bytes(folders["llava"], "auto", "cpu") == real
    assert weight_bytes(folders["llava"], "bfloat16", "cpu") == real / 2
    assert weight_bytes(folders["llava"], "4bit", "cpu") < weight_bytes(folders["llava"], "8bit", "cpu") < real / 3


def test_a_missing_model_says_what_to_download(tmp_path):
    for act in (load_captioner, lambda source: weight_bytes(source, "auto", "cpu")):
        with pytest.raises(CaptionerError, match=r"no captioner at .*nothing.*hf download llava-hf/"):
            act(tmp_path / "nothing")


def test_a_model_that_sees_nothing_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}', encoding="utf-8")
    with pytest.raises(CaptionerError, match="image-text-to-text"):
        weight_bytes(tmp_path, "auto", "cpu")


def test_incomplete_weights_are_refused(folders, tmp_path):
    for file in folders["llava"].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = load_file(tmp_path / "model.safetensors")
    gone = next(key for key in sorted(weights) if "multi_modal_projector" in key)
    del weights[gone]
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(CaptionerError, match=r"1 weights of the model are missing.*projector.*original form"):
        load_captioner(tmp_path, device="cpu")


@pytest.mark.parametrize(("name", "content"), [("model.safetensors", b"<html>"), ("tokenizer_config.json", b"[]")])
def test_files_that_are_damaged_say_what_to_download(folders, tmp_path, name, content):
    for file in folders["llava"].iterdir():
        (tmp_path / file.name).write_bytes(content if file.name == name else file.read_bytes())
    with pytest.raises(CaptionerError, match=r"no captioner at .*hf download llava-hf/"):
        load_captioner(tmp_path, device="cpu")


def test_a_model_without_a_chat_template_is_refused(folders, tmp_path):
    for file in folders["llava"].iterdir():
        if "chat_template" not in file.name:
            (tmp_path / file.name).write_bytes(file.read_bytes())
    assert "chat_template" not in json.loads((tmp_path / "processor_config.json").read_text(encoding="utf-8"))
    with pytest.raises(CaptionerError, match="chat template"):
        load_captioner(tmp_path, device="cpu")


def test_a_missing_package_comes_with_the_command_that_installs_it(folders, monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "bitsandbytes" else real(name, *rest)
    )
    with pytest.raises(CaptionerError, match=r'4bit weights need.*-m pip install (.*)"bitsandbytes>=0\.45"'):
        load_captioner(folders["llava"], "4bit", "cpu")


def test_an_unknown_precision_is_refused(folders):
    with pytest.raises(ValueError, match=r'one of auto, .*4bit, got "2bit"'):
        load_captioner(folders["llava"], "2bit", "cpu")


@pytest.mark.parametrize("device", ["banana", "meta", "cuda:77"])
def test_a_device_that_cannot_compute_is_refused(folders, device):
    with pytest.raises(ValueError, match="expected a device that is there and computes"):
        load_captioner(folders["llava"], device=device)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"instruction": None}, "instruction must be text, got None"),
        ({"max_tokens": 0}, "max_tokens must be within 1 to 4096, got 0"),
        ({"temperature": -1.0}, "temperature must be within 0 to 2, got -1.0"),
        ({"temperature": float("nan")}, "temperature must be within 0 to 2, got nan"),
        ({"seed": 2**64}, "seed must be within 0 to"),
    ],
)
def test_a_request_that_cannot_be_met_is_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        Request(**wrong)


def test_a_mark_of_the_model_in_the_instruction_is_refused(captioner, pictures):
    mark = captioner.processor.image_token
    with pytest.raises(
        ValueError, match=rf'own marks such as <image>, .*, got "what is {re.escape(mark)}" and .* 50x40'
    ):
        captioner.caption(pictures[:1], replace(SHORT, instruction=f"what is {mark}"))


@pytest.mark.parametrize(
    ("wrong", "got"),
    [
        (torch.rand(1, 3, 8, 8), r"\(1, 3, 8, 8\) of torch.float32"),
        (torch.rand(1, 8, 8), r"\(1, 8, 8\)"),
        (torch.zeros(3, 8, 8, dtype=torch.uint8), r".* of torch.uint8"),
        (torch.rand(3, 0, 8), r"\(3, 0, 8\)"),
        ("a.png", "str"),
    ],
)
def test_a_picture_of_another_form_is_refused(llava, wrong, got):
    with pytest.raises(ValueError, match=rf"each a tensor \(3, H, W\) of floats in \[0, 1\], got one that is {got}"):
        llava.caption([wrong], SHORT)


def test_no_pictures_have_no_captions(llava):
    assert llava.caption([], SHORT) == []


def test_a_full_memory_says_what_takes_less(folders, llava, pictures, monkeypatch):
    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(type(llava.network), "generate", full)
    with pytest.raises(MemoryFullError, match=r"while pictures are described\. Take 8bit or 4bit weights"):
        llava.caption(pictures, SHORT)
    monkeypatch.setattr(type(llava.network), "to", full)
    with pytest.raises(MemoryFullError, match=r"while the captioner is read\. Take 8bit or 4bit weights"):
        load_captioner(folders["llava"], device="cpu")


def test_tiles_are_cut_in_their_order_and_without_padding():
    rows, columns = torch.meshgrid(torch.arange(150.0), torch.arange(200.0), indexing="ij")
    stage1 = torch.stack([rows, columns, rows])[None]
    tiles = tile_pictures(stage1, Settings(tile=128, overlap=32))  # 128 pixels, 32 shared; the canvas has 192 x 256
    corners = [tuple(tile[:2, 0, 0].int().tolist()) for tile in tiles]
    assert corners == [(0, 0), (0, 96), (0, 128), (64, 0), (64, 96), (64, 128)]
    assert [tuple(tile.shape[1:]) for tile in tiles] == [
        (128, 128),
        (128, 104),
        (128, 72),
        (86, 128),
        (86, 104),
        (86, 72),
    ]
