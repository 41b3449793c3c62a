"""The demonstration: a real photograph, damaged on purpose, restored with small weights in the real file formats.

For now the weights are deterministic noise: they show that everything runs, not what SUPIR can do.
"""

from __future__ import annotations

import json
import logging
import re
import tempfile
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from .adaptor import Adaptor
from .checkpoint import sha256
from .conditioning import NEGATIVE_PROMPT, POSITIVE_PROMPT
from .config import UNetConfig, VAEConfig
from .degradation import SETTINGS, degrade
from .metadata import Label
from .model import FIRST_STAGE, UNET, SupirModel, load_model
from .pictures import save_png, to_tensor
from .pipeline import preset, resize, restore
from .text import CLIP_G, CLIP_L
from .unet import UNet
from .vae import VAE, Encoder

log = logging.getLogger(__name__)

NOTICE = (
    "The demo weights are deterministic noise: the pictures show that every part runs, not what SUPIR can do."
)

CAPTION = "A portrait of a woman in an orange space suit, a flag behind her."
STEPS = 20

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


def run_demo(folder: Path, seed: int = 0) -> list[Path]:
    """Damage the photograph, restore it, and write the pictures to ``folder``; returns their paths."""
    log.warning(NOTICE)
    photograph = demo_photograph()
    damaged = degrade(photograph, SETTINGS["blur_sr4_noise_jpeg"])
    with tempfile.TemporaryDirectory() as weights:
        model = load_demo_model(Path(weights))
        settings = preset("quality", steps=STEPS, seed=seed)
        restored = restore(model, damaged, settings, scale=4, caption=CAPTION)
        hashes = {file.name: sha256(file) for file in model.files}
    label = Label(settings, CAPTION, 4, None, hashes)
    enlarged = resize(damaged, (photograph.shape[2], photograph.shape[3]))
    side_by_side = torch.cat([enlarged, restored.stage1, restored.image, photograph], dim=3)
    pictures = {
        "damaged.png": (damaged, None),
        "stage1.png": (restored.stage1, label),
        "restored.png": (restored.image, label),
        "side_by_side.png": (side_by_side, label),
    }
    for name, (picture, its_label) in pictures.items():
        save_png(folder / name, picture[0], its_label)
    return [folder / name for name in pictures]


def load_demo_model(folder: Path) -> SupirModel:
    """Write the demo weights to ``folder``, in the published formats, and load them as real ones are."""
    sdxl, supir, tokenizer = (
        folder / "demo_sdxl.safetensors",
        folder / "demo_supir.safetensors",
        folder / "tokenizer",
    )
    tokens = write_tokenizer(tokenizer, POSITIVE_PROMPT + NEGATIVE_PROMPT)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_file(_sdxl_state_dict(tokens), sdxl)
        save_file(_supir_state_dict(), supir)
    return load_model(sdxl, supir, tokenizer)


def write_tokenizer(folder: Path, text: str = "") -> int:
    """Write a CLIP tokenizer of single bytes in which each word of ``text`` is one token; returns its vocabulary."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = [chr(byte) for byte in printable] + [chr(256 + i) for i in range(len(others))]
    merges: dict[tuple[str, str], None] = {}
    for word in re.findall(r"[a-z]+|\d", text.lower()):
        start, *rest = [*word[:-1], word[-1] + "</w>"]
        for letter in rest:
            merges[start, letter] = None
            start += letter
    joined = dict.fromkeys(start + letter for start, letter in merges)
    tokens = [*letters, *(letter + "</w>" for letter in letters), *joined, "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {token: i for i, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    lines = ["#version: 0.2", *(f"{start} {letter}" for start, letter in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return len(tokens)


def _sdxl_state_dict(tokens: int) -> dict[str, Tensor]:
    return {
        **_half(UNET, UNet(UNET_CONFIG)),
        **_half(FIRST_STAGE, VAE(VAE_CONFIG)),
        **_clip_l(tokens),
        **_clip_g(tokens),
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


TEXT_POSITIONS, TEXT_LAYERS = 77, 2


def _clip_l(tokens: int) -> dict[str, Tensor]:
    """CLIP in transformers' names."""
    tensors = {
        "embeddings.token_embedding.weight": torch.randn(tokens, TEXT_WIDTH),
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


def _clip_g(tokens: int) -> dict[str, Tensor]:
    """CLIP in OpenCLIP's names."""
    tensors = {
        "token_embedding.weight": torch.randn(tokens, TEXT_WIDTH),
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
