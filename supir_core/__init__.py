"""SUPIR picture restoration in PyTorch, independent of any host.

The way of a picture: ``pipeline.restore`` encodes it (``vae``), samples (``sampling``) with a denoiser (``denoiser``,
in ``tiling``'s tiles) made of the UNet (``unet``), the adaptor (``adaptor``) and its connectors (``connectors``),
decodes it and fixes its colours (``colorfix``).
"""

from .checkpoint import UnsupportedCheckpointError, open_checkpoint
from .model import SupirModel, load_model
from .pipeline import Progress, Restored, restore
from .settings import PRESETS, Settings, preset

__all__ = [
    "PRESETS",
    "Progress",
    "Restored",
    "Settings",
    "SupirModel",
    "UnsupportedCheckpointError",
    "load_model",
    "open_checkpoint",
    "preset",
    "restore",
]
