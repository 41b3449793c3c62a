"""What the nodes give is what the library gives."""

from dataclasses import replace

import pytest
import torch

from supir_core.command.demo import WEIGHTS, load_demo_model
from supir_core.files.metadata import SOURCE_TYPE, read_label
from supir_core.files.pictures import read_picture
from supir_core.supir.pipeline import restore
from supir_core.supir.settings import NEGATIVE_PROMPT, POSITIVE_PROMPT, PRESETS

CLOSE = 2e-4
"""Of the range of values, in float32; measured 4e-6, and 4e-5 for stage 1."""


@pytest.fixture(scope="module")
def picture():
    return read_picture(WEIGHTS / "damaged.png")[..., 20:52, 40:72]


@pytest.fixture
def fewer_steps(monkeypatch):
    """Presets of few steps, in the library and in the pack."""
    import sys

    for name, module in list(sys.modules.items()):
        if name.endswith("supir_core.supir.settings"):
            monkeypatch.setattr(module, "PRESETS", {key: module.preset(key, steps=4) for key in PRESETS})
    return {name: replace(preset, steps=4) for name, preset in PRESETS.items()}


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("tile", [1024, 64])
def test_restore_equals_the_library(run, demo, picture, fewer_steps, preset, tile):
    image, stage1 = run(
        "SupirRestore",
        **demo,
        image=picture.movedim(1, -1),
        caption="a face",
        scale=4.0,
        preset=preset,
        seed=3,
        tile=tile,
        overlap=tile // 4,
        color_fix="wavelet",
    )
    settings = replace(fewer_steps[preset], seed=3, tile=tile, overlap=tile // 4)
    expected = restore(load_demo_model(), picture, settings, scale=4, caption="a face")
    assert (image.movedim(-1, 1) - expected.image).abs().max() < CLOSE
    assert (stage1.movedim(-1, 1) - expected.stage1).abs().max() < CLOSE


@pytest.mark.parametrize("color_fix", ["adain", "none"])
def test_restore_keeps_alpha_and_fixes_colours_as_the_library(run, demo, picture, fewer_steps, color_fix):
    picture = torch.cat([picture, torch.rand(1, 1, *picture.shape[2:])], dim=1)
    image, stage1 = run(
        "SupirRestore",
        **demo,
        image=picture.movedim(1, -1).clone(),
        caption="",
        scale=4.0,
        preset="demo",
        seed=0,
        tile=1024,
        overlap=256,
        color_fix=color_fix,
    )
    settings = replace(fewer_steps["demo"], color_fix=color_fix)
    expected = restore(load_demo_model(), picture, settings, scale=4)
    assert image.shape[-1] == stage1.shape[-1] == 4
    assert (image.movedim(-1, 1) - expected.image).abs().max() < CLOSE
    assert (stage1.movedim(-1, 1) - expected.stage1).abs().max() < CLOSE


def test_half_the_strength_is_half_the_correction(run):
    image, reference = torch.rand(1, 32, 32, 3) / 2 + 0.25, torch.rand(1, 32, 32, 3) / 4 + 0.25
    none, half, full = (
        run("SupirColorFix", image=image, reference=reference, mode="adain", strength=strength)[0]
        for strength in (0.0, 0.5, 1.0)
    )
    assert (none - image).abs().max() < 1e-6
    assert (half - (none + full) / 2).abs().max() < 1e-6
    assert (full - none).abs().max() > 0.05


def test_a_large_picture_goes_through_the_vae_exactly(run, demo, picture):
    options = {**demo, "image": picture.movedim(1, -1), "scale": 8.0, "min_side": 64}
    del options["model"], options["clip"]
    whole = run("SupirEncode", **options, vae_tile=1024)
    bands = run("SupirEncode", **options, vae_tile=128)
    for ours, theirs in zip(bands[:2], whole[:2], strict=True):
        assert (ours["samples"] - theirs["samples"]).abs().max() < 1e-3
    assert (bands[2] - whole[2]).abs().max() < 1e-3


def test_stage_1_is_shown_without_padding_and_latents_carry_it(run, demo):
    z_lq, z_center, stage1, _, empty = run(
        "SupirEncode",
        supir_model=demo["supir_model"],
        vae=demo["vae"],
        image=torch.rand(2, 50, 70, 4),
        scale=2.0,
        min_side=64,
        vae_tile=512,
    )
    assert stage1.shape == (2, 100, 140, 3)
    assert z_lq["samples"].shape == z_center["samples"].shape == (2, 4, 16, 24)
    assert not empty["samples"].any()
    decoded = demo["vae"].decode(z_lq["samples"])
    (image,) = run("SupirColorFix", image=decoded, reference=stage1, mode="none", strength=1.0)
    assert torch.allclose(image, stage1, atol=1e-5)


def test_the_degradation_robust_vae_leaves_the_plain_one_alone(run, demo):
    image = read_picture(WEIGHTS / "damaged.png")[..., 20:84, 40:104].movedim(1, -1)
    before = demo["vae"].encode(image)
    options = {"supir_model": demo["supir_model"], "scale": 1.0, "min_side": 64, "vae_tile": 512}
    encoded = run("SupirEncode", vae=demo["vae"], image=image, **options)
    assert torch.allclose(encoded[3].encode(image), encoded[0]["samples"], atol=1e-4)
    assert not torch.allclose(before, encoded[0]["samples"], atol=1e-2)
    assert torch.equal(demo["vae"].encode(image), before)


def test_the_split_nodes_give_what_the_one_node_gives(run, demo, picture):
    seed, image = 3, picture.movedim(1, -1)
    one, _ = run(
        "SupirRestore",
        **demo,
        image=image,
        caption="a face",
        scale=4.0,
        preset="lightning",
        seed=seed,
        tile=1024,
        overlap=256,
        color_fix="wavelet",
    )
    shared = {"supir_model": demo["supir_model"]}
    z_lq, _, stage1, _, _ = run(
        "SupirEncode", **shared, vae=demo["vae"], image=image, scale=4.0, min_side=64, vae_tile=512
    )
    positive, negative = run(
        "SupirConditioning",
        clip=demo["clip"],
        caption="a face",
        line_per_tile=False,
        positive_words=POSITIVE_PROMPT,
        negative_words=NEGATIVE_PROMPT,
    )
    (latent,) = run(
        "SupirSampler",
        **shared,
        model=demo["model"],
        positive=positive,
        negative=negative,
        z_lq=z_lq,
        preset="custom",
        seed=seed,
        tile=1024,
        overlap=256,
        steps=8,
        cfg_start=2.0,
        cfg_end=2.0,
        strength_start=1.0,
        strength_end=1.0,
        restoration_scale=0.0,
        sampler="dpmpp_2m_sde",
        s_churn=5.0,
        s_noise=1.0,
    )
    decoded = demo["vae"].decode(latent["samples"])
    (image,) = run("SupirColorFix", image=decoded, reference=stage1, mode="wavelet", strength=1.0)
    assert (image - one).abs().max() < 1e-5


def test_several_captions_are_one_for_each_tile(run, demo):
    words = {"clip": demo["clip"], "positive_words": "sharp", "negative_words": "blur"}
    given = (
        {"tile_captions": ("a sky", "a lake"), "line_per_tile": False},
        {"caption": "a sky\na lake", "line_per_tile": True},
    )
    for captions in given:
        positive, negative = run("SupirConditioning", **words, **{"caption": "", **captions})
        assert [entry[1]["supir_tile"] for entry in positive] == [0, 1]
        assert len(negative) == 1


def test_a_saved_picture_says_what_it_is(run, pack, host):
    hidden = type("Hidden", (), {"prompt": {"1": {}}, "extra_pnginfo": {"workflow": {"nodes": []}}, "unique_id": "1"})
    node = pack["SupirSaveImage"].PREPARE_CLASS_CLONE(None)
    node.hidden = hidden
    saved = node.execute(images=torch.rand(2, 8, 8, 3), filename_prefix="a folder/name").ui.as_dict()["images"]
    text = read_label(host / "output" / "a folder" / saved[1]["filename"])
    assert len(saved) == 2
    assert text["prompt"] == '{"1": {}}'
    assert text["workflow"] == '{"nodes": []}'
    assert "trained model" in text["Description"]
    assert SOURCE_TYPE in text["XML:com.adobe.xmp"]


GRAPH = {
    "1": {"class_type": "SupirRestore", "inputs": {"scale": 2.0}},
    "2": {"class_type": "InstantIRApply", "inputs": {"image": ["9", 0]}},
    "3": {"class_type": "VAEDecode", "inputs": {"samples": ["2", 1]}},
    "4": {"class_type": "InstantIRApply", "inputs": {"image": ["1", 0]}},
    "5": {"class_type": "SupirSaveImage", "inputs": {"images": ["1", 0]}},
    "6": {"class_type": "SupirSaveImage", "inputs": {"images": ["3", 0]}},
    "7": {"class_type": "SupirSaveImage", "inputs": {"images": ["4", 2]}},
    "8": {"class_type": "SupirSaveImage", "inputs": {"images": ["9", 0]}},
    "9": {"class_type": "LoadImage", "inputs": {"image": "photo.png"}},
    "10": {"class_type": "InstantIRModelLoader", "inputs": {}},
    "11": {"class_type": "SupirRestoreRegion", "inputs": {"supir_model": ["10", 0], "image": ["9", 0]}},
    "12": {"class_type": "SupirSaveImage", "inputs": {"images": ["11", 0]}},
}


@pytest.mark.parametrize(
    ("node", "named"),
    [("5", "(SUPIR)"), ("6", "(InstantIR)"), ("7", "(SUPIR and InstantIR)"), ("8", "(SUPIR)"), ("12", "(InstantIR)")],
)
def test_the_label_names_the_method_that_lies_before_the_node(pack, host, node, named):
    saving = pack["SupirSaveImage"].PREPARE_CLASS_CLONE(None)
    saving.hidden = type("Hidden", (), {"prompt": GRAPH, "extra_pnginfo": None, "unique_id": node})
    (saved,) = saving.execute(images=torch.rand(1, 8, 8, 3), filename_prefix=f"method/{node}").ui.as_dict()["images"]
    assert named in read_label(host / "output" / "method" / saved["filename"])["Description"]


def test_a_picture_is_saved_with_16_bits_where_they_are_asked_for(pack, host):
    saving = pack["SupirSaveImage"].PREPARE_CLASS_CLONE(None)
    saving.hidden = type("Hidden", (), {"prompt": None, "extra_pnginfo": None, "unique_id": "1"})
    images = torch.rand(1, 8, 9, 4)
    (saved,) = saving.execute(images=images, filename_prefix="deep", bits="16").ui.as_dict()["images"]
    assert (read_picture(host / "output" / saved["filename"]) - images.movedim(-1, 1)).abs().max() < 1e-5


def test_a_picture_that_is_not_finite_is_not_saved(pack, host):
    saving = pack["SupirSaveImage"].PREPARE_CLASS_CLONE(None)
    saving.hidden = type("Hidden", (), {"prompt": None, "extra_pnginfo": None, "unique_id": "1"})
    with pytest.raises(ValueError, match="came in has values that are no numbers"):
        saving.execute(images=torch.full((1, 8, 8, 3), torch.nan), filename_prefix="black")
    assert not list((host / "output").glob("black*"))


def test_a_picture_that_cannot_be_saved_says_why(pack, host):
    saving = pack["SupirSaveImage"].PREPARE_CLASS_CLONE(None)
    saving.hidden = type("Hidden", (), {"prompt": None, "extra_pnginfo": None, "unique_id": "1"})
    picture = torch.rand(1, 8, 8, 3)
    with pytest.raises(OSError, match=r"picture 1 of 1 could not be saved: File name too long\. Choose another"):
        saving.execute(images=picture, filename_prefix="x" * 300)
    (saved,) = saving.execute(images=picture, filename_prefix="").ui.as_dict()["images"]
    assert saved["filename"].startswith("SUPIR_")


def restore_small(run, demo, picture, preset):
    more = {"caption": "", "scale": 2.0, "seed": 0, "tile": 1024, "overlap": 256, "color_fix": "none"}
    return run("SupirRestore", **demo, image=picture.movedim(1, -1), preset=preset, **more)[0]


def test_behind_the_demo_weights_the_preset_is_theirs(run, demo, picture):
    assert torch.equal(restore_small(run, demo, picture, "auto"), restore_small(run, demo, picture, "demo"))


def test_latents_that_are_not_finite_end_the_nodes_by_name(run, demo, picture):
    model = demo["model"].clone()
    model.set_model_sampler_post_cfg_function(lambda given: given["denoised"] * float("nan"))
    with pytest.raises(RuntimeError, match="sampling gave values that are not finite"):
        restore_small(run, demo | {"model": model}, picture, "demo")


def test_a_full_memory_is_comfyuis_own_kind_of_error_and_says_at_which_part(run, demo, picture, monkeypatch):
    from comfy.model_management import OOM_EXCEPTION

    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    model = demo["model"].clone()
    model.set_model_sampler_post_cfg_function(full)
    with pytest.raises(OOM_EXCEPTION, match=r"while sampling\. Use SUPIR Tiles with a smaller tile"):
        restore_small(run, demo | {"model": model}, picture, "demo")
    monkeypatch.setattr(demo["vae"].first_stage_model.decoder.conv_out, "forward", full)
    with pytest.raises(OOM_EXCEPTION, match=r"while the VAE decodes\. Set vae_memory smaller"):
        restore_small(run, demo, picture, "demo")
