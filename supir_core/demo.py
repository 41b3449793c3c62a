"""The demonstration: a real photograph, damaged on purpose, restored with small weights in the real file formats.

For now the weights are deterministic noise: they show that everything runs, not what SUPIR can do.
"""

from __future__ import annotations

import io
import json
from pathlib import Path

import torch
from PIL import Image, ImageFilter
from safetensors.torch import save_file
from torch import Tensor, nn

from .adaptor import Adaptor
from .config import UNetConfig, VAEConfig
from .model import FIRST_STAGE, UNET, SupirModel, load_model
from .pictures import to_image, to_tensor
from .text import CLIP_G, CLIP_L
from .unet import UNet
from .vae import VAE, Encoder

NOTICE = "The demo weights are deterministic noise: the pictures show that every part runs, not what SUPIR can do."

TEXT_WIDTH = 64
CONTEXT_WIDTH = 2 * TEXT_WIDTH
SIZE_WIDTH = 6 * 256
UNET_CONFIG = UNetConfig(
    in_channels=4,
    widths=(32, 64, 128),
    context_width=CONTEXT_WIDTH,
    vector_width=TEXT_WIDTH + SIZE_WIDTH,
    input_depths=(0, 0, 0, 0, 1, 1, 0, 1, 1),
    middle_depth=1,
    output_depths=(1, 1, 1, 1, 1, 1, 0, 0, 0),
)
VAE_CONFIG = VAEConfig(widths=(32, 64, 64, 64), blocks=1, latent_channels=4)


def demo_photograph() -> Tensor:
    """A photograph that scikit-image ships, in the public domain (NASA): ``(1, 3, 512, 512)`` in [0, 1]."""
    from skimage import data

    return to_tensor(Image.fromarray(data.astronaut()))


def damage(photograph: Tensor, seed: int = 0) -> Tensor:
    """Blur, a quarter of the size, noise, JPEG: ``(1, 3, H, W)`` -> ``(1, 3, H/4, W/4)``, in [0, 1]."""
    image = to_image(photograph[0]).filter(ImageFilter.GaussianBlur(2))
    image = image.resize((image.width // 4, image.height // 4), Image.Resampling.BICUBIC)
    small = to_tensor(image)
    noise = torch.randn(small.shape, generator=torch.Generator().manual_seed(seed))
    noisy = (small + noise * (10 / 255)).clamp(0, 1)
    buffer = io.BytesIO()
    to_image(noisy[0]).save(buffer, format="JPEG", quality=50)
    return to_tensor(Image.open(buffer))


def load_demo_model(folder: Path) -> SupirModel:
    """Write the demo weights to ``folder``, in the published formats, and load them as real ones are."""
    sdxl, supir, tokenizer = folder / "demo_sdxl.safetensors", folder / "demo_supir.safetensors", folder / "tokenizer"
    torch_state = torch.random.get_rng_state()
    try:
        torch.manual_seed(0)
        save_file(_sdxl_state_dict(), sdxl)
        save_file(_supir_state_dict(), supir)
    finally:
        torch.random.set_rng_state(torch_state)
    write_byte_tokenizer(tokenizer)
    return load_model(sdxl, supir, tokenizer)


def write_byte_tokenizer(folder: Path) -> None:
    """A CLIP tokenizer without merges: a token for each byte, and one for each byte that ends a word."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = [chr(byte) for byte in printable] + [chr(256 + i) for i in range(len(others))]
    tokens = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {token: i for i, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")


def _sdxl_state_dict() -> dict[str, Tensor]:
    return {
        **_half(UNET, UNet(UNET_CONFIG)),
        **_half(FIRST_STAGE, VAE(VAE_CONFIG)),
        **_clip_l(),
        **_clip_g(),
    }


def _supir_state_dict() -> dict[str, Tensor]:
    adaptor = Adaptor(UNET_CONFIG)
    return {
        **_half("model.control_model.", adaptor.control_model),
        **_half(UNET + "project_modules.", adaptor.project_modules),
        **_half(FIRST_STAGE + "denoise_encoder.", Encoder(VAE_CONFIG)),
    }


def _half(prefix: str, module: nn.Module) -> dict[str, Tensor]:
    return {prefix + key: tensor.half() for key, tensor in module.state_dict().items()}


TEXT_TOKENS, TEXT_POSITIONS, TEXT_LAYERS = 514, 77, 2


def _clip_l() -> dict[str, Tensor]:
    """CLIP in transformers' names."""
    tensors = {
        "embeddings.token_embedding.weight": torch.randn(TEXT_TOKENS, TEXT_WIDTH),
        "embeddings.position_embedding.weight": torch.randn(TEXT_POSITIONS, TEXT_WIDTH) * 0.1,
        **_linear("final_layer_norm", nn.LayerNorm(TEXT_WIDTH)),
    }
    for i in range(TEXT_LAYERS):
        layer = f"encoder.layers.{i}."
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            tensors |= _linear(f"{layer}self_attn.{name}", nn.Linear(TEXT_WIDTH, TEXT_WIDTH))
        for name in ("layer_norm1", "layer_norm2"):
            tensors |= _linear(layer + name, nn.LayerNorm(TEXT_WIDTH))
        tensors |= _linear(layer + "mlp.fc1", nn.Linear(TEXT_WIDTH, 4 * TEXT_WIDTH))
        tensors |= _linear(layer + "mlp.fc2", nn.Linear(4 * TEXT_WIDTH, TEXT_WIDTH))
    return {CLIP_L + key: tensor.detach().half() for key, tensor in tensors.items()}


def _clip_g() -> dict[str, Tensor]:
    """CLIP in OpenCLIP's names."""
    tensors = {
        "token_embedding.weight": torch.randn(TEXT_TOKENS, TEXT_WIDTH),
        "positional_embedding": torch.randn(TEXT_POSITIONS, TEXT_WIDTH) * 0.1,
        "text_projection": torch.randn(TEXT_WIDTH, TEXT_WIDTH) * TEXT_WIDTH**-0.5,
        "logit_scale": torch.ones(()),
        **_linear("ln_final", nn.LayerNorm(TEXT_WIDTH)),
    }
    for i in range(TEXT_LAYERS):
        layer = f"transformer.resblocks.{i}."
        joint = nn.Linear(TEXT_WIDTH, 3 * TEXT_WIDTH)
        tensors |= {layer + "attn.in_proj_weight": joint.weight, layer + "attn.in_proj_bias": joint.bias}
        tensors |= _linear(layer + "attn.out_proj", nn.Linear(TEXT_WIDTH, TEXT_WIDTH))
        for name in ("ln_1", "ln_2"):
            tensors |= _linear(layer + name, nn.LayerNorm(TEXT_WIDTH))
        tensors |= _linear(layer + "mlp.c_fc", nn.Linear(TEXT_WIDTH, 4 * TEXT_WIDTH))
        tensors |= _linear(layer + "mlp.c_proj", nn.Linear(4 * TEXT_WIDTH, TEXT_WIDTH))
    return {CLIP_G + key: tensor.detach().half() for key, tensor in tensors.items()}


def _linear(name: str, layer: nn.Linear | nn.LayerNorm) -> dict[str, Tensor]:
    return {f"{name}.weight": layer.weight, f"{name}.bias": layer.bias}
