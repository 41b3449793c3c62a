"""The demo's SDXL file, trained from scratch in the steps of ``supir train``: a small VAE, then a small UNet.

python -m tools.training.demo_base demo-vae --config demo/vae.toml
python -m tools.training.demo_base demo-unet --config demo/unet.toml
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from supir_core.command.demo import UNET_CONFIG, VAE_CONFIG
from supir_core.sdxl.model import FIRST_STAGE, UNET
from supir_core.sdxl.unet import UNet
from supir_core.sdxl.vae import VAE, from_unit, to_unit
from supir_core.training.config import TrainingConfig, read_config
from supir_core.training.data import Batch, Samples, Tensors
from supir_core.training.networks import networks_of
from supir_core.training.run import STAGES, train
from supir_core.training.stages import DiffusionStage, Stage

from .demo_weights import text_tensors
from .start_weights import scale_latents, start_unet, start_vae

SMOOTH = 2 / 3
"""Share of the VAE's steps after which half the pictures are smooth."""

MEASURED = 64
"""Crops by which latents get unit deviation."""


class VAEStage(Stage):
    """The VAE: reconstruct, then reconstruct smooth pictures too; a touch of noise on the latent keeps it smooth.

    What an encoder can know of a damaged picture is smooth. A VAE that only knows sharp pictures smooths those further:
    two that were blurred by two pixels came back 1.0 and 1.2 dB further from their originals.
    """

    learner, needs, cached = "vae", ("unet",), False

    @classmethod
    def build(cls, config: TrainingConfig) -> Stage:
        vae = VAE(VAE_CONFIG)
        start_vae(vae)
        return cls(config, vae=vae, unet=UNet(UNET_CONFIG))  # which makes the file one of SDXL, and is not read

    def forward(self, batch: Batch) -> Tensor:
        pictures = from_unit(batch.tensors["clean"])
        smooth = len(pictures) // 2 if batch.step > SMOOTH * self.config.steps else 0
        if smooth:
            small = F.avg_pool2d(pictures[:smooth], 4)
            blurred = F.interpolate(small, size=pictures.shape[2:], mode="bicubic")
            pictures = torch.cat([blurred, pictures[smooth:]])
        z, _ = self.learns.quant_conv(self.learns.encoder(pictures)).chunk(2, dim=1)
        out = self.learns.decoder(self.learns.post_quant_conv(z + 0.05 * batch.noise)).float()
        weights = torch.tensor([4.0] * smooth + [1.0] * (len(pictures) - smooth), device=out.device)
        apart = (weights * (out - pictures).square().mean(dim=(1, 2, 3))).mean()
        return 4 * apart + edges(out, pictures) / 2 + 1e-3 * z.float().square().mean()

    def restored(self, batch: Batch) -> Tensor:
        return to_unit(self.decode(self.latent(batch.tensors["clean"])))

    def published(self, state: Tensors) -> Tensors:
        return sdxl_file(self.networks.unet.state_dict(), state)


class UNetStage(DiffusionStage):
    """The prior, on clean latents under captions and on damaged ones under the negative prompt."""

    learner, needs = "unet", ("vae", "text")

    @classmethod
    def build(cls, config: TrainingConfig) -> Stage:
        networks = networks_of(config, ("vae", "text"), cls.learner)
        start_unet(unet := UNet(UNET_CONFIG))
        samples = Samples(config, cls.words)
        crops = [samples.pair(number % len(samples.pictures), number, False)["clean"] for number in range(MEASURED)]
        scale_latents(networks["vae"], from_unit(torch.cat(crops)))
        return cls(config, unet=unet, **networks)

    def encode(self, pictures: Tensors) -> Tensors:
        return {"target": self.latent(pictures["clean"])}

    def predict(self, x: Tensor, z: Tensors, batch: Batch) -> Tensor:
        return self.learns(x, batch.index, z["context"], z["vector"])

    def published(self, state: Tensors) -> Tensors:
        return sdxl_file(state, self.networks.vae.state_dict())


def sdxl_file(unet: Tensors, vae: Tensors) -> Tensors:
    """Both with the text encoders, by the keys of an SDXL checkpoint."""
    parts = ((UNET, unet), (FIRST_STAGE, vae))
    return text_tensors() | {prefix + key: tensor for prefix, state in parts for key, tensor in state.items()}


def edges(out: Tensor, target: Tensor) -> Tensor:
    """Mean difference of the gradients."""
    difference = out - target
    return difference.diff(dim=2).abs().mean() + difference.diff(dim=3).abs().mean()


STAGES.update({"demo-vae": VAEStage, "demo-unet": UNetStage})


def main() -> None:
    """Train one of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=("demo-vae", "demo-unet"))
    parser.add_argument("--config", type=Path, required=True)
    options = parser.parse_args()
    train(options.stage, read_config(options.stage, options.config), print)


if __name__ == "__main__":
    main()
