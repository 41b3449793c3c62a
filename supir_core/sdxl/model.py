"""SDXL's networks, built from the shapes in a checkpoint and loaded strictly."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..files.checkpoint import Checkpoint, open_checkpoint
from ..files.errors import UnsupportedCheckpointError
from ..files.kinds import SDXL
from ..files.kinds import VAE as VAE_KIND
from .conditioning import Conditioning
from .config import LATENT_PIXELS, UNetConfig, VAEConfig, without_prefix
from .float8 import FLOAT8_LAYERS, to_float8
from .large_vae import memory_for_vae, vae_wishes
from .lock import Lock
from .memory import defaults, reading, vae_dtype
from .residency import Residency, check_mode
from .text import CLIP_G, CLIP_L, TextEncoders, load_tokenizer, text_state_dict
from .unet import UNet
from .vae import VAE, Encoder, from_unit, to_unit


def assign(module: nn.Module, tensors: dict[str, Tensor], source: str, plain: nn.Module | None = None) -> None:
    """Give a module built on ``meta`` its weights, all of them or none.

    Args:
        module: whose state dict has the keys of ``tensors``.
        tensors: the weights, which the module then holds.
        source: what they come from, for the error.
        plain: the same module of PyTorch's own layers, as a host's may have no weights before they are loaded.

    Raises:
        UnsupportedCheckpointError: a key is missing, unexpected or of another shape.
    """
    expected = {key: tuple(tensor.shape) for key, tensor in (plain or module).state_dict().items()}
    missing = sorted(expected.keys() - tensors.keys())
    unexpected = sorted(tensors.keys() - expected.keys())
    wrong = [
        f"{key} is {tuple(tensors[key].shape)}, expected {shape}"
        for key, shape in expected.items()
        if key in tensors and tuple(tensors[key].shape) != shape
    ]
    problems = [
        f"{len(keys)} {word}: {', '.join(keys[:3])}{', …' if len(keys) > 3 else ''}"
        for word, keys in (("missing", missing), ("unexpected", unexpected), ("of the wrong shape", wrong))
        if keys
    ]
    if problems:
        raise UnsupportedCheckpointError(
            f"{source}: tensors do not fit. {'. '.join(problems)}. The file was altered, saved in part, or made for another "
            "architecture: take the published file"
        )
    module.load_state_dict(tensors, assign=True)
    module.eval().requires_grad_(False)


UNET = "model.diffusion_model."
FIRST_STAGE = "first_stage_model."
SDXL_WIDTH = 320

WORK_NUMBERS = 160
"""Numbers that a guided call holds for each pixel of a row at its peak, adaptor included."""


@dataclass(frozen=True)
class SdxlModel:
    """What every method has of SDXL.

    Attributes:
        unet: SDXL's frozen UNet.
        vae: SDXL's VAE.
        text: SDXL's text encoders.
        device: where the networks compute.
        files: the SDXL file and the method's.
        memory: how networks share the device, one of ``residency.MODES``.
        lock: held by a thread that restores: weights, hooks and branches come and go in the networks meanwhile.
    """

    unet: UNet
    vae: VAE
    text: TextEncoders
    device: torch.device
    files: tuple[Path, ...]
    memory: str = field(default="auto", kw_only=True)
    lock: Lock = field(default_factory=Lock, init=False, repr=False, compare=False)

    @property
    def min_side(self) -> int:
        """Shortest side in pixels that the model works well at."""
        return min_side(self.unet.config)

    @cached_property
    def residency(self) -> Residency:
        """Which networks are on the device."""
        return Residency(self.device, self.memory)

    def at_work(
        self, *modules: nn.Module, whole: Sequence[nn.Module] = (), wishes: Sequence[int] = (0,)
    ) -> AbstractContextManager[None]:
        """Hold networks on the device while they are used; see :meth:`Residency.at_work`."""
        return self.residency.at_work(*modules, whole=whole, wishes=wishes)

    @memory_for_vae("the VAE encodes")
    def encode(self, picture: Tensor, side: int | None, encoder: Encoder | None = None) -> Tensor:
        """Pictures ``(B, 3, H, W)`` in [0, 1] to scaled latents, float32; ``side`` is as in :meth:`VAE.encode`."""
        modules = [self.vae, *([encoder] if encoder else [])]
        wishes = self._vae_wishes(picture.shape[2] * picture.shape[3], side)
        with self.at_work(whole=modules, wishes=wishes):
            return self.vae.encode(from_unit(picture).to(self.vae.dtype), encoder, side).float()

    @memory_for_vae("the VAE decodes")
    def decode(self, latent: Tensor, side: int | None) -> Tensor:
        """Scaled latents to pictures in [0, 1]."""
        pixels = latent.shape[2] * latent.shape[3] * LATENT_PIXELS**2
        with self.at_work(whole=[self.vae], wishes=self._vae_wishes(pixels, side)):
            return to_unit(self.vae.decode(latent.to(self.vae.dtype), side))

    def _vae_wishes(self, pixels: int, side: int | None) -> list[int]:
        """Bytes for a pass in one piece, for one with its feature maps on the device, and for a band."""
        return vae_wishes(pixels, side, self.vae.decoder.conv_out.in_channels, self.vae.dtype.itemsize)

    def pixel_bytes(self, rows: int) -> int:
        """Bytes that the networks' work on ``rows`` rows takes for each pixel of a tile."""
        return rows * WORK_NUMBERS * self.unet.dtype.itemsize

    def encode_texts(self, texts: Sequence[str]) -> list[Conditioning]:
        """What the UNet gets of each of the texts, under SUPIR's size condition; the last call's are remembered."""
        key = tuple(texts)
        if key not in self._prompts:
            with self.at_work(whole=[self.text]):
                encoded = self.text.encode(texts)
            self._prompts.clear()
            self._prompts[key] = encoded
        return self._prompts[key]

    @cached_property
    def _prompts(self) -> dict[tuple[str, ...], list[Conditioning]]:
        return {}


def min_side(config: UNetConfig) -> int:
    """Shortest side in pixels that a model of these sizes works well at: 1024 for SDXL, any for small models."""
    return 1024 if config.widths[0] >= SDXL_WIDTH else 64


WEIGHTS = {"same": {}, "float8": {"operations": FLOAT8_LAYERS}}
"""How the weights of the networks that sample are kept: as they are computed with, or in 8 bits."""


def seams_for(weights: str, memory: str) -> dict[str, Any]:
    """The seams of networks whose weights are kept in a way of ``WEIGHTS``.

    Raises:
        ValueError: there is no such way, or none called ``memory``, said before anything is read.
    """
    check_mode(memory)
    if weights not in WEIGHTS:
        raise ValueError(f"weights must be {', '.join(WEIGHTS)}, got {weights!r}")
    return WEIGHTS[weights]


def load_sdxl(
    path: str | Path, tokenizer: str | None = None, device: str | None = None, dtype: torch.dtype | None = None
) -> SdxlModel:
    """Load SDXL alone; arguments as in ``load_model``."""
    where, precision = defaults(device, dtype)
    base = open_checkpoint(path, SDXL)
    unet = load_unet(base, precision)
    vae, text = load_vae(base, vae_dtype(where, precision)), load_text(base, load_tokenizer(tokenizer), precision)
    return SdxlModel(unet, vae, text, where, (base.path,))


def load_unet(checkpoint: Checkpoint, dtype: torch.dtype | None = None, **seams: Any) -> UNet:
    """Build SDXL's UNet.

    Args:
        checkpoint: an SDXL checkpoint.
        dtype: of the weights; the file's own, memory-mapped, where none is given.
        seams: ``operations`` and ``attention`` of the modules.

    Raises:
        UnsupportedCheckpointError: the tensors do not fit, or it takes more than a plain latent.
    """
    _check_channels(checkpoint)
    return build(
        checkpoint,
        lambda **given: UNet(UNetConfig.from_shapes(without_prefix(checkpoint.shapes, UNET)), **given),
        lambda _: checkpoint.under(UNET, dtype),
        **seams,
    )


def open_vae(path: str | Path | None, base: Checkpoint) -> Checkpoint:
    """The file that the VAE comes from: ``path``, a VAE or another SDXL checkpoint, or else the checkpoint itself.

    Raises:
        UnsupportedCheckpointError: there is no VAE of SDXL's form in it.
    """
    checkpoint = open_checkpoint(path, VAE_KIND, SDXL) if path else base
    latent = checkpoint.shapes.get(FIRST_STAGE + "decoder.conv_in.weight")
    name = checkpoint.path.name
    if latent is None:
        raise UnsupportedCheckpointError(
            f"{name}: there is no VAE in it (first_stage_model). Name one with --vae FILE (vae= in Python), such as "
            "sdxl_vae.safetensors"
        )
    if latent[1:2] != (4,):
        raise UnsupportedCheckpointError(
            f"{name}: expected SDXL's VAE with latents of 4 channels, got {latent}, another family's. Take sdxl_vae.safetensors"
        )
    return checkpoint


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
    keys = [key for key in checkpoint.shapes if key.startswith((CLIP_L, CLIP_G))]
    known = checkpoint.shapes.get(CLIP_L + "embeddings.token_embedding.weight", (math.inf,))[0]
    if len(tokenizer) > known:
        raise UnsupportedCheckpointError(
            f"{checkpoint.path.name}: its text encoders know {known} tokens, but the tokenizer has {len(tokenizer)}. Name the "
            "folder of the tokenizer that belongs to it (tokenizer= in Python, --tokenizer on the command line)"
        )
    text = build(
        checkpoint,
        lambda: TextEncoders(checkpoint.shapes, tokenizer),
        lambda module: text_state_dict(checkpoint.tensors(keys, dtype), module),
    )
    text.fill_buffers()
    return text


@reading
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
    name, altered = checkpoint.path.name, "It was saved in part, or altered: take the published file"
    try:
        with torch.device("meta"):
            plain = make()
            module = make(**seams) if seams else plain
    except KeyError as error:
        raise UnsupportedCheckpointError(
            f"{name}: looks like {checkpoint.kind} but {error} is missing. {altered}"
        ) from error
    except (IndexError, ValueError, ArithmeticError, RuntimeError) as error:
        raise UnsupportedCheckpointError(
            f"{name}: looks like {checkpoint.kind} but its tensors have sizes that no network has ({error}). {altered}"
        ) from error
    tensors = state(plain)
    if seams.get("operations") is FLOAT8_LAYERS:
        tensors = to_float8(tensors)
    assign(module, tensors, name, plain)
    return module


def _check_channels(checkpoint: Checkpoint) -> None:
    """Refuse a UNet that takes more than a plain latent."""
    shape = checkpoint.shapes.get(UNET + "input_blocks.0.0.weight", ())
    if shape[1:2] not in ((), (4,)):
        what = {9: "an inpainting model", 8: "an editing model"}.get(
            shape[1], "another family's, or a model for other inputs"
        )
        raise UnsupportedCheckpointError(
            f"{checkpoint.path.name}: its UNet takes {shape[1]} channels, expected 4. This is {what}: use the plain SDXL model "
            "that it was made from"
        )
