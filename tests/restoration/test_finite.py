"""A stage whose values are not finite ends by name, and nothing is saved."""

import copy

import pytest
import torch

from supir_core.restoration.finite import NotFiniteError, require_finite
from supir_core.supir.pipeline import restore


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_one_value_is_enough(value, dtype):
    values = torch.full((1, 3, 300, 300), 6e4, dtype=dtype)
    assert require_finite(values, "decoding") is values
    values[0, 1, 2, 3] = value
    with pytest.raises(NotFiniteError, match=r"decoding gave values .* bfloat16 or float32"):
        require_finite(values, "decoding")


@pytest.mark.parametrize(("part", "stage"), [("dr_encoder", "stage 1"), ("vae", "stage 1"), ("unet", "sampling")])
def test_a_nan_in_the_weights_names_the_stage(demo_model, part, stage):
    model = copy.deepcopy(demo_model)
    list(getattr(model, part).parameters())[-1].data.fill_(float("nan"))
    with pytest.raises(NotFiniteError, match=f"^{stage} gave"):
        restore(model, torch.rand(1, 3, 32, 32), "demo", scale=1)


def test_the_command_saves_nothing_that_is_not_finite(run, demo_model, monkeypatch, tmp_path):
    from ..command.test_cli import FAST, make_picture

    broken = copy.deepcopy(demo_model)
    list(broken.unet.parameters())[-1].data.fill_(float("nan"))
    monkeypatch.setattr("supir_core.command.demo.load_demo_model", lambda *_: broken)
    code, said = run("restore", make_picture(tmp_path / "a.png"), "-o", tmp_path / "out", "--demo", *FAST, "--stage1")
    assert code == 1
    assert "sampling gave values that are not finite" in said
    assert list((tmp_path / "out").iterdir()) == []
