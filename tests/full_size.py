"""SDXL and SUPIR at full size in no memory: every weight is one number, seen as many. And what a card would do with them."""

import json
from types import SimpleNamespace
from typing import NamedTuple
from unittest import mock

import torch
from torch import nn

from supir_core import preset, restore
from supir_core.command.demo import TOKENIZER_FOLDER
from supir_core.command.demo import WEIGHTS as DEMO
from supir_core.sdxl import planes
from supir_core.sdxl.config import UNetConfig, VAEConfig, without_prefix
from supir_core.sdxl.float8 import FLOAT8
from supir_core.sdxl.memory import GIB, free_bytes, vae_dtype
from supir_core.sdxl.model import UNET, WEIGHTS
from supir_core.sdxl.text import TextEncoders, load_tokenizer
from supir_core.sdxl.unet import UNet
from supir_core.sdxl.vae import VAE, Encoder
from supir_core.supir.adaptor import Adaptor
from supir_core.supir.model import SupirModel

from .conftest import GOLDEN
from .simulated_gpu import simulated_gpu

VAE_CONFIG = VAEConfig(widths=(128, 256, 512, 512), blocks=2, latent_channels=4, stem=128)
CLIP_L, CLIP_G = "conditioner.embedders.0.transformer.text_model.", "conditioner.embedders.1.model."
WEIGHTS_COME = "supir_core/sdxl/residency.py"
TEXT_SHAPES = {
    f"{CLIP_L}embeddings.token_embedding.weight": (49408, 768),
    f"{CLIP_L}embeddings.position_embedding.weight": (77, 768),
    f"{CLIP_G}token_embedding.weight": (49408, 1280),
    f"{CLIP_G}positional_embedding": (77, 1280),
    f"{CLIP_G}text_projection": (1280, 1280),
    **{f"{CLIP_L}encoder.layers.{i}.mlp.fc1.weight": (3072, 768) for i in range(12)},
    **{f"{CLIP_G}transformer.resblocks.{i}.mlp.c_fc.weight": (5120, 1280) for i in range(32)},
}


def unet_config(prefix):
    keys = json.loads((GOLDEN.parent / "full_keys.json").read_text(encoding="utf-8"))
    shapes = {key: tuple(shape) for key, shape in keys.items()}
    return UNetConfig.from_shapes(without_prefix(shapes, prefix))


def one_number(shape, dtype):
    """Zeros of a shape that take the room of one."""
    return torch.zeros((), dtype=dtype).expand(shape)


def filled(module, zeros, dtype, matrices=None):
    """A module made on ``meta``, with zeros for weights, its matrices perhaps of another precision."""
    matrices = matrices or dtype
    for owner in module.modules():
        for name, tensor in owner._parameters.items():
            if tensor is not None:
                numbers = zeros(tensor.shape, dtype=matrices if tensor.ndim > 1 else dtype)
                owner._parameters[name] = nn.Parameter(numbers, requires_grad=False)
        for name, tensor in owner._buffers.items():
            if tensor is not None:
                kind = dtype if tensor.is_floating_point() else tensor.dtype
                owner._buffers[name] = zeros(tensor.shape, dtype=kind)
    return module.eval()


def full_model(dtype=torch.float16, memory="auto", weights="same", zeros=one_number):
    """A SupirModel for the GPU; call it while the simulated one is on, or with ``torch.zeros`` where there is a real one."""
    device = torch.device("cuda")
    seams = WEIGHTS[weights]
    with torch.device("meta"):
        unet = UNet(unet_config(UNET), **seams)
        adaptor = Adaptor(unet_config("model.control_model."), **seams)
        vae, dr_encoder = VAE(VAE_CONFIG), Encoder(VAE_CONFIG)
        text = TextEncoders(TEXT_SHAPES, load_tokenizer(DEMO / TOKENIZER_FOLDER))
    for module in (unet, adaptor):
        filled(module, zeros, dtype, FLOAT8 if seams else dtype)
    filled(text, zeros, dtype)
    for module in (vae, dr_encoder):
        filled(module, zeros, vae_dtype(device, dtype))
    text.fill_buffers()
    return SupirModel(
        unet=unet, vae=vae, text=text, device=device, files=(), adaptor=adaptor, dr_encoder=dr_encoder, memory=memory
    )


class Traffic(NamedTuple):
    """What a piece of work took of a card: GiB at its peak, moved up and down, through files; and how often it waited.

    Uploads of weights are in ``up``, but not among the waits.
    """

    peak: float
    up: float
    down: float
    files: float
    waits: int


class Card:
    """A simulated card of so many GiB, and full-size networks for it; ``host`` GiB of main memory are free beside it."""

    def __init__(self, gib, host=32, **model):
        self.host = host * GIB
        self.model_options = model
        self.simulation = simulated_gpu(values=False, total=gib * GIB)

    def __enter__(self):
        self.gpu = self.simulation.__enter__()
        self.model = full_model(**self.model_options)
        return self

    def __exit__(self, *error):
        return self.simulation.__exit__(*error)

    def free(self, device):
        """Bytes that are free on a device."""
        return self.host if device.type == "cpu" else free_bytes(device)

    def watch(self, work):
        """Do a piece of work, and say what it took."""
        gpu, written = self.gpu, []
        for counter in (gpu.waits, gpu.bytes_up, gpu.bytes_down):
            counter.clear()
        gpu.peak = gpu.now

        def in_files(plane, top, rows):
            written.append(rows.numel() * rows.element_size())
            plane.moments.add(rows)

        memory = mock.patch("psutil.virtual_memory", return_value=SimpleNamespace(available=self.host))

        def finite(values):
            if values.is_cuda:
                gpu.wait("finite")
            return True

        with memory, mock.patch.object(planes.FilePlane, "write", in_files), mock.patch("torch.isfinite", finite):
            work(self.model)
        waits = sum(count for line, count in gpu.waits.items() if not line.startswith(WEIGHTS_COME))
        up, down = (sum(counter.values()) / GIB for counter in (gpu.bytes_up, gpu.bytes_down))
        return Traffic(gpu.peak / GIB, up, down, sum(written) / GIB, waits)


def one_step(side):
    """Enlarges a picture twofold to a square of ``side`` with one step of sampling, restoration guidance included."""

    def work(model):
        picture = torch.zeros(()).expand(1, 3, side // 2, side // 2)
        restore(model, picture, preset("quality", steps=1, restoration_scale=4.0))

    return work
