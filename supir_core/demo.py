"""The demonstration: a real photograph, damaged on purpose, restored with small weights in the real file formats.

For now the weights are deterministic noise: they show that everything runs, not what SUPIR can do.
"""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from .adaptor import Adaptor
from .checkpoint import sha256
from .degradation import SETTINGS, degrade
from .demo_weights import (
    SDXL_FILE,
    SUPIR_FILE,
    TOKENIZER_FOLDER,
    UNET_CONFIG,
    VAE_CONFIG,
    save_demo_weights,
)
from .metadata import Label
from .model import SupirModel, load_model
from .pictures import save_png, to_tensor
from .pipeline import resize, restore
from .settings import preset
from .unet import UNet
from .vae import VAE, Encoder

log = logging.getLogger(__name__)

NOTICE = (
    "The demo weights are deterministic noise: the pictures show that every part runs, not what SUPIR can do."
)

CAPTION = "A portrait of a woman in an orange space suit, a flag behind her."
STEPS = 20


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
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        save_demo_weights(
            folder, UNet(UNET_CONFIG), VAE(VAE_CONFIG), Adaptor(UNET_CONFIG), Encoder(VAE_CONFIG)
        )
    return load_model(folder / SDXL_FILE, folder / SUPIR_FILE, folder / TOKENIZER_FOLDER)
