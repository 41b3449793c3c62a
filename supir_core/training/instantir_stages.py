"""What each stage of InstantIR's training learns, and by which loss (Huang et al. 2024, section 3)."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor

from ..instantir.aggregator import ResidualFusion
from ..instantir.denoiser import attentions
from ..instantir.image_attention import TextAndImage, modulate
from ..instantir.keys import diffusers_path, released_lora_name
from ..instantir.model import InstantIRModel
from ..instantir.perception import dino_pixels, no_picture, perceive
from ..instantir.pipeline import restore_instantir
from ..instantir.previewer import one_step_preview
from ..instantir.settings import InstantSettings
from ..sdxl.blocks import TextContext
from ..sdxl.conditioning import Conditioning
from ..sdxl.schedule import denoised, noised, training_sigmas
from .config import TrainingConfig
from .data import Batch, Tensors
from .stages import DiffusionStage


class InstantIRStage(DiffusionStage):
    """What the three stages share: the UNet reads text and the image tokens of what DINOv2 sees."""

    needs, words = ("unet", "vae", "text", "dino"), InstantSettings()

    def encode(self, pictures: Tensors) -> Tensors:
        dino = self.networks.dino
        pixels = dino_pixels(pictures["damaged"])
        return {
            "target": self.latent(pictures["clean"]),
            "z_lq": self.latent(pictures["damaged"]),
            "features": perceive(dino, pixels).float(),
            "nothing": perceive(dino, no_picture(pixels)).float().expand(len(pixels), -1, -1),
        }

    def text(self, batch: Batch) -> Conditioning:
        """The prompts, under the size of the crops."""
        side = self.config.side
        return super().text(batch).with_sizes((side, side, 0, 0, side, side))

    def predict(self, x: Tensor, z: Tensors, batch: Batch, fusion: ResidualFusion | None = None) -> Tensor:
        unet, adapter, index = self.networks.unet, self.networks.adapter, batch.index
        features = torch.where(batch.seen[:, None, None], z["features"], z["nothing"])
        x, features, context, y = (t.to(unet.dtype) for t in (x, features, z["context"], z["vector"]))
        image = modulate(adapter.read(features), adapter.modulations(unet.embed(index, y)))
        both = TextAndImage(TextContext(context), dict(zip(attentions(unet), image, strict=True)))
        return unet(x, index, both, y, fusion)

    def preview(self, x: Tensor, z: Tensors, batch: Batch) -> Tensor:
        """The picture that the UNet sees in one step, as a latent."""
        eps = InstantIRStage.predict(self, x, z, batch)
        return one_step_preview(eps, x, training_sigmas().to(x)[batch.index], batch.index)


class DCPStage(InstantIRStage):
    """The degradation content perceptor: resampler and attention over its tokens, by the diffusion loss."""

    learner = "adapter"


class PreviewerStage(InstantIRStage):
    """The previewer's branches, by consistency distillation (Huang et al. 2024, eq. 5).

    The teacher, the UNet without branches, goes one step of DDIM down the path; the student's preview from where it
    began has to be the one from where it came, which does not learn.
    """

    learner, needs = "previewer", (*InstantIRStage.needs, "adapter")

    def __init__(self, config: TrainingConfig, **networks: Any):
        super().__init__(config, **networks)
        self._branches = ExitStack()

    def forward(self, batch: Batch) -> Tensor:
        z = self.given(batch)
        earlier = batch._replace(index=(batch.index - self.config.skip).clamp(min=0))
        x, sigma = noised(z["target"], batch.index, batch.noise)
        self._branches.close()
        with torch.no_grad():
            teacher = super().predict(x, z, batch).float()
            self._branch()
            stepped, _ = noised(denoised(x, teacher, sigma), earlier.index, teacher)
            target = self.preview(stepped, z, earlier)
        return consistency_loss(self.preview(x, z, batch), target)

    def predict(self, x: Tensor, z: Tensors, batch: Batch, fusion: ResidualFusion | None = None) -> Tensor:
        """The student's noise."""
        self._branch()
        return super().predict(x, z, batch, fusion)

    def _branch(self) -> None:
        """Turn the UNet into the student, until the next step: what the backward pass computes again needs it too."""
        self._branches.close()
        self._branches.enter_context(self.learns.applied_to(self.networks.unet, self.networks.adapter))

    def published(self, state: Tensors) -> Tensors:
        return {released_lora_name(key, self.networks.unet.config): tensor for key, tensor in state.items()}


class AggregatorStage(InstantIRStage):
    """The aggregator on the frozen UNet and previewer, by the diffusion loss."""

    learner, needs = "aggregator", (*InstantIRStage.needs, "adapter", "previewer")

    def predict(self, x: Tensor, z: Tensors, batch: Batch, fusion: ResidualFusion | None = None) -> Tensor:
        unet, adapter = self.networks.unet, self.networks.adapter
        with torch.no_grad(), self.networks.previewer.applied_to(unet, adapter):
            preview = self.preview(x, z, batch)
        z_lq, preview, y = (t.to(unet.dtype) for t in (z["z_lq"], preview, z["vector"]))
        return super().predict(x, z, batch, ResidualFusion(self.learns(z_lq, preview, batch.index, y)))

    def restored(self, batch: Batch) -> Tensor:
        config, (damaged, caption) = self.config, (batch.tensors["damaged"], batch.texts[0])
        model = InstantIRModel(**vars(self.networks), device=damaged.device, files=(), memory="full")
        settings = InstantSettings(steps=config.held_out_steps, min_side=config.side)
        return restore_instantir(model, damaged, settings, scale=1.0, caption=caption).image

    def published(self, state: Tensors) -> Tensors:
        return {diffusers_path(key): tensor for key, tensor in state.items()}


def consistency_loss(student: Tensor, target: Tensor, huber: float = 1e-3) -> Tensor:
    """Pseudo-Huber distance (Luo et al. 2023) of two one-step previews of one path (Huang et al. 2024, eq. 5)."""
    return ((student - target).square() + huber**2).sqrt().mean() - huber
