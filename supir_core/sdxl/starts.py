"""How networks begin beside a UNet: as copies of its encoder, with zeros where they meet it."""

from __future__ import annotations

from torch import nn

from .unet import Encoder, UNet


def copy_encoder(unet: UNet, encoder: Encoder) -> None:
    """Copy what both have from the UNet."""
    theirs = unet.state_dict()
    encoder.load_state_dict({key: theirs[key] for key in encoder.state_dict() if key in theirs}, strict=False)


def zero(*modules: nn.Module) -> None:
    """Zeros for all weights."""
    for parameter in (parameter for module in modules for parameter in module.parameters()):
        nn.init.zeros_(parameter)
