"""What pickles hold beside weights: what training leaves, and what harms."""

import os
import sys
import types
from unittest.mock import patch

import numpy as np
import torch


class Trap:
    """Creates a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def trap(path):
    """A trap that makes ``sprung`` beside a file."""
    return Trap(path.with_name("sprung"))


def save_with_training_state(tensors, path):
    """A checkpoint as Lightning writes it, with a class of its own and a number of numpy's; the class is not there any more."""
    names = ["pytorch_lightning", "pytorch_lightning.callbacks", "pytorch_lightning.callbacks.model_checkpoint"]
    kind = type("ModelCheckpoint", (), {"__module__": names[-1]})
    with patch.dict(sys.modules, {name: types.ModuleType(name) for name in names}):
        sys.modules[names[-1]].ModelCheckpoint = kind
        state = {"best_model_score": np.float64(0.5)}
        torch.save({"epoch": 3, "callbacks": {kind: state}, "kept": kind(), "state_dict": tensors}, path)
