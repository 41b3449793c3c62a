"""InstantIR's files, and the pictures that their networks make."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from supir_core.command.demo import SDXL_FILE, WEIGHTS
from supir_core.files.checkpoint import UnsupportedCheckpointError, open_checkpoint
from supir_core.files.convert import to_image
from supir_core.files.kinds import ADAPTER, AGGREGATOR, PREVIEWER
from supir_core.instantir.model import load_adapter, load_aggregator, load_instantir, load_previewer
from supir_core.instantir.perception import (
    DinoNotFoundError,
    dino_pixels,
    load_dino,
    no_picture,
    perceive,
    resize_positions,
)
from supir_core.instantir.pipeline import restore_instantir
from supir_core.instantir.settings import NEGATIVE_PROMPT, POSITIVE_PROMPT, InstantSettings
from supir_core.restoration.progress import Progress

from ..small_instantir import RESAMPLER, published_lora

FAST = {"steps": 2, "tile": 64, "overlap": 16}


def same(module, other):
    theirs = other.state_dict()
    return all(torch.equal(tensor, theirs[key]) for key, tensor in module.state_dict().items())


# --- files


def test_the_published_files_are_recognised_and_load_whole(files, networks, model):
    kinds = [open_checkpoint(path).kind for path in files[:3]]
    assert kinds == [ADAPTER, AGGREGATOR, PREVIEWER]
    assert same(model.adapter, networks.adapter)
    assert same(model.aggregator, networks.aggregator)
    assert same(model.previewer, networks.previewer)


def test_the_adapters_other_forms_load_the_same(files, networks, model, tmp_path):
    tensors = networks.adapter.state_dict()
    save_file(tensors, tmp_path / "a.safetensors")
    old = {
        key.replace("image_proj.", "image_proj_model.", 1).replace("ip_adapter.", "adapter_modules.", 1): t
        for key, t in tensors.items()
    }
    torch.save(old, tmp_path / "b.pt")
    for name in ("a.safetensors", "b.pt"):
        loaded = load_adapter(open_checkpoint(tmp_path / name), model.unet.config)
        assert same(loaded, networks.adapter)


@pytest.mark.parametrize("ends", [("_lora.down", "_lora.up"), (".lora_down", ".lora_up"), (".lora_A", ".lora_B")])
def test_a_lora_under_any_known_names_loads_the_same(ends, networks, model, tmp_path):
    renamed = {}
    for key, tensor in published_lora(networks.previewer).items():
        for published, end in ((".lora.down", 0), (".lora_A", 0), (".lora.up", 1), (".lora_B", 1)):
            key = key.replace(f"{published}.weight", f"{ends[end]}.weight")
        renamed[key.replace(".attn2.to_k_ip", ".attn2.processor.to_k_ip")] = tensor
    torch.save(renamed, tmp_path / "lora.bin")
    checkpoint = open_checkpoint(tmp_path / "lora.bin")
    loaded = load_previewer(checkpoint, model.unet.config, RESAMPLER)
    assert same(loaded, networks.previewer)


def test_alphas_scale_and_missing_pairs_are_zero(networks, model, tmp_path):
    tensors = published_lora(networks.previewer)
    scaled, missing = "unet.mid_block.resnets.0.conv1", "unet.mid_block.resnets.0.conv2"
    tensors[f"{scaled}.alpha"] = torch.tensor(3.0)
    for half in ("A", "B"):
        del tensors[f"{missing}.lora_{half}.weight"]
    torch.save(tensors, tmp_path / "lora.bin")
    loaded = load_previewer(open_checkpoint(tmp_path / "lora.bin"), model.unet.config, RESAMPLER)
    ours, theirs = (p.unet.by_path for p in (loaded, networks.previewer))
    first, second = "middle_block.0.in_layers.2", "middle_block.0.out_layers.3"
    assert torch.equal(ours[first].up.weight, 3 * theirs[first].up.weight)
    assert torch.equal(ours[first].down.weight, theirs[first].down.weight)
    assert not ours[second].up.weight.any()


@pytest.mark.parametrize(
    ("load", "which", "damage", "said"),
    [
        (
            load_adapter,
            0,
            lambda t: t.pop("ip_adapter.1.ln_k_ip.linear.bias"),
            "1 missing: ip_adapter.1.ln_k_ip",
        ),
        (load_aggregator, 1, lambda t: t.pop("ref_conv_in.bias"), "1 missing: ref_conv_in.bias"),
        (load_aggregator, 1, lambda t: t.update({"other": torch.zeros(1)}), "1 unexpected: other"),
        (
            lambda *given: load_previewer(*given, RESAMPLER),
            2,
            lambda t: t.update({"unet.conv_in.lora_A.weight": torch.zeros(4, 4, 3, 3)}),
            "1 unexpected: unet.conv_in.down.weight",
        ),
        (
            lambda *given: load_previewer(*given, RESAMPLER),
            2,
            lambda t: t.pop("unet.mid_block.resnets.0.conv1.lora_A.weight"),
            "1 missing: unet.middle_block.0.in_layers.2.down.weight",
        ),
        (
            lambda *given: load_previewer(*given, RESAMPLER),
            2,
            lambda t: t.update({"unet.mid_block.resnets.0.conv1.alpha": torch.ones(2)}),
            "1 unexpected: unet.mid_block.resnets.0.conv1.alpha",
        ),
    ],
)
def test_what_does_not_fit_is_named(load, which, damage, said, files, model, tmp_path):
    tensors = torch.load(files[which], weights_only=True)
    if which == 0:
        tensors = {f"{part}.{key}": t for part, inner in tensors.items() for key, t in inner.items()}
    damage(tensors)
    torch.save(tensors, tmp_path / "damaged.pt")
    with pytest.raises(UnsupportedCheckpointError, match=said.replace(".", r"\.")):
        load(open_checkpoint(tmp_path / "damaged.pt"), model.unet.config)


def test_swapped_files_are_named(files):
    adapter, aggregator, previewer, dino = files
    with pytest.raises(UnsupportedCheckpointError, match="expected an InstantIR adapter, this is an InstantIR agg"):
        load_instantir(WEIGHTS / SDXL_FILE, aggregator, adapter, previewer, dino)


# --- perception


@pytest.mark.parametrize("size", [(300, 421), (224, 224), (40, 1000)])
def test_the_middle_of_the_picture_is_perceived_at_8_bits(size):
    picture = torch.rand(1, 3, *size)
    image = to_image(picture[0])
    width, height = image.size
    short = min(width, height)
    image = image.resize((256 * width // short, 256 * height // short), Image.BICUBIC)
    across, down = (image.size[0] - 224) // 2, (image.size[1] - 224) // 2
    middle = np.asarray(image)[down : down + 224, across : across + 224] / 255
    expected = (middle - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    pixels = dino_pixels(picture)
    assert pixels.shape == (1, 3, 224, 224)
    assert np.abs(pixels[0].permute(1, 2, 0).numpy() - expected).max() < 1e-6  # float32


def test_positions_of_the_grid_itself_are_kept():
    table = torch.randn(1, 1 + 37 * 37, 8)
    resized = resize_positions(table)
    assert resized.shape == (1, 257, 8)
    assert torch.equal(resized[:, 0], table[:, 0])
    flat = torch.full((1, 1 + 37 * 37, 8), 0.5)
    torch.testing.assert_close(resize_positions(flat), flat[:, :257])


def test_no_picture_has_features_of_its_own(model):
    pixels = dino_pixels(torch.rand(1, 3, 64, 64))
    features = perceive(model.dino, torch.cat([no_picture(pixels), pixels]))
    assert features.shape == (2, 257, 48)
    assert features[0].abs().mean() > 0.1
    assert not torch.allclose(features[0], features[1])


def test_a_folder_without_dino_is_named(tmp_path):
    with pytest.raises(DinoNotFoundError, match=r"no DINOv2 at .*supir download dinov2 -o DIR"):
        load_dino(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "clip"}), encoding="utf-8")
    with pytest.raises(DinoNotFoundError, match="this is clip"):
        load_dino(tmp_path)


def test_dino_of_another_width_or_damaged_is_named(files, tmp_path):
    with pytest.raises(DinoNotFoundError, match="features of 1024 channels, as the adapter reads them, this has 48"):
        load_dino(files[3], width=1024)
    damaged = shutil.copytree(files[3], tmp_path / "damaged")
    (damaged / "model.safetensors").write_bytes(b"none")
    with pytest.raises(DinoNotFoundError, match="its weights cannot be read"):
        load_dino(damaged)


# --- pictures


@pytest.mark.parametrize("size", [(50, 70), (33, 130), (64, 64)])
def test_the_result_has_exactly_the_size_asked_for(model, size):
    seen = []
    restored = restore_instantir(
        model, torch.rand(1, 3, 20, 28), InstantSettings(**FAST), size=size, callback=seen.append
    )
    assert restored.image.shape == restored.stage1.shape == (1, 3, *size)
    assert 0 <= restored.image.min() <= restored.image.max() <= 1
    steps = [progress for progress in seen if progress.stage == "sample" and progress.preview is not None]
    assert len(steps) == 2
    assert steps[-1][:3] == Progress("sample", steps[-1].total, steps[-1].total)[:3]


@pytest.mark.parametrize("changes", [{"start": "noise"}, {"adaptive": "reference"}, {"cfg": 1.0}, {"seed": 1}])
def test_settings_reach_the_result(model, changes):
    picture = torch.rand(1, 3, 32, 32)
    one, other = (
        restore_instantir(model, picture, InstantSettings(**FAST | more), scale=1).image for more in ({}, changes)
    )
    assert (one - other).abs().mean() > 1e-3


def test_the_defaults_are_the_published_ones():
    settings = InstantSettings()
    assert (settings.steps, settings.cfg, settings.adaptive, settings.color_fix) == (30, 7.0, "none", "none")
    assert POSITIVE_PROMPT.startswith("Photorealistic, ")
    assert NEGATIVE_PROMPT.endswith(", lowres")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"steps": 0}, "1 to 999"),
        ({"adaptive": "some"}, '"residual"'),
        ({"control_end": 2}, "within 0 to 1"),
        ({"tile": 100}, "multiple of 64"),
        ({"control_start": 0.9, "control_end": 0.1}, r"start must be at most end \(0.1\), got 0.9"),
        ({"preview_start": 0.9, "preview_end": 0.1}, r"preview_start must be at most preview_end \(0.1\)"),
    ],
)
def test_settings_that_cannot_work_are_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        InstantSettings(**wrong)


def test_threads_take_turns_with_a_model(model):
    picture, settings = torch.rand(1, 3, 16, 16), InstantSettings(steps=2)

    def restored(seed):
        return restore_instantir(model, picture, settings, scale=1, caption=f"a boat {seed}", seed=seed).image

    expected = [restored(seed) for seed in range(3)]
    with ThreadPoolExecutor(3) as threads:
        assert all(map(torch.equal, threads.map(restored, range(3)), expected))


@pytest.mark.parametrize("adaptive", ["residual", "reference"])
def test_an_attempt_that_memory_broke_off_leaves_nothing_behind(model, monkeypatch, adaptive):
    picture, settings = torch.rand(1, 3, 16, 32), InstantSettings(**FAST | {"steps": 3}, adaptive=adaptive)
    expected = restore_instantir(model, picture, settings, scale=4).image
    forward, calls = model.aggregator.forward, []

    def full(*given):
        calls.append(given)
        if len(calls) == 4:  # at the second step
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(*given)

    monkeypatch.setattr(model.aggregator, "forward", full)
    retried = restore_instantir(model, picture, replace(settings, tiles_per_call=2), scale=4).image
    assert len(calls) > 4
    assert torch.equal(retried, expected)


def test_tiles_that_memory_made_smaller_are_as_if_they_had_been_asked_for(model, monkeypatch):
    picture, settings = torch.rand(1, 3, 16, 32), InstantSettings(**FAST)
    expected = restore_instantir(model, picture, settings, scale=4).image
    forward = model.aggregator.forward

    def full(z_lq, *given):
        if z_lq.shape[3] > 8:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(z_lq, *given)

    monkeypatch.setattr(model.aggregator, "forward", full)
    monkeypatch.setattr("supir_core.restoration.retry.SMALLEST_TILE", 64)
    retried = restore_instantir(model, picture, replace(settings, tile=128, overlap=32), scale=4).image
    assert torch.equal(retried, expected)
