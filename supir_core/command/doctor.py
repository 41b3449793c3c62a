"""``supir doctor``: what this machine is, what would be done with its memory, and whether it computes the right numbers."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from collections.abc import Iterator

import torch
from safetensors.torch import load_file
from torch import Tensor

from ..restoration.denoiser import LinearSchedule
from ..sdxl.large_vae import FINEST_WIDTH, vae_wishes
from ..sdxl.memory import GIB, Free, free_bytes, vae_dtype
from ..sdxl.model import WORK_NUMBERS, defaults
from ..sdxl.planes import HOST_RESERVE
from ..supir.denoiser import GuidedDenoiser
from ..supir.model import SupirModel
from .demo import WEIGHTS, load_demo_model

CHECK_FILE = WEIGHTS / "check.safetensors"
"""Inputs of the demo networks and what they give, computed on a CPU in float32."""

PARAMETERS = {"UNet": 2.567e9, "adaptor": 1.297e9, "text encoders": 0.817e9, "VAE": 0.118e9}
"""How many numbers the full-size networks hold."""

TOLERANCES = {torch.float32: 1e-4, torch.bfloat16: 4e-2, torch.float16: 5e-3}
"""Relative error by precision. Measured on a CPU: 0 in float32, 2.4e-2 in bfloat16, 2.5e-3 in float16."""

SIDES = (1024, 2048, 4096)


def report(device: str | None = None) -> Iterator[str]:
    """The lines of the report, the self-check last; an issue report starts with them."""
    from .. import __version__

    chosen, dtype = defaults(device, None)
    yield f"supir {__version__}, Python {platform.python_version()}, PyTorch {torch.__version__}, {platform.platform()}"
    yield f"device {chosen}: {device_name(chosen)}, computes in {_word(dtype)}, VAE in {_word(vae_dtype(chosen, dtype))}"
    folder = tempfile.gettempdir()
    yield (
        f"free: {free_bytes(chosen) / GIB:.1f} GiB for tensors on {chosen}, "
        f"{free_bytes(torch.device('cpu')) / GIB:.1f} in main memory, {shutil.disk_usage(folder).free / GIB:.1f} in {folder}"
    )
    for side in SIDES:
        yield f"{side}x{side} pixels: {plan(side, chosen, dtype)}"


def device_name(device: torch.device) -> str:
    """What the device calls itself."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "xpu":
        return torch.xpu.get_device_name(device)
    return f"{os.cpu_count()} processors" if device.type == "cpu" else "Apple GPU"


def plan(side: int, device: torch.device, dtype: torch.dtype, free: Free = free_bytes) -> str:
    """In words: what ``--memory auto`` does with the full-size networks for a square picture."""
    room, host = free(device), free(torch.device("cpu"))
    bits = {name: count * dtype.itemsize for name, count in PARAMETERS.items()}
    bits["VAE"] = PARAMETERS["VAE"] * vae_dtype(device, dtype).itemsize
    sampling = bits["UNet"] + bits["adaptor"] + 2 * min(side, 1024) ** 2 * WORK_NUMBERS * dtype.itemsize
    piece, planes, band = vae_wishes(side * side, None, FINEST_WIDTH, vae_dtype(device, dtype).itemsize)
    left = room - bits["VAE"]
    if left >= piece:
        vae = "the VAE in one piece"
    elif left >= planes:
        vae = f"the VAE in bands, its feature maps on {device}"
    elif host - HOST_RESERVE >= planes:
        vae = "the VAE in bands, its feature maps in main memory"
    else:
        vae = "the VAE in bands, its feature maps in files, which is slow"
    if device.type == "cpu":
        return vae
    if sum(bits.values()) + max(piece if left >= piece else band, sampling - bits["UNet"] - bits["adaptor"]) <= room:
        return f"all networks stay on {device}; {vae}"
    if sampling <= room:
        return f"networks make room for each other; {vae}"
    return f"UNet and adaptor are streamed block by block; {vae}"


def check(device: str | None = None) -> Iterator[tuple[str, float, float]]:
    """Run the demo networks on a device in its precision: name, relative error, and the most that it may be."""
    model = load_demo_model(device)
    numbers = load_file(CHECK_FILE)
    for name, value in computed(model, numbers):
        expected = numbers[name]
        error = ((value.float().cpu() - expected).norm() / expected.norm()).item()
        yield name, error, TOLERANCES[model.unet.dtype if name == "denoised" else model.vae.dtype]


@torch.no_grad()
def computed(model: SupirModel, numbers: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """What the networks make of the inputs among the numbers."""
    picture, z_lq, x = (numbers[name].to(model.device) for name in ("picture", "z_lq", "x"))
    yield "encoded", model.encode(picture, None, model.dr_encoder)
    yield "decoded", model.decode(z_lq, None)
    positive, negative = model.encode_texts(["a woman in uniform", "blur"])
    flat = LinearSchedule(2.0, 2.0)
    denoiser = GuidedDenoiser(model.unet, model.adaptor, z_lq, [positive], negative, flat, LinearSchedule(1.0, 1.0))
    with model.at_work(model.unet, model.adaptor):
        yield "denoised", denoiser(x, torch.full((len(x),), 2.0, device=model.device), 2.0)


def _word(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
