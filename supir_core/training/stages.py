"""What each stage of SUPIR's training learns, and by which loss (Yu et al. 2024, section 3)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..sdxl.conditioning import Conditioning
from ..sdxl.config import LATENT_SCALE
from ..sdxl.model import FIRST_STAGE, UNET
from ..sdxl.text import TextEncoders
from ..sdxl.unet import UNet
from ..sdxl.vae import VAE, Encoder, from_unit
from ..supir.adaptor import Adaptor
from .config import TrainingConfig
from .data import Batch, Tensors
from .losses import noise_loss, noised, robust_loss
from .starts import checkpointed


class Frozen:
    """Networks that do not learn. No module registers them, so that none is averaged, sharded or saved."""

    def __init__(self, **networks: Any):
        self.__dict__.update(networks)

    def __getattr__(self, name: str) -> Any:
        """Only for the type checker and for names that are not there."""
        raise AttributeError(name)


def texts_of(frozen: Frozen, batch: Batch) -> Conditioning:
    """The prompts of a batch, a row each."""
    return Conditioning.concatenate(frozen.text.encode(batch.texts))


class Stage(nn.Module):
    """What learns, as a module whose ``forward`` gives the loss of a batch.

    Attributes:
        config: of the training.
        frozen: what does not learn.
    """

    cached = True
    """Whether the loss needs latents alone, not pictures."""

    def __init__(self, config: TrainingConfig, frozen: Frozen):
        super().__init__()
        self.config, self.frozen = config, frozen

    def place(self, device: torch.device) -> None:
        """Move what does not learn to a device, in bfloat16 where that is computed in."""
        dtype = torch.bfloat16 if self.config.precision == "bf16" else torch.float32
        for network in vars(self.frozen).values():
            network.to(device, dtype).eval().requires_grad_(False)

    def encode(self, pictures: Tensors) -> Tensors:
        """What the loss needs of clean and damaged pictures, row by row: it may be kept in a cache."""
        return pictures

    def published(self, state: Tensors) -> Tensors:
        """The weights' file, by its published keys, from this module's state dict."""
        raise NotImplementedError

    def encoded(self, batch: Batch) -> Tensors:
        """The batch's own tensors where they come from the cache, else ``encode`` of them."""
        if "clean" not in batch.tensors:
            return batch.tensors
        with torch.no_grad():
            return self.encode(batch.tensors)


class DREncoderStage(Stage):
    """The degradation-robust encoder, by what the fixed decoder makes of it.

    Args:
        config: of the training.
        encoder: what learns.
        vae: the VAE.
        others: the other tensors of the weights' file, by their published keys.
    """

    cached = False

    def __init__(self, config: TrainingConfig, encoder: Encoder, vae: VAE, others: Tensors):
        super().__init__(config, Frozen(vae=vae))
        self.encoder = encoder.train().requires_grad_(True)
        self.others = others
        if config.checkpointing:
            checkpointed(encoder, vae.decoder)

    def forward(self, batch: Batch) -> Tensor:
        clean, damaged = (from_unit(batch.tensors[name]) for name in ("clean", "damaged"))
        vae: VAE = self.frozen.vae
        decoded = decode(vae, encode(vae, torch.cat([damaged, clean]), self.encoder)).float()
        of_damaged, of_clean = decoded.chunk(2)
        return robust_loss(of_damaged, of_clean, clean, self.config.perceived)

    def published(self, state: Tensors) -> Tensors:
        encoder = {f"{FIRST_STAGE}denoise_encoder.{key.removeprefix('encoder.')}": t for key, t in state.items()}
        return self.others | encoder


class AdaptorStage(Stage):
    """Adaptor and connectors on the frozen UNet, by the diffusion loss.

    Args:
        config: of the training.
        adaptor: what learns.
        unet: the frozen UNet.
        vae: the VAE.
        dr_encoder: the degradation-robust encoder.
        text: the text encoders.
        new: the adaptor begins now, so that its strength has to rise.
    """

    def __init__(
        self,
        config: TrainingConfig,
        adaptor: Adaptor,
        unet: UNet,
        vae: VAE,
        dr_encoder: Encoder,
        text: TextEncoders,
        new: bool,
    ):
        super().__init__(config, Frozen(unet=unet, vae=vae, dr_encoder=dr_encoder, text=text))
        self.adaptor = adaptor.train().requires_grad_(True)
        self.ramp = config.ramp if new else 0
        if config.checkpointing:
            checkpointed(adaptor, unet)

    def strength_at(self, step: int) -> float:
        """Strength of the adaptor at a step: 0 before the first, 1 after the ramp."""
        return min(1.0, step / self.ramp) if self.ramp else 1.0

    def encode(self, pictures: Tensors) -> Tensors:
        vae, dr_encoder = self.frozen.vae, self.frozen.dr_encoder
        return {
            "target": encode(vae, from_unit(pictures["clean"])).float(),
            "z_lq": encode(vae, from_unit(pictures["damaged"]), dr_encoder).float(),
        }

    def forward(self, batch: Batch) -> Tensor:
        z = self.encoded(batch)
        noise = batch.noise(z["target"])
        x, sigma = noised(z["target"], batch.index, noise)
        eps = self.predict(x, z["z_lq"], batch.index, texts_of(self.frozen, batch), self.strength_at(batch.step))
        return noise_loss(eps, noise, sigma, self.config.loss)

    def predict(self, x: Tensor, z_lq: Tensor, index: Tensor, text: Conditioning, strength: float) -> Tensor:
        """The noise that the UNet with the adaptor predicts."""
        unet: UNet = self.frozen.unet
        x, z_lq, context, y = (t.to(unet.dtype) for t in (x, z_lq, text.context, text.vector))
        return unet(x, index, context, y, self.adaptor(z_lq, x, index, context, y, strength))

    def published(self, state: Tensors) -> Tensors:
        prefixes = {
            "adaptor.control_model.": "model.control_model.",
            "adaptor.project_modules.": f"{UNET}project_modules.",
        }
        published = {}
        for key, tensor in state.items():
            ours = next(prefix for prefix in prefixes if key.startswith(prefix))
            published[prefixes[ours] + key.removeprefix(ours)] = tensor
        encoder = self.frozen.dr_encoder.state_dict()
        return published | {f"{FIRST_STAGE}denoise_encoder.{key}": tensor for key, tensor in encoder.items()}


def encode(vae: VAE, pictures: Tensor, encoder: Encoder | None = None) -> Tensor:
    """``VAE.encode`` in one piece, through which gradients flow."""
    moments = (encoder or vae.encoder)(pictures.to(vae.dtype))
    return vae.quant_conv(moments).chunk(2, dim=1)[0] * LATENT_SCALE


def decode(vae: VAE, latents: Tensor) -> Tensor:
    """``VAE.decode`` in one piece, through which gradients flow."""
    return vae.decoder(vae.post_quant_conv(latents.to(vae.dtype) / LATENT_SCALE))
