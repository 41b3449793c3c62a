"""SUPIR and InstantIR picture restoration in PyTorch, independent of any host.

The way of a picture through ``restore``: ``restoration.canvas`` lays it out, ``supir.stage1`` encodes it with the VAE of
``sdxl``, ``supir.sampling`` samples with ``supir.denoiser`` in the tiles of ``restoration.tiling``, the VAE decodes it, and
``restoration.colorfix`` mends its colours. ``instantir`` is the second method.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .public import *  # noqa: F403

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import the public names when the first of them is asked for, and PyTorch with them, which takes seconds."""
    return getattr(import_module(".public", __name__), name)
