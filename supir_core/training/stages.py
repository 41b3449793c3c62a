"""What a stage is, and what those of SUPIR's training learn, by which loss (Yu et al. 2024, section 3)."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..evaluation.metrics import gradient_deviation
from ..files.checkpoint import open_checkpoint
from ..files.kinds import SUPIR
from ..sdxl.conditioning import Conditioning
from ..sdxl.large_vae import WHOLE
from ..sdxl.recomputed import recompute
from ..sdxl.schedule import denoised, noised
from ..sdxl.vae import from_unit, to_unit
from ..supir.model import SupirModel, published_weights
from ..supir.pipeline import restore
from ..supir.settings import PRESETS, Settings
from .config import TrainingConfig
from .data import Batch, Tensors
from .networks import networks_of


class Stage(nn.Module):
    """Networks, one of which learns; ``forward`` gives the loss of a batch.

    Attributes:
        config: of the training.
        networks: all by name.
        learns: that which learns. It alone is registered, so that no other is averaged, sharded or saved.
    """

    learner: ClassVar[str]  # name of the network that learns
    needs: ClassVar[tuple[str, ...]]  # names of the others
    cached: ClassVar[bool] = True  # whether the loss needs latents alone, not pictures
    words: ClassVar[Any] = Settings()  # the method's settings, for their quality words

    def __init__(self, config: TrainingConfig, **networks: Any):
        super().__init__()
        self.config, self.networks = config, SimpleNamespace(**networks)
        self.learns = networks[self.learner].train().requires_grad_(True)
        if config.checkpointing:
            recompute(*networks.values())

    @classmethod
    def build(cls, config: TrainingConfig) -> Stage:
        """The stage with its networks in float32 on the CPU; raises what ``networks_of`` does."""
        return cls(config, **networks_of(config, (*cls.needs, cls.learner), cls.learner))

    def place(self, device: torch.device) -> None:
        """Move what does not learn to a device, in bfloat16 where that is computed in."""
        dtype = torch.bfloat16 if self.config.precision == "bf16" else torch.float32
        for name in self.needs:
            getattr(self.networks, name).to(device, dtype).eval().requires_grad_(False)

    def encode(self, pictures: Tensors) -> Tensors:
        """What the loss needs of clean and damaged pictures, row by row: it may be kept in a cache."""
        return pictures

    def latent(self, pictures: Tensor, encoder: nn.Module | None = None) -> Tensor:
        """The latents of pictures in [0, 1]; gradients flow."""
        return self.networks.vae.encode(from_unit(pictures).to(self.networks.vae.dtype), encoder, WHOLE).float()

    def decode(self, latents: Tensor) -> Tensor:
        """The pictures of latents, about [-1, 1]; gradients flow."""
        return self.networks.vae.decode(latents.to(self.networks.vae.dtype), WHOLE)

    def text(self, batch: Batch) -> Conditioning:
        """The prompts of a batch, a row each."""
        return Conditioning.concatenate(self.networks.text.encode(batch.texts))

    @torch.no_grad()
    def given(self, batch: Batch) -> Tensors:
        """All that the networks are told: what ``encode`` gives, here or in the cache, and the text."""
        z = self.encode(batch.tensors) if "clean" in batch.tensors else batch.tensors
        text = self.text(batch)
        return z | {"context": text.context, "vector": text.vector}

    def restored(self, batch: Batch) -> Tensor:
        """What it makes of held-out pictures, whose texts are their captions, ``(B, 3, side, side)`` in [0, 1]."""
        raise NotImplementedError

    def published(self, state: Tensors) -> Tensors:
        """The weights' file, by its published keys, from the state dict of what learns."""
        return state


class DREncoderStage(Stage):
    """The degradation-robust encoder, by what the fixed decoder makes of it."""

    learner, needs, cached = "dr_encoder", ("vae",), False

    def forward(self, batch: Batch) -> Tensor:
        clean, damaged = batch.tensors["clean"], batch.tensors["damaged"]
        of_damaged, of_clean = self.decode(self.latent(torch.cat([damaged, clean]), self.learns)).float().chunk(2)
        return robust_loss(of_damaged, of_clean, from_unit(clean), self.config.perceived)

    def restored(self, batch: Batch) -> Tensor:
        return to_unit(self.decode(self.latent(batch.tensors["damaged"], self.learns)))

    def published(self, state: Tensors) -> Tensors:
        others: Tensors = {}
        if self.config.supir:
            file, parts = open_checkpoint(self.config.supir, SUPIR), ("control_model.", "project_modules.")
            others = file.tensors(key for key in file.shapes if key.startswith(parts))
        return published_weights(others, state)


class DiffusionStage(Stage):
    """A stage that learns by the noise that is predicted."""

    def forward(self, batch: Batch) -> Tensor:
        z = self.given(batch)
        x, sigma = noised(z["target"], batch.index, batch.noise)
        return noise_loss(self.predict(x, z, batch), batch.noise, sigma, self.config.loss)

    def predict(self, x: Tensor, z: Tensors, batch: Batch) -> Tensor:
        """The predicted noise of latents as the UNet gets them, from what ``given`` gives."""
        raise NotImplementedError

    def restored(self, batch: Batch) -> Tensor:
        """What is found again of the clean pictures in noise: to place a picture is not the work of every network."""
        z = self.given(batch._replace(texts=[""] * len(batch.texts)))
        x, sigma = noised(z["target"], batch.index, batch.noise)
        return to_unit(self.decode(denoised(x, self.predict(x, z, batch).float(), sigma)))


class AdaptorStage(DiffusionStage):
    """Adaptor and connectors on the frozen UNet, by the diffusion loss."""

    learner, needs = "adaptor", ("unet", "vae", "dr_encoder", "text")

    def strength_at(self, step: int) -> float:
        """Strength of a new adaptor at a step: 0 before the first, 1 after the ramp; that of SUPIR weights is 1."""
        return min(1.0, step / self.config.ramp) if self.config.ramp and not self.config.supir else 1.0

    def encode(self, pictures: Tensors) -> Tensors:
        z_lq = self.latent(pictures["damaged"], self.networks.dr_encoder)
        return {"target": self.latent(pictures["clean"]), "z_lq": z_lq}

    def predict(self, x: Tensor, z: Tensors, batch: Batch) -> Tensor:
        unet = self.networks.unet
        x, z_lq, context, y = (t.to(unet.dtype) for t in (x, z["z_lq"], z["context"], z["vector"]))
        fusion = self.learns(z_lq, x, batch.index, context, y, self.strength_at(batch.step))
        return unet(x, batch.index, context, y, fusion)

    def restored(self, batch: Batch) -> Tensor:
        config, (damaged, caption) = self.config, (batch.tensors["damaged"], batch.texts[0])
        settings = replace(PRESETS[config.held_out_preset], steps=config.held_out_steps, min_side=config.side)
        model = SupirModel(**vars(self.networks), device=damaged.device, files=(), memory="full")
        return restore(model, damaged, settings, scale=1.0, caption=caption).image

    def published(self, state: Tensors) -> Tensors:
        return published_weights(state, self.networks.dr_encoder.state_dict())


def noise_loss(predicted: Tensor, noise: Tensor, sigma: Tensor, kind: str) -> Tensor:
    """Squared error of the noise, or of the velocity, which is that times sigma^2 + 1 (Salimans & Ho 2022, section 4).

    Without the weight the high levels, where a restoration is decided, count for next to nothing.
    """
    squares = (predicted.float() - noise).square()
    return ((sigma**2 + 1) * squares if kind == "velocity" else squares).mean()


def robust_loss(from_damaged: Tensor, from_clean: Tensor, clean: Tensor, perceived: float = 0.0) -> Tensor:
    """||D(E_dr(x_LQ)) - D(E_dr(x_GT))||^2 (Yu et al. 2024, eq. 1), with an anchor; all ``(B, 3, H, W)`` in [-1, 1].

    That loss alone is content with an encoder that sees nothing; the anchor holds both decodes to x_GT. To the anchor
    may belong GMSD with a weight of ``perceived``, which rose while squared error alone fell.
    """
    anchor = F.mse_loss(from_damaged, clean)
    if perceived:
        with torch.autocast(clean.device.type, enabled=False):  # in [-1, 1] gradients are twice those in [0, 1]
            anchor = anchor + perceived * gradient_deviation(from_damaged / 2, clean / 2).mean()
    return F.mse_loss(from_damaged, from_clean) / 2 + anchor + F.mse_loss(from_clean, clean) / 2
