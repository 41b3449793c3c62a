"""Captions in the host: stage 1 described, tiles in their order, and memory given back."""

import gc
import weakref
from contextlib import contextmanager
from math import prod

import pytest
import torch

from supir_core.captions.models import load_captioner
from supir_core.captions.protocol import INSTRUCTION, Request

from ..tiny_captioners import make_llava
from .small import module

ASKED = {
    "edited": "",
    "instruction": INSTRUCTION,
    "max_tokens": 12,
    "temperature": 0.0,
    "seed": 0,
    "keep_loaded": False,
}


@pytest.fixture(scope="module")
def folder(host):
    """A small LLaVA where users put theirs."""
    return make_llava(host / "models" / "LLM" / "tiny llava")


@pytest.fixture
def captioner(folder, run):
    return run("SupirCaptioner", model="tiny llava", precision="auto", placement="gpu")[0]


@pytest.fixture
def picture():
    return torch.rand(1, 100, 140, 3, generator=torch.Generator().manual_seed(1))


def loaded_patchers():
    import comfy.model_management

    return [loaded.model for loaded in comfy.model_management.current_loaded_models]


class Painter:
    """In place of a SUPIR_CAPTIONER: says which of the colours fills a picture."""

    NAMES = ("red", "green", "blue", "yellow")
    COLORS = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]])

    def __init__(self):
        self.requests = []

    @contextmanager
    def at_work(self, keep_loaded):
        yield self

    def caption(self, pictures, request, on_token):
        self.requests.append(request)
        on_token()
        return [self.NAMES[(self.COLORS - one.mean((1, 2))).abs().sum(1).argmin()] for one in pictures]


def test_a_node_gives_the_librarys_caption(run, captioner, folder, picture):
    (caption,) = run("SupirCaption", captioner=captioner, image=picture, **ASKED)
    library = load_captioner(folder, device="cpu")
    assert [caption] == library.caption([picture[0].movedim(-1, 0)], Request(max_tokens=12))
    assert captioner.source == str(folder)


def test_a_caption_reaches_the_picture(run, captioner):
    model, clip, vae, weights, image = run("SupirDemoLoader")
    (caption,) = run("SupirCaption", captioner=captioner, image=image, **ASKED)
    shared = {"model": model, "clip": clip, "vae": vae, "supir_model": weights, "image": image[:, :32, :32]}
    shared |= {"scale": 2.0, "preset": "demo", "seed": 0, "tile": 1024, "overlap": 256, "color_fix": "none"}
    with_caption, _ = run("SupirRestore", **shared, caption=caption)
    without, _ = run("SupirRestore", **shared, caption="")
    assert not torch.equal(with_caption, without)


def test_edited_words_are_the_caption_and_nothing_is_loaded(run, captioner, picture):
    asked = {**ASKED, "edited": " a small red boat \n"}
    assert run("SupirCaption", captioner=captioner, image=picture, **asked) == ("a small red boat",)
    assert captioner.patcher is None


@pytest.mark.parametrize(("height", "width"), [(256, 256), (250, 230)])
def test_tiles_are_described_in_the_order_of_the_samplers_tiles(run, height, width):
    image = torch.zeros(1, 256, 256, 3)
    for place, color in enumerate(Painter.COLORS):
        top, left = place // 2 * 128, place % 2 * 128
        image[:, top : top + 128, left : left + 128] = color
    painter = Painter()
    captions, lines = run(
        "SupirCaptionTiles",
        captioner=painter,
        image=image[:, :height, :width],
        tile=128,
        overlap=0,
        **{**ASKED, "seed": 2**64 - 2},
    )
    assert captions == Painter.NAMES
    assert lines == "red\ngreen\nblue\nyellow\n"
    assert [request.seed for request in painter.requests] == [2**64 - 2, 2**64 - 1, 0, 1]


def test_automatic_tiles_are_those_of_the_settings(run, pack):
    picture = torch.zeros(1, 1100, 2000, 3)
    captions, _ = run("SupirCaptionTiles", captioner=Painter(), image=picture, tile=0, overlap=128, **ASKED)
    plan = module(pack, "supir_core.supir.settings").Settings().plan(144, 256)
    assert len(captions) == prod(plan.counts(144, 256)) > 1


def test_tiles_of_stage_1_are_those_of_the_sampler(run, pack):
    model, clip, vae, weights, image = run("SupirDemoLoader")
    encoded = run(
        "SupirEncode",
        supir_model=weights,
        vae=vae,
        image=image[:, :50, :70],
        scale=3.0,
        min_side=64,
        vae_tile=512,
    )
    captions, _ = run("SupirCaptionTiles", captioner=Painter(), image=encoded[2], tile=128, overlap=32, **ASKED)
    words = {"caption": "", "line_per_tile": False, "positive_words": "", "negative_words": ""}
    positive, negative = run("SupirConditioning", clip=clip, tile_captions=captions, **words)
    settings = module(pack, "supir_core.supir.settings").preset("lightning", steps=1, tile=128, overlap=32)
    sample = module(pack, "nodes.sampler").sample
    z_lq = encoded[0]["samples"]
    assert len(captions) == 6
    assert sample(model, weights, positive, negative, z_lq, None, settings).shape == z_lq.shape
    with pytest.raises(ValueError, match="captions for 5 tiles, but the picture has 6"):
        sample(model, weights, positive[:5], negative, z_lq, None, settings)


def test_edited_lines_are_one_for_each_tile(run, captioner, picture):
    geometry = {"tile": 64, "overlap": 0}
    asked = {**ASKED, "edited": "\n".join("abcdef")}
    captions, lines = run("SupirCaptionTiles", captioner=captioner, image=picture, **geometry, **asked)
    assert (captions, lines) == (tuple("abcdef"), asked["edited"] + "\n")
    with pytest.raises(ValueError, match="edited has 2 lines, but there are 6 tiles"):
        asked["edited"] = "one\ntwo"
        run("SupirCaptionTiles", captioner=captioner, image=picture, **geometry, **asked)


def test_no_name_is_too_long_to_be_looked_for(run):
    (captioner,) = run("SupirCaptioner", model="x" * 5000, precision="auto", placement="cpu")
    assert captioner.source == "x" * 5000


def test_a_batch_is_refused(run, captioner):
    with pytest.raises(ValueError, match="got a batch of 2 pictures, expected one"):
        run("SupirCaption", captioner=captioner, image=torch.rand(2, 30, 30, 3), **ASKED)


@pytest.mark.parametrize("precision", ["auto", "8bit", "4bit"])
def test_a_captioner_leaves_memory_when_it_is_done(run, folder, picture, precision):
    if precision != "auto":
        pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")
    (captioner,) = run("SupirCaptioner", model="tiny llava", precision=precision, placement="gpu")
    before = loaded_patchers()
    with captioner.at_work(keep_loaded=False) as model:
        network = weakref.ref(model.network)
        assert captioner.patcher in loaded_patchers()
        assert captioner.patcher.loaded_size() == captioner.patcher.model_size() > 0
        del model
    gc.collect()
    assert captioner.patcher is None
    assert network() is None
    assert loaded_patchers() == before
    assert run("SupirCaption", captioner=captioner, image=picture, **ASKED)[0]


def test_a_captioner_that_is_kept_stays_until_the_room_is_needed(run, captioner, picture):
    import comfy.model_management

    asked = {**ASKED, "keep_loaded": True}
    texts = [run("SupirCaption", captioner=captioner, image=picture, **asked) for _ in range(2)]
    patcher, network = captioner.patcher, weakref.ref(captioner.patcher.captioner.network)
    run("SupirCaption", captioner=captioner, image=picture, **asked)
    assert captioner.patcher is patcher
    comfy.model_management.free_memory(1e30, patcher.load_device)
    gc.collect()
    assert network() is None
    texts.append(run("SupirCaption", captioner=captioner, image=picture, **asked))
    assert len({*texts}) == 1
    assert captioner.patcher is not patcher


def test_an_interrupt_between_tokens_stops_and_drops_the_captioner(run, captioner, picture):
    import comfy.model_management

    comfy.model_management.interrupt_current_processing(True)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        run("SupirCaptionTiles", captioner=captioner, image=picture, tile=64, overlap=0, **ASKED)
    assert captioner.patcher is None


def test_progress_goes_forward_to_its_end(run, captioner, picture):
    import comfy.utils

    told = []
    comfy.utils.set_progress_bar_global_hook(lambda value, total, *rest, **more: told.append((value, total)))
    try:
        run("SupirCaptionTiles", captioner=captioner, image=picture, tile=64, overlap=0, **ASKED)
    finally:
        comfy.utils.set_progress_bar_global_hook(None)
    assert [value for value, _ in told] == sorted(value for value, _ in told)
    assert told[-1] == (72, 72)


def test_a_missing_model_is_one_clear_message(run, picture):
    (captioner,) = run("SupirCaptioner", model="/nowhere/at all", precision="auto", placement="cpu")
    with pytest.raises(ValueError, match='no captioner at "/nowhere/at all": expected a folder'):
        run("SupirCaption", captioner=captioner, image=picture, **ASKED)
