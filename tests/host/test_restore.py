"""What the nodes give is what the library gives."""

from dataclasses import replace

import pytest

from supir_core.demo import WEIGHTS, load_demo_model
from supir_core.pictures import read_picture
from supir_core.pipeline import restore
from supir_core.settings import PRESETS

CLOSE = 1e-3
"""Of the range of values, in float32; measured about 1e-6 to 1e-5."""


@pytest.fixture(scope="module")
def demo(run):
    return dict(zip(("model", "clip", "vae", "supir_model"), run("SupirDemoLoader")[:4], strict=True))


@pytest.fixture(scope="module")
def picture():
    return read_picture(WEIGHTS / "damaged.png")[..., 20:52, 40:72]


@pytest.fixture
def fewer_steps(monkeypatch):
    """Presets of few steps, in the library and in the pack."""
    import sys

    settings = {name: replace(preset, steps=4) for name, preset in PRESETS.items()}
    for name, module in list(sys.modules.items()):
        if name.endswith("supir_core.settings"):
            ours = {key: module.preset(key, steps=4) for key in PRESETS}
            monkeypatch.setattr(module, "PRESETS", ours)
        if name.endswith((".nodes.restore", ".nodes.sampler")):
            ours = {key: replace(preset, steps=4) for key, preset in module.PRESETS.items()}
            monkeypatch.setattr(module, "PRESETS", ours)
    return settings


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
