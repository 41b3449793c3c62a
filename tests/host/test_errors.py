"""What a user can do wrong, and what the node then says."""

import pytest
import torch
from safetensors.torch import save_file

from supir_core.command.demo import SDXL_FILE, WEIGHTS

from .small import Small, module


@pytest.fixture(scope="module")
def small(pack):
    return Small(pack)


def supir(run, small, model, z_lq):
    return run(
        "SupirDenoiser",
        model=model,
        supir_model=small.weights,
        z_lq=small.latent(z_lq),
        strength_start=1.0,
        strength_end=1.0,
    )[0]


def tiles(run, model, tile=128, overlap=64):
    options = {"blend": "smooth", "shifting": False, "tiles_per_call": 1}
    return run("SupirTiles", model=model, tile=tile, overlap=overlap, **options)[0]


def test_a_wrong_file_is_named(pack):
    with pytest.raises(ValueError, match=r"expected SUPIR weights, this is an SDXL checkpoint"):
        module(pack, "nodes.loader").load_weights(WEIGHTS / SDXL_FILE)


def test_a_missing_file_says_where_it_goes(pack):
    answer = pack["SupirModelLoader"].validate_inputs("SUPIR-v0Q.ckpt")
    assert "models/model_patches or models/checkpoints" in answer


def test_a_file_may_come_through_a_link(pack, run):
    """ComfyUI knows it as None until it runs."""
    assert pack["SupirModelLoader"].validate_inputs(None) is True
    with pytest.raises(FileNotFoundError, match='"None" is not there'):
        run("SupirModelLoader", file=None, weight_dtype="as in the file")


def test_weights_are_found_in_both_folders(pack, host):
    for folder in ("model_patches", "checkpoints"):
        place = host / "models" / folder
        place.mkdir(parents=True, exist_ok=True)
        save_file({"x": torch.zeros(1)}, place / f"supir in {folder}.safetensors")
    (host / "models" / "checkpoints" / "a base.safetensors").write_bytes(b"")
    loader = module(pack, "nodes.host")
    assert loader.weight_files("supir")[:2] == [
        "supir in checkpoints.safetensors",
        "supir in model_patches.safetensors",
    ]
    for name in loader.weight_files("supir"):
        assert pack["SupirModelLoader"].validate_inputs(name) is True


@pytest.mark.parametrize("family", ["SD15", "Flux", "SDXLRefiner"])
def test_another_model_family_is_refused(run, small, monkeypatch, family):
    import comfy.model_base
    import comfy.model_patcher

    kind = {"SD15": "BaseModel", "Flux": "Flux", "SDXLRefiner": "SDXLRefiner"}[family]
    base = object.__new__(getattr(comfy.model_base, kind))
    torch.nn.Module.__init__(base)
    device = torch.device("cpu")
    model = comfy.model_patcher.ModelPatcher(base, device, device)
    with pytest.raises(ValueError, match="needs an SDXL model"):
        supir(run, small, model, torch.zeros(1, 4, 16, 24))


def test_weights_of_other_sizes_are_refused(run, small):
    demo = run("SupirDemoLoader")
    with pytest.raises(ValueError, match="do not belong together"):
        supir(run, small, demo[0], torch.zeros(1, 4, 16, 24))


def test_a_vae_of_another_form_is_refused(run, small):
    import comfy.sd

    tiny = comfy.sd.VAE(sd={"taesd_decoder.1.weight": torch.zeros(64, 16, 3, 3)})
    weights = run("SupirDemoLoader")[3]
    options = {"image": torch.rand(1, 64, 64, 3), "scale": 1.0, "min_side": 64, "vae_tile": 512}
    with pytest.raises(ValueError, match="expected SDXL's VAE"):
        run("SupirEncode", supir_model=weights, vae=tiny, **options)


def test_sampling_another_size_than_encoded_is_explained(run, small):
    model = supir(run, small, small.model, torch.zeros(1, 4, 16, 16))
    with pytest.raises(ValueError, match=r"z_lq is of a picture of 128x128 pixels but one of 192x128"):
        small.restored(model)


def test_more_pictures_than_encoded_are_explained(run, small):
    model = supir(run, small, small.model, torch.zeros(3, 4, 16, 24))
    with pytest.raises(ValueError, match="z_lq holds 3 pictures but 2 are sampled"):
        small.restored(model, batch=2)


def test_comfyuis_own_supir_beside_ours_is_explained(run, small):
    theirs = small.model.clone()
    theirs.set_model_output_block_patch(lambda h, skip, options: (torch.cat([h, skip], dim=1), None))
    with pytest.raises(ValueError, match="ComfyUI's SUPIRApply"):
        small.restored(supir(run, small, theirs, torch.zeros(1, 4, 16, 24)))


def test_deep_shrink_is_explained(run, small):
    shrunk = small.model.clone()

    def shrink(h, options):
        return torch.nn.functional.avg_pool2d(h, 2) if options["block"][1] == 3 else h

    shrunk.set_model_input_block_patch(shrink)
    with pytest.raises(ValueError, match="Deep Shrink"):
        small.restored(supir(run, small, shrunk, torch.zeros(1, 4, 16, 24)))


@pytest.mark.parametrize(("tile", "overlap"), [(100, 16), (128, 128), (128, 192)])
def test_impossible_tiles_are_refused(run, small, tile, overlap):
    with pytest.raises(ValueError, match="multiple of"):
        tiles(run, small.model, tile, overlap)


def test_a_wrong_number_of_captions_is_explained(run, small):
    model = tiles(run, supir(run, small, small.model, torch.zeros(1, 4, 16, 24)))
    captions = [entry for i in range(5) for entry in small.conditioning("c0", supir_tile=i)]
    with pytest.raises(ValueError, match="captions for 5 tiles, but the picture has 2"):
        small.restored(model, positive=captions)


def test_captions_for_tiles_without_tiles_are_explained(run, small):
    model = supir(run, small, small.model, torch.zeros(1, 4, 16, 24))
    with pytest.raises(ValueError, match="add SUPIR Tiles"):
        small.restored(model, positive=small.conditioning("c0", supir_tile=0))


def test_guidance_without_a_centre_is_explained(run, small):
    with pytest.raises(ValueError, match="needs z_center"):
        run("SupirGuidance", model=small.model, cfg_start=3.0, cfg_end=6.0, restoration_scale=4.0)


def test_guidance_without_a_negative_prompt_is_explained(run, small):
    from comfy_extras.nodes_custom_sampler import Guider_Basic

    (model,) = run("SupirGuidance", model=small.model, cfg_start=3.0, cfg_end=6.0, restoration_scale=0.0)
    guider = Guider_Basic(model)
    guider.set_conds(small.conditioning("c0"))
    sampling = module(small.pack, "nodes.sampling")
    noise = torch.zeros(1, 4, 16, 24)
    with pytest.raises(ValueError, match="needs a negative prompt"):
        guider.sample(
            noise,
            noise,
            sampling.sampler_object("edm", 0.0, 1.0),
            sampling.schedule(2, "edm"),
            disable_pbar=True,
            seed=0,
        )


def test_a_reference_of_another_size_is_explained(run):
    pictures = {"image": torch.rand(1, 64, 64, 3), "reference": torch.rand(1, 64, 80, 3)}
    with pytest.raises(ValueError, match="smaller than the reference"):
        run("SupirColorFix", **pictures, mode="wavelet", strength=1.0)


@pytest.mark.parametrize("shape", [(1, 16, 16, 24), (1, 4, 1, 16, 24), (4, 16, 24)])
def test_a_latent_of_another_family_is_named(run, small, shape):
    latent = torch.zeros(shape)
    with pytest.raises(
        ValueError, match=r"expected z_lq of SDXL, of shape \(B, 4, h, w\), got .* Encode the picture with SDXL"
    ):
        supir(run, small, small.model, latent)
    with pytest.raises(ValueError, match="expected z_center of SDXL"):
        run(
            "SupirGuidance",
            model=small.model,
            cfg_start=3.0,
            cfg_end=6.0,
            restoration_scale=4.0,
            z_center={"samples": latent},
        )
    with pytest.raises(ValueError, match="expected the latent of SDXL"):
        module(small.pack, "nodes.sampling").run_sampler(small.model, [], [], latent, None, None, 1.0)


def test_a_grey_picture_has_three_channels(pack):
    grey = torch.rand(2, 8, 6, 1)
    assert torch.equal(module(pack, "nodes.host").to_picture(grey), grey.movedim(-1, 1).repeat(1, 3, 1, 1))


def test_an_empty_batch_is_refused(pack):
    with pytest.raises(ValueError, match="expected pictures"):
        module(pack, "nodes.host").to_picture(torch.rand(0, 64, 64, 3))


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_a_picture_that_is_not_finite_is_refused_where_it_comes_in(pack, wrong):
    picture = torch.rand(2, 8, 6, 3)
    picture[1, 2, 3] = wrong
    with pytest.raises(ValueError, match="the picture that came in has values that are no numbers"):
        module(pack, "nodes.host").to_picture(picture)


def test_a_large_mask_of_half_precision_is_finite(pack):
    assert module(pack, "nodes.host").to_masks(torch.ones(300, 300).half()).shape == (1, 300, 300)


def test_a_checkpoint_without_a_vae_is_named(pack):
    import comfy.sd

    with pytest.raises(ValueError, match="the checkpoint has no VAE"):
        module(pack, "nodes.vae").require_sdxl_vae(comfy.sd.VAE(sd={}))


STRENGTH = {"strength_start": 1.0, "strength_end": 1.0}
CFG = {"cfg_start": 1.0, "cfg_end": 2.0, "restoration_scale": 0.0}
NOISE = {"sampler": "edm", "s_churn": 5.0, "s_noise": 1.0}
COLORS = {"image": torch.rand(1, 8, 8, 3), "reference": torch.rand(1, 8, 8, 3), "mode": "wavelet", "strength": 1.0}
SHEET = {
    **{"image": [COLORS["image"]], "labels": [""], "centers": [""]},
    **{"details": [1], "zoom": [4.0], "width": [64], "columns": [1]},
}


@pytest.mark.parametrize(
    ("node", "given", "message"),
    [
        ("SupirDenoiser", STRENGTH | {"strength_end": -1.0}, "strength must be within 0 to 2, got -1.0"),
        ("SupirGuidance", CFG | {"cfg_end": float("nan")}, "cfg must be within 0 to 30, got nan"),
        ("SupirGuidance", CFG | {"restoration_scale": -1.0}, "restoration_scale must be within 0 to 20"),
        ("SupirSamplerSelect", NOISE | {"sampler": "euler"}, 'sampler must be "edm"'),
        ("SupirSamplerSelect", NOISE | {"s_churn": float("nan")}, "s_churn must be within 0 to 40"),
        ("SupirScheduler", {"steps": 4, "sampler": "euler"}, 'sampler must be "edm"'),
        ("SupirColorFix", COLORS | {"strength": 5.0}, "strength must be within 0 to 1"),
        ("SupirComparisonSheet", SHEET | {"zoom": [0.0]}, "zoom must be within 1 to 32"),
        ("SupirComparisonSheet", SHEET | {"width": [0]}, "width must be within 64 to 4096"),
        ("SupirComparisonSheet", SHEET | {"columns": [0]}, "columns must be within 1 to 16"),
    ],
)
def test_a_value_out_of_range_is_refused_also_through_a_link(run, small, node, given, message):
    networks = {"SupirDenoiser": {"supir_model": small.weights, "z_lq": small.latent(torch.zeros(1, 4, 16, 24))}}
    model = {"model": small.model} if node in ("SupirDenoiser", "SupirGuidance") else {}
    with pytest.raises(ValueError, match=message):
        run(node, **model, **networks.get(node, {}), **given)


def test_the_demos_text_encoders_say_what_they_lack(run):
    _, clip, *_ = run("SupirDemoLoader")
    with pytest.raises(AttributeError, match="the demo's text encoders only encode, and have no clone; load an SDXL"):
        clip.clone()
