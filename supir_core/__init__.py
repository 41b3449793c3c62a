"""SUPIR and InstantIR picture restoration in PyTorch, independent of any host.

The way of a picture: ``pipeline.restore`` encodes it (``vae``), samples (``sampling``) with a denoiser (``denoiser``,
in ``tiling``'s tiles) made of the UNet (``unet``), the adaptor (``adaptor``) and its connectors (``connectors``),
decodes it and fixes its colours (``colorfix``). ``instantir`` is the second method.
"""

from .checkpoint import UnsupportedCheckpointError, open_checkpoint
from .instantir.model import InstantModel, load_instantir
from .instantir.pipeline import restore_instantir
from .instantir.settings import InstantSettings
from .model import SupirModel, load_model
from .pipeline import Progress, Restored, restore
from .settings import PRESETS, Settings, preset

__all__ = [
    "PRESETS",
    "InstantModel",
    "InstantSettings",
    "Progress",
    "Restored",
    "Settings",
    "SupirModel",
    "UnsupportedCheckpointError",
    "load_instantir",
    "load_model",
    "open_checkpoint",
    "preset",
    "restore",
    "restore_instantir",
]
