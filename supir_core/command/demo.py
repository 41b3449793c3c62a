"""The demonstration: a real photograph, damaged in two ways, restored with small weights in the real file formats."""

from __future__ import annotations

import logging
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor

from ..evaluation.degradation import SETTINGS, degrade
from ..evaluation.metrics import gmsd, psnr
from ..evaluation.sheet import draw_sheet
from ..files.checkpoint import sha256
from ..files.convert import to_tensor
from ..files.metadata import Label
from ..files.pictures import read_picture, write_picture
from ..restoration.canvas import Restored, resize
from ..sdxl.config import UNetConfig, VAEConfig
from ..supir.model import SupirModel, load_model
from ..supir.pipeline import restore
from ..supir.settings import PRESETS
from .output import check_folder

log = logging.getLogger(__name__)

WEIGHTS = Path(__file__).parents[2] / "demo"
"""Where the repository keeps them; how they were trained and how good they are: its README."""

SDXL_FILE, SUPIR_FILE, TOKENIZER_FOLDER = "demo_sdxl.safetensors", "demo_supir.safetensors", "tokenizer"
DAMAGED_FILE = "damaged.png"
"""The demonstration's input, for where scikit-image is not at hand."""

CONTEXT_WIDTH = 128
UNET_CONFIG = UNetConfig(
    in_channels=4,
    widths=(64, 64, 64),
    context_width=CONTEXT_WIDTH,
    vector_width=CONTEXT_WIDTH // 2 + 6 * 256,
    input_depths=(0, 0, 0, 0, 0, 1, 0, 0, 1),
    middle_depth=1,
    output_depths=(1, 0, 0, 1, 0, 0, 0, 0, 0),
)
VAE_CONFIG = VAEConfig(widths=(96, 64, 64, 96), blocks=1, latent_channels=4, stem=32)
"""At both ends three channels share a group of each GroupNorm: with fewer, it takes a picture's mean colour away."""

CAPTION = "A woman in uniform."
DAMAGE = "blur_sr4_noise_jpeg"
DAMAGES = {"noise": ("noise 40", "sr4_noise"), "mixture": ("blur, noise, JPEG", DAMAGE)}
"""Folder, name and setting of what is shown, what the demo weights do best first."""

SCALE = 4
DEMO_SETTINGS = PRESETS["demo"]


class Demonstration(NamedTuple):
    """The files written, and for each of the pictures its PSNR in dB and its GMSD to the original, if there is one."""

    files: list[Path]
    distances: dict[str, tuple[float, float]]


def demo_photograph() -> Tensor:
    """A photograph that scikit-image ships, in the public domain (NASA): ``(1, 3, 512, 512)`` in [0, 1].

    Raises:
        ImportError: scikit-image is not installed.
    """
    from skimage import data

    return to_tensor(Image.fromarray(data.astronaut()))


def demo_files() -> list[Path]:
    """The demo weights: SDXL's and SUPIR's.

    Raises:
        FileNotFoundError: they are not there.
    """
    if not (WEIGHTS / SDXL_FILE).is_file():
        raise FileNotFoundError(
            f"{WEIGHTS}: expected the demo weights, but they are not there; they come with the repository, "
            "so clone it and install it with `pip install -e .`"
        )
    return [WEIGHTS / SDXL_FILE, WEIGHTS / SUPIR_FILE]


def load_demo_model(
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
    memory: str = "auto",
    weights: str = "same",
) -> SupirModel:
    """Load the demo weights as real ones are loaded; arguments as in ``load_model``.

    Raises:
        FileNotFoundError: they are not there.
    """
    sdxl, supir = demo_files()
    return load_model(sdxl, supir, WEIGHTS / TOKENIZER_FOLDER, device, dtype, memory, weights)


def run_demo(folder: Path, seed: int = 0) -> Demonstration:
    """Damage the photograph in the ways of ``DAMAGES``, restore it, and write the pictures to ``folder``.

    Without scikit-image the damaged picture of the repository is restored, and there is no original to compare with.
    """
    check_folder(folder)
    original, damaged = _damaged()
    model = load_demo_model()
    settings = replace(DEMO_SETTINGS, seed=seed)
    label = Label(
        settings.method, asdict(settings), CAPTION, {"scale": SCALE}, {file.name: sha256(file) for file in model.files}
    )
    files, distances, panels = [], {}, []
    for name, picture in damaged.items():
        restored = restore(model, picture, settings, scale=SCALE, caption=CAPTION)
        files += _write(folder / name, picture, restored, label)
        enlarged = resize(picture, (SCALE * picture.shape[2], SCALE * picture.shape[3]))
        made = {"enlarged": enlarged, "stage 1": restored.stage1, "restored": restored.image}
        title = DAMAGES[name][0]
        measured = (
            {} if original is None else {kind: (psnr(p, original), gmsd(p, original)) for kind, p in made.items()}
        )
        distances |= {f"{title}: {kind}": distance for kind, distance in measured.items()}
        decibels = {kind: f": {distance[0]:.1f} dB" for kind, distance in measured.items()}
        panels += [(f"{title}, {kind}{decibels.get(kind, '')}", shown) for kind, shown in made.items()]
        panels += [] if original is None else [("original", original)]
    files.append(folder / "side_by_side.png")
    columns = len(panels) // len(damaged)
    sheet = draw_sheet([shown[0] for _, shown in panels], [name for name, _ in panels], details=0, columns=columns)
    write_picture(files[-1], sheet[0], label)
    return Demonstration(files, distances)


def _damaged() -> tuple[Tensor | None, dict[str, Tensor]]:
    """The original, and as it is damaged in each way."""
    try:
        original = demo_photograph()
    except ImportError:
        log.warning("scikit-image is not installed, so there is no original to compare with: pip install scikit-image")
        return None, {"mixture": read_picture(WEIGHTS / DAMAGED_FILE)}
    return original, {name: degrade(original, SETTINGS[setting]) for name, (_, setting) in DAMAGES.items()}


def _write(folder: Path, damaged: Tensor, restored: Restored, label: Label) -> list[Path]:
    """The pictures of one damage as files; what the model made is labelled."""
    pictures = {
        "damaged.png": (damaged, None),
        "stage1.png": (restored.stage1, label),
        "restored.png": (restored.image, label),
    }
    for name, (picture, its_label) in pictures.items():
        write_picture(folder / name, picture[0], its_label)
    return [folder / name for name in pictures]
