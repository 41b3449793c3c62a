"""How the damaged picture is perceived: DINOv2 ViT-L/14 without registers (Oquab et al. 2023), at 224 pixels.

Huang et al. 2024. The UNet reads all of the last layer's tokens, the class token first.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor, nn

from ..files.convert import to_image
from ..sdxl.memory import is_out_of_memory, reading

DINO = "facebook/dinov2-large"
SHORT_SIDE, SIDE, PATCH = 256, 224, 14
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class DinoNotFoundError(OSError):
    """No DINOv2 at the place that was named, or in it something else."""


def dino_pixels(picture: Tensor) -> Tensor:
    """Pictures ``(B, 3, H, W)`` in [0, 1] as DINOv2 takes them: ``(B, 3, 224, 224)``, normalised.

    Through 8 bits and Pillow's bicubic filter, as released: the short side to 256, then the middle. The ends of a long
    picture are not perceived.
    """
    pixels = np.stack([np.asarray(_middle(to_image(row))) for row in picture])
    unit = torch.from_numpy(pixels).to(picture.device).permute(0, 3, 1, 2).float() / 255
    mean, deviation = (unit.new_tensor(value)[:, None, None] for value in (MEAN, DEVIATION))
    return (unit - mean) / deviation


def no_picture(pixels: Tensor) -> Tensor:
    """What stands for no picture under negative prompts: zeros, a grey picture, ``(1, 3, 224, 224)``."""
    return torch.zeros_like(pixels[:1])


@reading
def load_dino(
    source: str | Path | None = None, dtype: torch.dtype = torch.float32, width: int | None = None
) -> nn.Module:
    """DINOv2, from a folder in transformers' layout or from the hub.

    ``width`` is how many channels its features must have. Its table of positions is resized here as the released code does at every call, which other versions of
    transformers do a little differently.

    Raises:
        DinoNotFoundError: it is in neither place, or the folder holds another model or damaged weights.
    """
    from transformers import AutoConfig, Dinov2Model

    name = str(source or DINO)
    try:
        config = AutoConfig.from_pretrained(name)
        if config.model_type != "dinov2":
            raise DinoNotFoundError(
                f'"{name}": expected DINOv2 without registers ({DINO}), this is {config.model_type}'
            )
        if width not in (None, config.hidden_size):
            raise DinoNotFoundError(
                f'"{name}": expected DINOv2 with features of {width} channels, as the adapter reads them, this has '
                f"{config.hidden_size}; for InstantIR's published files take {DINO}"
            )
        loaded: Any = Dinov2Model.from_pretrained(name, dtype=dtype, output_loading_info=True)
    except DinoNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise DinoNotFoundError(
            f'no DINOv2 at "{name}": expected a folder with config.json and model.safetensors, or a model id that the '
            f"Hugging Face hub answers for. Get {DINO} with `supir download dinov2 -o DIR` and name its folder "
            "(--dino DIR/dinov2-large on the command line)"
        ) from error
    except (SafetensorError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise
        raise DinoNotFoundError(f'"{name}": its weights cannot be read ({error}); download {DINO} again') from error
    model, info = loaded
    if info["missing_keys"]:
        missing = ", ".join(sorted(info["missing_keys"])[:3])
        raise DinoNotFoundError(f'"{name}": its weights lack {missing}; download {DINO} again')
    return prepare_dino(model)


def prepare_dino(model: Any) -> nn.Module:
    """Resize the table of positions of transformers' DINOv2 to 224 pixels, for good."""
    table = model.embeddings.position_embeddings
    model.embeddings.position_embeddings = nn.Parameter(resize_positions(table.data))
    return model.eval().requires_grad_(False)


def resize_positions(table: Tensor) -> Tensor:
    """The table of positions ``(1, 1 + n * n, C)`` for 16 x 16 patches, as released: bicubic by (16 + 0.1) / n."""
    side = SIDE // PATCH
    n = round((table.shape[1] - 1) ** 0.5)
    grid = table[:, 1:].unflatten(1, (n, n)).permute(0, 3, 1, 2).float()
    grid = F.interpolate(grid, scale_factor=(side + 0.1) / n, mode="bicubic")
    return torch.cat([table[:, :1], grid.permute(0, 2, 3, 1).flatten(1, 2).to(table)], dim=1)


def perceive(model: Any, pixels: Tensor) -> Tensor:
    """All tokens of the last layer, ``(B, 257, C)``."""
    return model(pixel_values=pixels.to(model.dtype)).last_hidden_state


def _middle(image: Image.Image) -> Image.Image:
    """The short side to 256 pixels, then the 224 in the middle."""
    short = min(image.size)
    width, height = (SHORT_SIDE * side // short for side in image.size)
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - SIDE) // 2, (height - SIDE) // 2
    return image.crop((left, top, left + SIDE, top + SIDE))
