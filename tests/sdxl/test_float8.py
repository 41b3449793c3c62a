"""Weights in 8 bits: half the bytes, nearly the same picture, the cast within each layer."""

import torch

from supir_core import restore
from supir_core.command.demo import load_demo_model
from supir_core.evaluation.metrics import psnr
from supir_core.sdxl.float8 import FLOAT8, to_float8
from supir_core.sdxl.residency import weight_bytes


def test_matrices_are_kept_in_8_bits_and_the_picture_is_nearly_the_same(demo_model):
    small = load_demo_model(weights="float8")
    kinds = {p.dtype for p in small.adaptor.parameters() if p.ndim > 1} | {
        p.dtype for p in small.unet.parameters() if p.ndim > 1
    }
    assert kinds == {FLOAT8}
    assert weight_bytes(small.unet) < 0.26 * weight_bytes(demo_model.unet)
    picture = torch.rand(1, 3, 24, 24)
    ours, exact = (restore(model, picture, "demo", scale=4.0, seed=1).image for model in (small, demo_model))
    assert 42 < psnr(ours, exact) < 60  # measured 45.0


def test_what_float8_cannot_hold_takes_its_end():
    tensors = to_float8({"weight": torch.tensor([[1e4, -1e4, 1.0]]), "bias": torch.tensor([1e4])})
    assert tensors["weight"].float().tolist() == [[448.0, -448.0, 1.0]]
    assert tensors["bias"].item() == 1e4
