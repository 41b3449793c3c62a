"""All the networks of SUPIR, loaded from an SDXL checkpoint and a SUPIR file."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .adaptor import Adaptor
from .checkpoint import SDXL, SUPIR, Checkpoint, UnsupportedCheckpointError, assign, open_checkpoint
from .config import UNetConfig, VAEConfig, without_prefix
from .text import CLIP_G, CLIP_L, UNUSED, TextEncoders, load_tokenizer, text_state_dict
from .unet import UNet
from .vae import VAE, Encoder

UNET = "model.diffusion_model."
FIRST_STAGE = "first_stage_model."
SDXL_WIDTH = 320


@dataclass(frozen=True)
class SdxlModel:
    """What every method has of SDXL.

    Attributes:
        unet: SDXL's frozen UNet.
        vae: SDXL's VAE.
        text: SDXL's text encoders.
        device: where the networks compute; they wait on the CPU (see :meth:`at_work`).
        files: the SDXL file and the method's.
    """

    unet: UNet
    vae: VAE
    text: TextEncoders
    device: torch.device
    files: tuple[Path, ...]

    @property
    def min_side(self) -> int:
        """Shortest side in pixels that the model works well at."""
        return min_side(self.unet.config)

    @contextmanager
    def at_work(self, *modules: nn.Module):  # noqa: ANN201
        """Hold modules on the device for as long as they are used, so that each stage has its memory to itself."""
        for module in modules:
            module.to(self.device)
        try:
            yield
        finally:
            if self.device.type != "cpu":
                for module in modules:
                    module.to("cpu")


@dataclass(frozen=True)
class SupirModel(SdxlModel):
    """Everything that restores a picture with SUPIR.

    Attributes:
        adaptor: SUPIR's adaptor and connectors.
        dr_encoder: SUPIR's degradation-robust encoder.
    """

    adaptor: Adaptor
    dr_encoder: Encoder


def min_side(config: UNetConfig) -> int:
    """Shortest side in pixels that a model of these sizes works well at: 1024 for SDXL, any for small models."""
    return 1024 if config.widths[0] >= SDXL_WIDTH else 64


def load_model(
    sdxl: str | Path,
    supir: str | Path,
    tokenizer: str | Path | None = None,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
) -> SupirModel:
    """Load SUPIR.

    Args:
        sdxl: single-file SDXL checkpoint.
        supir: SUPIR weights, published or pruned.
        tokenizer: folder with the CLIP tokenizer's files, or a hub id; the hub's standard one by default.
        device: where to compute; a GPU if there is one.
        dtype: precision of all but the VAE; float16 on a GPU, float32 on a CPU by default. The VAE is small and
            overflows in float16, so it is always float32.

    Raises:
        UnsupportedCheckpointError: a file is not what it should be, or the two do not fit each other.
        FileNotFoundError: a file or the tokenizer is missing.
    """
    device, dtype = defaults(device, dtype)
    base, control = open_checkpoint(sdxl), open_checkpoint(supir)
    base.require(SDXL)
    control.require(SUPIR)
    unet = load_unet(base, dtype)
    adaptor = load_adaptor(control, dtype)
    _check_pair(unet, adaptor, base, control)
    return SupirModel(
        unet=unet,
        vae=load_vae(base, torch.float32),
        text=load_text(base, load_tokenizer(tokenizer), dtype),
        adaptor=adaptor,
        dr_encoder=load_dr_encoder(control, torch.float32),
        device=device,
        files=(base.path, control.path),
    )


def defaults(
    device: str | torch.device | None, dtype: torch.dtype | None
) -> tuple[torch.device, torch.dtype]:
    """Where to compute, a GPU if there is one, and in what precision, float16 on a GPU."""
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    return device, dtype or (torch.float32 if device.type == "cpu" else torch.float16)


def load_unet(checkpoint: Checkpoint, dtype: torch.dtype | None = None, **seams: Any) -> UNet:
    """Build SDXL's UNet.

    Args:
        checkpoint: an SDXL checkpoint.
        dtype: of the weights; the file's own, memory-mapped, where none is given.
        seams: ``operations`` and ``attention`` of the modules.
    """
    return build(
        checkpoint,
        lambda **given: UNet(UNetConfig.from_shapes(without_prefix(checkpoint.shapes, UNET)), **given),
        lambda _: checkpoint.under(UNET, dtype),
        **seams,
    )


def load_vae(checkpoint: Checkpoint, dtype: torch.dtype | None = None, **seams: Any) -> VAE:
    """Build SDXL's VAE; arguments as in ``load_unet``."""
    return build(
        checkpoint,
        lambda **given: VAE(VAEConfig.from_shapes(without_prefix(checkpoint.shapes, FIRST_STAGE)), **given),
        lambda _: checkpoint.under(FIRST_STAGE, dtype),
        **seams,
    )


def load_text(checkpoint: Checkpoint, tokenizer: Any, dtype: torch.dtype | None = None) -> TextEncoders:
    """Build SDXL's text encoders."""
    keys = [
        key for key in checkpoint.shapes if key.startswith((CLIP_L, CLIP_G)) and not UNUSED.fullmatch(key)
    ]
    text = build(
        checkpoint,
        lambda: TextEncoders(checkpoint.shapes, tokenizer),
        lambda module: text_state_dict(checkpoint.tensors(keys, dtype), module),
    )
    text.fill_buffers()
    return text


def load_adaptor(checkpoint: Checkpoint, dtype: torch.dtype | None = None, **seams: Any) -> Adaptor:
    """Build SUPIR's adaptor and connectors; arguments as in ``load_unet``, but from SUPIR weights."""
    keys = [key for key in checkpoint.shapes if not key.startswith("denoise_encoder.")]
    return build(
        checkpoint,
        lambda **given: Adaptor(
            UNetConfig.from_shapes(without_prefix(checkpoint.shapes, "control_model.")), **given
        ),
        lambda _: checkpoint.tensors(keys, dtype),
        **seams,
    )


def load_dr_encoder(checkpoint: Checkpoint, dtype: torch.dtype | None = None, **seams: Any) -> Encoder:
    """Build SUPIR's degradation-robust encoder; arguments as in ``load_adaptor``."""
    return build(
        checkpoint,
        lambda **given: Encoder(VAEConfig.from_shapes(checkpoint.shapes, "denoise_encoder"), **given),
        lambda _: checkpoint.under("denoise_encoder.", dtype),
        **seams,
    )


def build(
    checkpoint: Checkpoint,
    make: Callable[..., Any],
    state: Callable[[Any], dict[str, torch.Tensor]],
    **seams: Any,
) -> Any:
    """Build a module without weights, then assign them; nothing is left behind where that fails.

    Args:
        checkpoint: the file.
        make: makes the module; takes ``seams`` or nothing.
        state: gives its state dict, from the module of PyTorch's own layers.
        seams: ``operations`` and ``attention`` of the module.

    Raises:
        UnsupportedCheckpointError: the tensors do not fit.
    """
    try:
        with torch.device("meta"):
            plain = make()
            module = make(**seams) if seams else plain
        tensors = state(plain)
    except KeyError as error:
        raise UnsupportedCheckpointError(
            f"{checkpoint.path.name}: looks like {checkpoint.kind} but {error} is missing. "
            "The file is incomplete; download it again"
        ) from error
    assign(module, tensors, checkpoint.path.name, plain)
    return module


def _check_pair(unet: UNet, adaptor: Adaptor, base: Checkpoint, control: Checkpoint) -> None:
    """The adaptor must be of the UNet's widths, and the UNet must take a plain latent."""
    check_channels(unet, base, adaptor.control_model.config.in_channels)
    theirs, ours = unet.config, adaptor.control_model.config
    for name in ("widths", "context_width", "vector_width"):
        if getattr(theirs, name) != getattr(ours, name):
            raise UnsupportedCheckpointError(
                f"{base.path.name} and {control.path.name} do not belong together: {name.replace('_', ' ')} "
                f"{getattr(theirs, name)} against {getattr(ours, name)}"
            )


def check_channels(unet: UNet, base: Checkpoint, expected: int = 4) -> None:
    """Refuse a UNet that takes more than a plain latent.

    Raises:
        UnsupportedCheckpointError: it does.
    """
    if unet.config.in_channels != expected:
        raise UnsupportedCheckpointError(
            f"{base.path.name}: its UNet takes {unet.config.in_channels} channels, expected "
            f"{expected}; an inpainting or editing model does not serve, "
            "use the plain SDXL model it was made from"
        )
