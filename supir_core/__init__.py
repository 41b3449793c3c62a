"""SUPIR and InstantIR picture restoration in PyTorch, independent of any host.

The way of a picture: ``pipeline.restore`` encodes it (``vae``), samples (``sampling``) with a denoiser (``denoiser``,
in ``tiling``'s tiles) made of the UNet (``unet``), the adaptor (``adaptor``) and its connectors (``connectors``),
decodes it and fixes its colours (``colorfix``). ``instantir`` is the second method.
"""

from .files.checkpoint import UnsupportedCheckpointError, open_checkpoint
from .instantir.model import InstantIRModel, load_instantir
from .instantir.pipeline import restore_instantir
from .instantir.settings import InstantSettings
from .restoration.canvas import Restored
from .restoration.progress import Progress
from .supir.model import SupirModel, load_model
from .supir.pipeline import restore
from .supir.settings import PRESETS, Settings, preset

InstantModel = InstantIRModel
"""Its earlier name."""

__all__ = [
    "PRESETS",
    "InstantIRModel",
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
