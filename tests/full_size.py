"""SDXL and SUPIR at full size in no memory: every weight is one number, seen as many."""

import json

import torch
from torch import nn

from supir_core.command.demo import TOKENIZER_FOLDER, WEIGHTS
from supir_core.sdxl.config import UNetConfig, VAEConfig, without_prefix
from supir_core.sdxl.memory import vae_dtype
from supir_core.sdxl.model import UNET
from supir_core.sdxl.text import TextEncoders, load_tokenizer
from supir_core.sdxl.unet import UNet
from supir_core.sdxl.vae import VAE, Encoder
from supir_core.supir.adaptor import Adaptor
from supir_core.supir.model import SupirModel

from .conftest import GOLDEN

VAE_CONFIG = VAEConfig(widths=(128, 256, 512, 512), blocks=2, latent_channels=4, stem=128)
CLIP_L, CLIP_G = "conditioner.embedders.0.transformer.text_model.", "conditioner.embedders.1.model."
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


def hollow(module, dtype):
    for owner in module.modules():
        for name, tensor in owner._parameters.items():
            if tensor is not None:
                seen = torch.zeros((), dtype=dtype).expand(tensor.shape)
                owner._parameters[name] = nn.Parameter(seen, requires_grad=False)
        for name, tensor in owner._buffers.items():
            if tensor is not None:
                kind = dtype if tensor.is_floating_point() else tensor.dtype
                owner._buffers[name] = torch.zeros((), dtype=kind).expand(tensor.shape)
    return module.eval()


def full_model(dtype=torch.float16, memory="auto"):
    """A SupirModel for the (simulated) GPU; call it while that is on."""
    device = torch.device("cuda")
    with torch.device("meta"):
        unet = UNet(unet_config(UNET))
        adaptor = Adaptor(unet_config("model.control_model."))
        vae, dr_encoder = VAE(VAE_CONFIG), Encoder(VAE_CONFIG)
        text = TextEncoders(TEXT_SHAPES, load_tokenizer(WEIGHTS / TOKENIZER_FOLDER))
    of_vae = vae_dtype(device, dtype)
    for module, precision in ((unet, dtype), (adaptor, dtype), (text, dtype), (vae, of_vae), (dr_encoder, of_vae)):
        hollow(module, precision)
    text.fill_buffers()
    return SupirModel(
        unet=unet, vae=vae, text=text, device=device, files=(), adaptor=adaptor, dr_encoder=dr_encoder, memory=memory
    )
