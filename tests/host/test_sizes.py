"""SUPIR Size and SUPIR Comparison Sheet in ComfyUI: alone, and before and behind SUPIR Restore."""

from dataclasses import asdict

import pytest
import torch
from PIL import Image

from supir_core.evaluation.sheet import draw_sheet
from supir_core.restoration.sizes import TargetSize

PICTURE = torch.rand(1, 40, 60, 3, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("by", "shrink_first", "expected"),
    [
        ({"by": "scale", "scale": 3.0}, {"shrink_first": "off"}, TargetSize(3.0)),
        (
            {"by": "longest side", "longest_side": 4096},
            {"shrink_first": "auto"},
            TargetSize(longest_side=4096, shrink_first="auto"),
        ),
        (
            {"by": "megapixels", "megapixels": 8.0},
            {"shrink_first": "factor", "factor": 2.5},
            TargetSize(megapixels=8.0, shrink_first=2.5),
        ),
        (
            {"by": "exact", "width": 30, "height": 20, "fit": "pad"},
            {"shrink_first": "off"},
            TargetSize(size=(20, 30), fit="pad"),
        ),
    ],
    ids=lambda value: value.get("by") if isinstance(value, dict) else None,
)
def test_a_size_is_what_was_chosen(run, by, shrink_first, expected):
    (size,) = run("SupirSize", by=by, shrink_first=shrink_first)
    assert asdict(size) == asdict(expected)  # the pack has a class of its own


@pytest.fixture(scope="module")
def demo(run):
    names = ("model", "clip", "vae", "supir_model")
    loaded = dict(zip(names, run("SupirDemoLoader"), strict=False))
    more = {"caption": "", "preset": "demo", "seed": 0, "tile": 0, "overlap": 128, "color_fix": "wavelet"}
    return {**loaded, **more, "image": PICTURE}


@pytest.mark.parametrize(
    ("size", "shape"),
    [
        (None, (40, 60)),
        (TargetSize(longest_side=90), (60, 90)),
        (TargetSize(size=(50, 50), fit="crop"), (50, 50)),
        (TargetSize(size=(50, 90), fit="pad"), (50, 90)),
        (TargetSize(4.0, shrink_first=4), (40, 60)),
    ],
)
def test_supir_restore_gives_the_size(run, demo, size, shape):
    for picture in run("SupirRestore", **demo, scale=1.0, size=size):
        assert picture.shape == (1, *shape, 3)
    if size and size.fit == "pad":
        assert (picture[:, :, :7] == 1).all() and not (picture[:, :, 8:82] == 1).all()


def test_a_scale_as_a_size_is_the_scale(run, demo):
    plain, sized = (
        run("SupirRestore", **demo, **given)[0] for given in ({"scale": 1.5}, {"scale": 1.0, "size": TargetSize(1.5)})
    )
    assert (plain == sized).all()


def test_supir_encode_takes_a_size_but_does_not_pad(run, demo):
    given = {name: demo[name] for name in ("supir_model", "vae", "image")} | {
        "scale": 1.0,
        "min_side": 64,
        "vae_tile": 0,
    }
    encoded = run("SupirEncode", **given, size=TargetSize(size=(64, 128), fit="crop"))
    assert encoded[2].shape == (1, 64, 128, 3)
    with pytest.raises(ValueError, match="SUPIR Encode cannot pad, as it gives a latent"):
        run("SupirEncode", **given, size=TargetSize(size=(128, 128), fit="pad"))


def sheet(run, **given):
    usual = {"labels": [""], "details": [1], "centers": [""], "zoom": [4.0], "width": [64], "columns": [4]}
    return run("SupirComparisonSheet", **usual | given)[0]


def test_every_picture_of_a_list_and_of_a_batch_has_a_column(run):
    pictures = [torch.rand(2, 40, 60, 3), torch.rand(1, 40, 60, 3)]
    drawn = sheet(run, image=pictures, image_2=[PICTURE], labels=["a\nb", "c"])
    columns = [*pictures[0], pictures[1][0], PICTURE[0]]
    expected = draw_sheet([column.movedim(-1, 0) for column in columns], ["a", "b", "c"], 1, width=64)
    assert torch.equal(drawn, expected.movedim(1, -1))


def test_centres_are_in_percent(run):
    pictures = torch.rand(2, 40, 60, 3)
    given = draw_sheet([*pictures.movedim(-1, 1)], details=[(0.5, 0.3), (0.2, 0.8)], width=64)
    assert torch.equal(sheet(run, image=[pictures], centers=["50 30, 20 80"]), given.movedim(1, -1))
    for wrong in ("50", "50 x", "1 2 3"):
        with pytest.raises(ValueError, match=f'two numbers a detail.*got "{wrong}"'):
            sheet(run, image=[pictures], centers=[wrong])


def test_four_seeds_from_a_list_become_a_sheet(server):
    """As the workflow does it, on the demo weights."""
    sockets = {name: ["1", place] for place, name in enumerate(("model", "clip", "vae", "supir_model", "image"))}
    numbers = {"caption": "", "preset": "demo", "tile": 0, "overlap": 128, "color_fix": "wavelet", "scale": 1.0}
    size = {"by": "longest side", "by.longest_side": 64, "shrink_first": "factor", "shrink_first.factor": 2.0}
    prompt = {
        "1": {"class_type": "SupirDemoLoader", "inputs": {}},
        "2": {"class_type": "PrimitiveInt", "inputs": {"value": 1}},
        "3": {"class_type": "PrimitiveInt", "inputs": {"value": 2}},
        "4": {"class_type": "CreateList", "inputs": {"inputs.input0": ["2", 0], "inputs.input1": ["3", 0]}},
        "5": {"class_type": "SupirSize", "inputs": size},
        "6": {"class_type": "SupirRestore", "inputs": {**sockets, **numbers, "seed": ["4", 0], "size": ["5", 0]}},
        "7": {
            "class_type": "SupirComparisonSheet",
            "inputs": {
                "image": ["6", 0],
                "labels": "1\n2",
                "details": 0,
                "centers": "",
                "zoom": 4.0,
                "width": 64,
                "columns": 4,
            },
        },
        "8": {"class_type": "SupirSaveImage", "inputs": {"images": ["7", 0], "filename_prefix": "sheet"}},
        "9": {
            "class_type": "ImageCompare",
            "inputs": {"image_a": ["1", 4], "image_b": ["6", 0], "compare_view": {"__value__": ["", ""]}},
        },
    }
    finished = server.run(prompt)
    assert finished.end == "execution_success"
    (saved,) = finished.pictures
    with Image.open(saved) as drawn:
        assert drawn.size == (2 * 64 + 3 * 8, 2 * 12 + 64 + 2 * 8)
