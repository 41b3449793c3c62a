"""Tiles in the host: what is bound to places is cut with them."""

import uuid

import pytest
import torch

from supir_core.restoration.tiling import Tile

from .patches import place_control
from .small import Small, module

SHAPE = torch.Size((1, 4, 16, 24))


@pytest.fixture(scope="module")
def small(pack):
    return Small(pack)


@pytest.fixture(scope="module")
def cut(pack):
    return module(pack, "nodes.tiles")


def tile(top, left, place=0):
    return Tile(top, left, 8, 8, place)


@pytest.mark.parametrize(
    ("area", "cropped"),
    [
        ((16, 24, 0, 0), (8, 8, 0, 0)),
        ((4, 4, 6, 10), (4, 4, 2, 2)),
        ((6, 30, 0, 0), (2, 8, 0, 0)),
        ((4, 8, 0, 0), None),
    ],
)
def test_an_area_is_cut_to_the_tile(cut, area, cropped):
    assert cut.crop_area(area, tile(4, 8)) == cropped


@pytest.mark.parametrize(("height", "width"), [(128, 192), (64, 96), (256, 384), (160, 192)])
def test_a_hint_of_any_size_is_cut_where_the_tile_lies(cut, height, width):
    rows = torch.linspace(0, 1, height)[None, None, :, None].expand(1, 3, height, width)
    part = cut.crop_hint(rows, tile(4, 8), SHAPE)
    scale = width / 24
    above = (height - 16 * scale) / 2
    assert part.shape[2:] == (8 * scale, 8 * scale)
    assert torch.equal(part, rows[:, :, int(above + 4 * scale) : int(above + 12 * scale), : int(8 * scale)])


def test_masks_and_inpainting_latents_are_cut_for_every_tile_and_picture(cut):
    from comfy.conds import CONDNoiseShape

    rows = torch.arange(2.0)[:, None, None].expand(2, 16, 24)
    entry = {"mask": rows, "model_conds": {"c_concat": CONDNoiseShape(rows[:, None])}, "uuid": uuid.uuid4()}
    tiles = [tile(0, 0), tile(8, 16)]
    out = cut.crop_entry(entry, tiles, torch.Size((2, 4, 16, 24)))
    assert out["mask"].shape == (4, 8, 8)
    assert out["model_conds"]["c_concat"].cond[:, 0, 0, 0].tolist() == [0, 1, 0, 1]
    assert out["uuid"] != entry["uuid"]
    assert entry["mask"].shape == (2, 16, 24)


def test_a_prompt_of_another_tile_is_left_out(cut):
    assert cut.crop_entry({"supir_tile": 1}, [tile(0, 0, 0)], SHAPE) is None
    assert cut.crop_entry({"supir_tile": 1}, [tile(0, 8, 1)], SHAPE) is not None


def test_a_controlnet_sees_the_tiles_part_of_its_hint(small, run):
    control, seen = place_control(torch.rand(1, 3, 128, 192))
    positive = small.conditioning("c0", control=control, control_apply_to_uncond=False)
    (model,) = run(
        "SupirDenoiser",
        model=small.model,
        supir_model=small.weights,
        z_lq=small.latent(torch.randn(1, 4, 16, 24)),
        strength_start=1.0,
        strength_end=1.0,
    )

    def tiled(side):
        options = {"overlap": 64, "blend": "smooth", "shifting": False, "tiles_per_call": 2}
        return run("SupirTiles", model=model, tile=side, **options)[0]

    untiled = small.restored(model, positive=positive)
    assert not torch.allclose(untiled, small.restored(model))
    assert torch.allclose(small.restored(tiled(256), positive=positive), untiled, atol=1e-3)
    seen.clear()
    small.restored(tiled(128), positive=positive)
    assert set(seen) == {torch.Size((1, 3, 128, 128))}


def test_areas_work_in_tiles_and_are_explained_without(small, run):
    (model,) = run(
        "SupirDenoiser",
        model=small.model,
        supir_model=small.weights,
        z_lq=small.latent(torch.randn(1, 4, 16, 24)),
        strength_start=1.0,
        strength_end=1.0,
    )
    positive = [*small.conditioning("c0"), *small.conditioning("c1", area=(8, 8, 0, 0), strength=1.0)]
    with pytest.raises(
        ValueError, match="In place of areas and of nodes that tile, such as Ultimate SD Upscale, use SUPIR Tiles"
    ):
        small.restored(model, positive=positive)


def tall_tiles(pack):
    """Settings by which the small latent is four tiles of 128x64 pixels."""
    settings = module(pack, "supir_core.supir.settings").Settings
    return settings(tile_least=64, tile_most=128, tile_area=0.0125)


def test_rectangular_tiles_cut_hints_to_their_shape(small, pack, cut):
    control, seen = place_control(torch.rand(1, 3, 128, 192))
    positive = small.conditioning("c0", control=control, control_apply_to_uncond=False)
    small.restored(cut.apply_tiles(small.model, tall_tiles(pack), None), positive=positive)
    assert set(seen) == {torch.Size((1, 3, 128, 64))}


def test_the_plan_is_shown_on_the_node_that_makes_it(small, pack, cut, monkeypatch):
    shown = []

    class Server:
        client_id = "canvas"

        @staticmethod
        def send_progress_text(text, node, client):
            shown.append((text, node, client))

    monkeypatch.setattr("server.PromptServer.instance", Server, raising=False)
    small.restored(cut.apply_tiles(small.model, tall_tiles(pack), "7"))
    small.restored(cut.apply_tiles(small.model, tall_tiles(pack), None))
    assert shown == [("4x1 tiles of 64x128 pixels that share 16x0", "7", "canvas")]


def test_tiles_are_smaller_on_a_device_with_little_memory(pack, cut, monkeypatch):
    settings = module(pack, "supir_core.supir.settings").Settings()
    assert cut.fit_device(settings, (256, 256)) is settings
    monkeypatch.setattr("comfy.model_management.get_total_memory", lambda: 640 * 640 * cut.TILE_BYTES)
    monkeypatch.setattr("comfy.model_management.extra_reserved_memory", lambda: 0)
    height, width = cut.fit_device(settings, (256, 256)).plan(256, 256).window
    assert 64 * height * width <= 640 * 640
