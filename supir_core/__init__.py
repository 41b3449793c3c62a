"""SUPIR and InstantIR picture restoration in PyTorch, independent of any host.

The way of a picture through ``restore``: ``restoration.canvas`` lays it out, ``supir.stage1`` encodes it with the VAE of
``sdxl``, ``supir.sampling`` samples with ``supir.denoiser`` in the tiles of ``restoration.tiling``, the VAE decodes it, and
``restoration.colorfix`` mends its colours. ``instantir`` is the second method.
"""

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

__version__ = "0.1.0"

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
    "__version__",
    "load_instantir",
    "load_model",
    "open_checkpoint",
    "preset",
    "read_picture",
    "restore",
    "restore_instantir",
    "save_picture",
]
