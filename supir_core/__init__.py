"""SUPIR and InstantIR picture restoration in PyTorch, independent of any host.

The way of a picture through ``restore``: ``restoration.canvas`` lays it out, ``supir.stage1`` encodes it with the VAE of
``sdxl``, ``supir.sampling`` samples with ``supir.denoiser`` in the tiles of ``restoration.tiling``, the VAE decodes it, and
``restoration.colorfix`` mends its colours. ``instantir`` is the second method.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .files.checkpoint import open_checkpoint
    from .files.errors import UnsupportedCheckpointError
    from .files.pictures import read_picture, save_picture
    from .instantir.model import InstantIRModel, InstantModel, load_instantir
    from .instantir.pipeline import restore_instantir
    from .instantir.settings import InstantSettings
    from .restoration.canvas import Restored
    from .restoration.progress import Progress
    from .restoration.sizes import TargetSize, restore_sized
    from .supir.model import SupirModel, load_model
    from .supir.pipeline import restore
    from .supir.settings import PRESETS, Settings, preset

__version__ = "0.1.0"

__all__ = [
    "PRESETS",
    "InstantIRModel",
    "InstantModel",
    "InstantSettings",
    "Progress",
    "Restored",
    "Settings",
    "SupirModel",
    "TargetSize",
    "UnsupportedCheckpointError",
    "load_instantir",
    "load_model",
    "open_checkpoint",
    "preset",
    "read_picture",
    "restore",
    "restore_instantir",
    "restore_sized",
    "save_picture",
]

_HOMES = (
    "supir.pipeline",
    "supir.model",
    "supir.settings",
    "instantir.pipeline",
    "instantir.model",
    "files.pictures",
    "files.checkpoint",
    "restoration.sizes",
)
"""The modules that have the public names."""


def __getattr__(name: str) -> Any:
    """Import a public name when it is asked for, and PyTorch with it, which takes seconds."""
    if name in __all__:
        modules = (import_module(f".{home}", __name__) for home in _HOMES)
        return next(getattr(module, name) for module in modules if hasattr(module, name))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
