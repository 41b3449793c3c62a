"""What each stage of InstantIR's training learns, and by which loss (Huang et al. 2024, section 3)."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from ..instantir.aggregator import Aggregator, ResidualFusion
from ..instantir.denoiser import attentions
from ..instantir.image_attention import ImageAdapter, TextAndImage, modulate
from ..instantir.keys import diffusers_path, lora_name
from ..instantir.perception import dino_pixels, no_picture, perceive
from ..instantir.previewer import PreviewerLora, one_step_preview
from ..sdxl.blocks import TextContext
from ..sdxl.conditioning import Conditioning
from ..sdxl.config import LATENT_PIXELS, UNetConfig
from ..sdxl.schedule import training_sigmas
from ..sdxl.text import TextEncoders
from ..sdxl.unet import UNet
from ..sdxl.vae import VAE, from_unit
from .config import TrainingConfig
from .data import Batch, Tensors
from .losses import consistency_loss, noise_loss, noised, solver_step
from .stages import Frozen, Stage, encode, texts_of
from .starts import checkpointed

LORA_ENDS = {True: ("lora.down", "lora.up"), False: ("lora_A", "lora_B")}
"""How the released file calls both halves of a branch: of attention layers, and of others."""


class InstantIRStage(Stage):
    """What the three stages share: the UNet that reads image tokens, DINOv2, the VAE and the text encoders."""

    def __init__(
        self,
        config: TrainingConfig,
        unet: UNet,
        vae: VAE,
        text: TextEncoders,
        dino: nn.Module,
        learns: nn.Module,
        **frozen: Any,
    ):
        super().__init__(config, Frozen(unet=unet, vae=vae, text=text, dino=dino, **frozen))
        learns.train().requires_grad_(True)
        if config.checkpointing:
            checkpointed(unet, learns)

    def encode(self, pictures: Tensors) -> Tensors:
        vae, dino = self.frozen.vae, self.frozen.dino
        pixels = dino_pixels(pictures["damaged"])
        return {
            "target": encode(vae, from_unit(pictures["clean"])).float(),
            "z_lq": encode(vae, from_unit(pictures["damaged"])).float(),
            "features": perceive(dino, pixels).float(),
            "nothing": perceive(dino, no_picture(pixels)).float().expand(len(pixels), -1, -1),
        }

    def perceived(self, batch: Batch, z: Tensors) -> Tensor:
        """DINOv2's features of the rows that it sees, and those of no picture in the others."""
        return torch.where(batch.seen[:, None, None], z["features"], z["nothing"])

    def conditions(self, batch: Batch, z: Tensors) -> Conditioning:
        """The text, under the size of the crops."""
        height, width = (side * LATENT_PIXELS for side in z["target"].shape[2:])
        return texts_of(self.frozen, batch).with_sizes((height, width, 0, 0, height, width))

    def predict(
        self,
        unet: UNet,
        adapter: ImageAdapter,
        x: Tensor,
        index: Tensor,
        features: Tensor,
        text: Conditioning,
        fusion: ResidualFusion | None = None,
    ) -> Tensor:
        """The noise that a UNet predicts which reads text and image tokens."""
        x, features, context, y = (t.to(unet.dtype) for t in (x, features, text.context, text.vector))
        image = modulate(adapter.read(features), adapter.modulations(unet.embed(index, y)))
        both = TextAndImage(TextContext(context), dict(zip(attentions(unet), image, strict=True)))
        return unet(x, index, both, y, fusion)


class DCPStage(InstantIRStage):
    """The degradation content perceptor: resampler and attention over its tokens, by the diffusion loss."""

    def __init__(self, config: TrainingConfig, adapter: ImageAdapter, **frozen: Any):
        super().__init__(config, learns=adapter, **frozen)
        self.adapter = adapter

    def forward(self, batch: Batch) -> Tensor:
        z = self.encoded(batch)
        noise = batch.noise(z["target"])
        x, sigma = noised(z["target"], batch.index, noise)
        features, text = self.perceived(batch, z), self.conditions(batch, z)
        eps = self.predict(self.frozen.unet, self.adapter, x, batch.index, features, text)
        return noise_loss(eps, noise, sigma, self.config.loss)

    def published(self, state: Tensors) -> Tensors:
        return {key.removeprefix("adapter."): tensor for key, tensor in state.items()}


class PreviewerStage(InstantIRStage):
    """The previewer's branches, by consistency distillation (Huang et al. 2024, eq. 5).

    The teacher, the UNet without branches, goes one step of DDIM down the path; the student's preview from where it
    began has to be the one from where it came, which does not learn.
    """

    def __init__(
        self, config: TrainingConfig, previewer: PreviewerLora, adapter: ImageAdapter, unet: UNet, **frozen: Any
    ):
        super().__init__(config, unet=unet, adapter=adapter, learns=previewer, **frozen)
        with torch.device("meta"):
            student = UNet(unet.config)
        self._student = (student,)  # a tuple, as it is not to be registered
        self.previewer = previewer
        if config.checkpointing:
            checkpointed(student)
        self._branches = ExitStack()  # they stay: what is computed again in the backward pass needs them too
        self._branches.enter_context(previewer.unet.applied_to(student))

    @property
    def student(self) -> UNet:
        """A second UNet, with the branches, of the same weights in memory."""
        return self._student[0]

    def place(self, device: torch.device) -> None:
        super().place(device)
        self.student.load_state_dict(self.frozen.unet.state_dict(), assign=True)
        self.student.eval().requires_grad_(False)

    def forward(self, batch: Batch) -> Tensor:
        z = self.encoded(batch)
        features, text = self.perceived(batch, z), self.conditions(batch, z)
        earlier = (batch.index - self.config.skip).clamp(min=0)
        x, sigma = noised(z["target"], batch.index, batch.noise(z["target"]))
        with torch.no_grad():
            teacher = self.predict(self.frozen.unet, self.frozen.adapter, x, batch.index, features, text)
            sigma_next = training_sigmas().to(sigma)[earlier][:, None, None, None]
            target = self.preview(solver_step(x, teacher.float(), sigma, sigma_next), earlier, features, text)
        return consistency_loss(self.preview(x, batch.index, features, text), target)

    def preview(self, x: Tensor, index: Tensor, features: Tensor, text: Conditioning) -> Tensor:
        """The student's picture, as a latent."""
        adapter = self.frozen.adapter
        with self.previewer.applied_to(adapter=adapter):
            eps = self.predict(self.student, adapter, x, index, features, text)
        return one_step_preview(eps, x, training_sigmas().to(x)[index], index)

    def published(self, state: Tensors) -> Tensors:
        return published_lora({key.removeprefix("previewer."): t for key, t in state.items()}, self.frozen.unet.config)


class AggregatorStage(InstantIRStage):
    """The aggregator on the frozen UNet, which reads image tokens, and previewer, by the diffusion loss."""

    def __init__(
        self,
        config: TrainingConfig,
        aggregator: Aggregator,
        previewer: PreviewerLora,
        adapter: ImageAdapter,
        **frozen: Any,
    ):
        super().__init__(config, learns=aggregator, previewer=previewer, adapter=adapter, **frozen)
        self.aggregator = aggregator

    def forward(self, batch: Batch) -> Tensor:
        z = self.encoded(batch)
        features, text = self.perceived(batch, z), self.conditions(batch, z)
        noise = batch.noise(z["target"])
        x, sigma = noised(z["target"], batch.index, noise)
        with torch.no_grad():
            preview = self.preview(x, batch.index, features, text)
        unet: UNet = self.frozen.unet
        z_lq, preview, y = (t.to(unet.dtype) for t in (z["z_lq"], preview, text.vector))
        fusion = ResidualFusion(self.aggregator(z_lq, preview, batch.index, y))
        eps = self.predict(unet, self.frozen.adapter, x, batch.index, features, text, fusion)
        return noise_loss(eps, noise, sigma, self.config.loss)

    def preview(self, x: Tensor, index: Tensor, features: Tensor, text: Conditioning) -> Tensor:
        """The previewer's picture, as a latent; no gradient flows through it."""
        unet, adapter = self.frozen.unet, self.frozen.adapter
        with self.frozen.previewer.applied_to(unet, adapter):
            eps = self.predict(unet, adapter, x, index, features, text)
        return one_step_preview(eps, x, training_sigmas().to(x)[index], index)

    def published(self, state: Tensors) -> Tensors:
        return {diffusers_path(key.removeprefix("aggregator.")): tensor for key, tensor in state.items()}


def published_lora(state: Mapping[str, Tensor], config: UNetConfig) -> Tensors:
    """The state dict of a ``PreviewerLora`` by the keys of the released file."""
    published = {}
    for key, tensor in state.items():
        stem, half, _ = lora_name(key, config).rsplit(".", 2)
        ends = LORA_ENDS[stem.endswith(("to_q", "to_k", "to_v", "to_out.0"))]
        published[f"{stem}.{ends[half == 'up']}.weight"] = tensor
    return published
