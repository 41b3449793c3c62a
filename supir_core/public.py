"""The public names of ``supir_core``."""

from .files.checkpoint import UnsupportedCheckpointError, open_checkpoint
from .files.pictures import read_picture, save_picture
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
    "read_picture",
    "restore",
    "restore_instantir",
    "save_picture",
]
