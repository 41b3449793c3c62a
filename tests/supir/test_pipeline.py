import logging
from dataclasses import replace
from functools import partial

import pytest
import torch

import supir_core
from supir_core import PRESETS, InstantSettings, Settings, load_model, preset
from supir_core.restoration.canvas import Canvas, resize
from supir_core.restoration.tiling import TilePlan
from supir_core.sdxl.memory import MemoryFullError, defaults
from supir_core.sdxl.residency import Residency

restore = partial(supir_core.restore, scale=1.0)
FAST = preset("quality", steps=2, tile=64, overlap=16)


def picture(height=20, width=28, channels=3, rows=1):
    return torch.rand(rows, channels, height, width)


@pytest.mark.parametrize("size", [(50, 70), (64, 64), (33, 200), (129, 65)])
def test_the_result_has_exactly_the_size_asked_for(demo_model, size):
    restored = restore(demo_model, picture(), FAST, size=size)
    assert restored.image.shape == restored.stage1.shape == (1, 3, *size)
    assert restored.image.min() >= 0
    assert restored.image.max() <= 1


def test_a_factor_scales_both_sides(demo_model):
    assert restore(demo_model, picture(21, 33), FAST, scale=2.5).image.shape == (1, 3, 52, 82)


def test_real_models_work_at_1024_and_up():
    assert Canvas.plan((300, 450), 1024) == Canvas((300, 450), (1024, 1536), (1024, 1536))
    assert Canvas.plan((1500, 1030), 1024) == Canvas((1500, 1030), (1500, 1030), (1536, 1088))


def test_padding_comes_off_again():
    canvas = Canvas.plan((50, 70), 64)
    image = torch.rand(1, 3, 50, 70)
    placed = canvas.place(image)
    assert placed.shape == (1, 3, 64, 128)
    assert torch.allclose(canvas.take(placed), resize(resize(image, canvas.inner), (50, 70)))


def test_alpha_is_resized_and_kept(demo_model):
    source = picture(channels=4)
    restored = restore(demo_model, source, FAST, scale=2)
    assert torch.equal(restored.image[:, 3:], resize(source[:, 3:], (40, 56)))
    assert torch.equal(restored.stage1[:, 3:], restored.image[:, 3:])


def test_the_seed_decides(demo_model):
    source = picture()
    first, again = (restore(demo_model, source, FAST).image for _ in range(2))
    assert torch.equal(first, again)
    other = restore(demo_model, source, replace(FAST, seed=1)).image
    assert not torch.allclose(first, other, atol=0.05)


@pytest.mark.parametrize("sampler", ["edm", "dpmpp_2m_sde"])
def test_a_batch_equals_its_pictures_one_by_one(demo_model, sampler):
    settings = replace(FAST, sampler=sampler, steps=4, restoration_scale=4.0, color_fix="none")
    source = picture(64, 64, rows=2)
    both = restore(demo_model, source, settings)
    for row in range(2):
        alone = restore(demo_model, source[row : row + 1], replace(settings, seed=row))
        assert torch.allclose(both.image[row], alone.image[0], atol=1e-3)
        assert torch.allclose(both.stage1[row], alone.stage1[0], atol=1e-4)


@pytest.mark.parametrize("name", PRESETS)
def test_each_preset_runs(demo_model, name):
    settings = replace(PRESETS[name], steps=3)
    assert restore(demo_model, picture(64, 64), settings).image.isfinite().all()


def test_restoration_guidance_reaches_the_sampler(demo_model):
    source = picture(64, 64)
    free, guided = (
        restore(demo_model, source, replace(FAST, steps=4, restoration_scale=scale)).image for scale in (0.0, 0.5)
    )
    assert not torch.allclose(free, guided, atol=0.05)


def test_progress_counts_every_call_and_shows_previews(demo_model):
    seen = []
    restore(demo_model, picture(64, 128), FAST, callback=seen.append)
    assert [p.stage for p in (seen[0], seen[-1])] == ["encode", "decode"]
    sampling = [p for p in seen if p.stage == "sample"]
    assert sampling[-1].done == sampling[-1].total == 2 * 3
    assert [p.preview.shape for p in sampling if p.preview is not None] == [(1, 4, 8, 16)] * 2


def test_a_callback_can_cancel(demo_model):
    def cancel(progress):
        if progress.stage == "sample" and progress.done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        restore(demo_model, picture(64, 128), FAST, callback=cancel)


def test_one_caption_a_tile(demo_model):
    source = picture(64, 128)
    names = ["a boat", "a dog", "a tree"]
    tiled = restore(demo_model, source, FAST, caption=names).image
    assert not torch.equal(tiled, restore(demo_model, source, FAST, caption="a boat").image)
    with pytest.raises(ValueError, match="got 2 captions for 3 tiles"):
        restore(demo_model, source, FAST, caption=names[:2])


def test_tiles_are_planned_for_the_memory_that_is_free(demo_model, caplog, monkeypatch):
    source, settings = picture(36, 40), preset("demo", steps=1)
    with caplog.at_level(logging.INFO, "supir_core"):
        restore(demo_model, source, settings, size=(576, 640))
        assert "sampling in 1 tile of 640x576 pixels" in caplog.text
        monkeypatch.setattr(Residency, "room", lambda self, *networks, least: least)
        restore(demo_model, source, settings, size=(576, 640))
        assert "sampling in 2x2 tiles of 512x512 pixels" in caplog.text
        with pytest.raises(ValueError, match="got 2 captions for 1 tiles"):  # captions were written for the plan
            restore(demo_model, source, settings, size=(576, 640), caption=["a", "b"])


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 1, 8, 8), (1, 8, 8, 3), (0, 3, 8, 8), (1, 3, 0, 8)])
def test_what_is_no_picture_is_refused(demo_model, shape):
    with pytest.raises(ValueError, match="expected pictures of shape"):
        restore(demo_model, torch.zeros(shape), FAST)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tile": 100}, "tile must be a multiple of 64 within 0 to 8192, got 100"),
        ({"tile": -64}, "0 to 8192"),
        ({"overlap": 1024}, "less than the least tile"),
        ({"overlap": 12}, "multiple of 8"),
        ({"tile": 256, "overlap": 256}, "less than the tile"),
        ({"sampler": "euler"}, '"edm" or "dpmpp_2m_sde", got "euler"'),
        ({"blend": "hard"}, "blend must be"),
        ({"color_fix": "lab"}, "color_fix must be"),
        ({"steps": 0}, "steps must be within 1 to 1000, got 0"),
    ],
)
def test_settings_that_cannot_work_are_refused(change, said):
    with pytest.raises(ValueError, match=said):
        Settings(**change)


@pytest.mark.parametrize("settings", [InstantSettings(), None, {}])
def test_settings_of_another_kind_are_refused(demo_model, settings):
    with pytest.raises(ValueError, match="settings must be Settings, got"):
        restore(demo_model, picture(), settings)


@pytest.mark.parametrize("caption", [None, 3, [3], b"a boat"])
def test_a_caption_that_is_no_text_is_refused(demo_model, caption):
    with pytest.raises(ValueError, match="expected a caption as text"):
        restore(demo_model, picture(), FAST, caption=caption)


def test_no_captions_are_the_empty_one(demo_model):
    source = picture()
    assert torch.equal(restore(demo_model, source, FAST, caption=[]).image, restore(demo_model, source, FAST).image)


@pytest.mark.parametrize(
    "wrong", [{"weights": "int8"}, {"memory": "all"}, {"dtype": torch.int8}, {"dtype": "float16"}, {"device": "meta"}]
)
def test_what_the_networks_cannot_do_is_refused_before_any_file_is_read(wrong):
    with pytest.raises(ValueError, match=r"must be|expected a device that is there"):
        load_model("nowhere.safetensors", "nowhere.ckpt", **wrong)


def test_an_unknown_preset_is_refused():
    with pytest.raises(ValueError, match="quality, fidelity, paper, lightning"):
        preset("best")


def test_the_overlap_is_a_quarter_of_the_tile_unless_told_otherwise():
    assert Settings(tile=1024).plan(512, 512) == TilePlan.square(128, 32)
    assert Settings(tile=256).plan(512, 512) == TilePlan.square(32, 8)
    assert Settings(tile=512, overlap=0).plan(512, 512) == TilePlan.square(64, 0)


FULL = (
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    MemoryError(),
)


@pytest.mark.parametrize("error", FULL)
@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("sdxl.large_vae.encode_in_bands", "while the VAE encodes. Set vae_memory smaller"),
        ("sdxl.large_vae.decode_in_bands", "while the VAE decodes. Set vae_memory smaller"),
        ("restoration.colorfix.wavelet_color", "while colours are fixed. Set color_fix to none"),
        ("supir.pipeline.encode_prompts", "while pictures are restored. Restore at a smaller size"),
        ("supir.pipeline.sample", "with 3x1 tiles of 64x64 pixels that share 16x0, which cannot be made smaller"),
    ],
)
def test_a_full_memory_is_told_with_the_part_and_what_to_make_smaller(demo_model, monkeypatch, place, said, error):
    def full(*_, **__):
        raise error

    monkeypatch.setattr(f"supir_core.{place}", full)
    with pytest.raises(MemoryFullError, match=rf"^the memory is full {said}.*, ") as told:
        restore(demo_model, picture(64, 128), replace(FAST, vae_memory=64, steps=1))
    assert isinstance(told.value, torch.OutOfMemoryError)  # for ComfyUI
    assert told.value.__cause__ is error


@pytest.mark.parametrize("device", ["meta", "banana", "CPU", "cuda:77", "cuda:-1", "hpu", "privateuseone", 7, 1.5])
def test_a_device_that_cannot_compute_is_refused_in_a_line(device):
    with pytest.raises(ValueError, match=r"^expected a device that is there and computes, such as .*, got .* \(.*\)$"):
        defaults(device, None)
