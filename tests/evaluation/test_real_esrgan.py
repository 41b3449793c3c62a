"""Real-ESRGAN's weights out of ncnn's files."""

import io

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from supir_core.evaluation.upscaler import load_upscaler
from tools.training.real_esrgan import state_dict

WIDTH, GROWTH = (
    5,
    32,
)  # odd, so that the first weights in float16 do not end at a multiple of four bytes; as spandrel has it
DENSE = [(GROWTH, WIDTH + number * GROWTH) for number in range(4)] + [(WIDTH, WIDTH + 4 * GROWTH)]
SHAPES = {
    "conv_first": (WIDTH, 3),
    **{f"body.0.rdb{dense}.conv{at}": shape for dense in (1, 2, 3) for at, shape in enumerate(DENSE, 1)},
    **dict.fromkeys(("conv_body", "conv_up1", "conv_up2", "conv_hr"), (WIDTH, WIDTH)),
    "conv_last": (3, WIDTH),
}


@pytest.fixture
def weights():
    """Of a network with one block."""
    shapes = {f"{name}.weight": (*shape, 3, 3) for name, shape in SHAPES.items()}
    shapes |= {f"{name}.bias": shape[:1] for name, shape in SHAPES.items()}
    return {name: 0.1 * torch.randn(shape) for name, shape in shapes.items()}


def as_ncnn(weights, half):
    """The two files, as ncnn's documentation has them."""
    lines, numbers = ["7767517", "99 99", "Input in 0 1 data"], b""
    for name, (channels, inputs) in SHAPES.items():
        count = channels * inputs * 9
        lines.append(f"Convolution {name} 1 1 {name}_in {name}_out 0={channels} 1=3 4=1 5=1 6={count} 9=2 -23310=1,0.2")
        lines.append(f"Split {name}_split 1 2 {name}_out a b")
        weight = weights[f"{name}.weight"].numpy().astype(np.float16 if half else np.float32).tobytes()
        flag = b"\x47\x6b\x30\x01" if half else bytes(4)
        numbers += flag + weight + bytes(-len(weight) % 4) + weights[f"{name}.bias"].numpy().tobytes()
    return "\n".join(lines), io.BytesIO(numbers)


@pytest.mark.parametrize("half", [True, False])
def test_every_weight_has_its_public_name(weights, half):
    read = state_dict(*as_ncnn(weights, half))
    assert read.keys() == weights.keys()
    for name, weight in weights.items():
        assert read[name].equal(weight.half().float() if half and name.endswith("weight") else weight)


def test_spandrel_knows_the_file(weights, tmp_path):
    save_file(state_dict(*as_ncnn(weights, half=True)), tmp_path / "tiny.safetensors")
    assert load_upscaler(tmp_path / "tiny.safetensors")(torch.rand(1, 3, 8, 6)).shape == (1, 3, 32, 24)


def test_files_that_do_not_belong_together_are_refused(weights):
    param, numbers = as_ncnn(weights, half=True)
    with pytest.raises(ValueError, match="take both files of one network"):
        state_dict(param, io.BytesIO(numbers.read() + bytes(8)))
    with pytest.raises(ValueError, match="got ncnn's form 0x7"):
        state_dict(param, io.BytesIO(b"\x07\0\0\0"))
