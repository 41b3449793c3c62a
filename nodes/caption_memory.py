"""A captioner among ComfyUI's models: loaded when it is asked, dropped when others need the room.

Its weights cannot move as ComfyUI's own do: those of 8 and 4 bits and those that accelerate spreads stay where they
were loaded. So all are treated alike. To unload a captioner is to drop its weights, from the main memory too; they are
read from the files again when the next picture comes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from os.path import isdir, join
from typing import Any

import comfy.model_management
import folder_paths
import torch
from comfy.model_patcher import ModelPatcher

from ..supir_core.captions.models import SPREAD, load_captioner, weight_bytes
from ..supir_core.captions.protocol import Captioner, TransformersCaptioner

FOLDER = "LLM"
"""Of ``models``, where users keep language models."""

PLACEMENTS = ("gpu", SPREAD, "cpu")
WORK = 2 * 1024**3
"""Bytes to keep free for a caption: 1.6 GiB are what LLaVA 13B remembers of 2000 tokens in 16 bits."""


class Weights(torch.nn.Module):
    """Holds a network: ModelPatcher sets attributes that transformers' own models refuse."""

    def __init__(self, network: torch.nn.Module | None):
        super().__init__()
        self.network = network


class CaptionerPatcher(ModelPatcher):
    """Weights that stay on their device until they are dropped."""

    def __init__(self, captioner: TransformersCaptioner, device: torch.device):
        super().__init__(Weights(captioner.network), device, device)
        self.captioner: TransformersCaptioner | None = captioner

    def partially_load(self, device_to: torch.device, *_: Any, **__: Any) -> int:
        """They are there already."""
        self.model.model_loaded_weight_memory = self.model_size()
        return 0

    def partially_unload(self, device_to: torch.device, *_: Any, **__: Any) -> int:
        """Not in part."""
        return 0

    def detach(self, unpatch_all: bool = True) -> torch.nn.Module:
        """Drop them."""
        if unpatch_all:
            self.captioner = None
            self.model.network = None
            self.model.model_loaded_weight_memory = 0
        return self.model


@dataclass(eq=False)
class CaptionerModel:
    """What travels in a SUPIR_CAPTIONER socket: what to load, and it while it is loaded.

    Attributes:
        source: folder or hub id.
        precision: of the weights.
        placement: one of ``PLACEMENTS``.
    """

    source: str
    precision: str
    placement: str
    patcher: CaptionerPatcher | None = None

    @contextmanager
    def at_work(self, keep_loaded: bool) -> Iterator[Captioner]:
        """The captioner on its device; what else is there makes room.

        Args:
            keep_loaded: leave it there afterwards, until ComfyUI needs the room.
        """
        patcher = self.patcher
        if patcher is None or patcher.captioner is None:
            self.patcher = patcher = self._load()
        comfy.model_management.load_models_gpu([patcher], memory_required=WORK)
        try:
            yield patcher.captioner
        finally:
            if not keep_loaded:
                self.patcher = None
                drop(patcher)

    def _load(self) -> CaptionerPatcher:
        device = torch.device("cpu")
        if self.placement != "cpu":
            device = comfy.model_management.get_torch_device()
        place = SPREAD if self.placement == SPREAD else device
        if device.type != "cpu":
            needed = weight_bytes(self.source, self.precision, device)
            comfy.model_management.free_memory(1.1 * needed + WORK, device)
        return CaptionerPatcher(load_captioner(self.source, self.precision, place), device)


def drop(patcher: CaptionerPatcher) -> None:
    """Take a captioner from ComfyUI's models, and its weights from memory."""
    others = [loaded for loaded in comfy.model_management.current_loaded_models if loaded.model is not patcher]
    comfy.model_management.free_memory(1e30, patcher.load_device, keep_loaded=others)


def find_captioner(name: str) -> str:
    """A folder of that name in ``models/LLM``, else the name: another folder, or a hub id."""
    folder = join(folder_paths.models_dir, FOLDER, name)
    return folder if name and isdir(folder) else name
