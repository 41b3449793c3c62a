"""Train the demo weights from scratch, in SDXL's and SUPIR's own file formats.

Four stages, as in the paper: the VAE; the degradation-robust encoder; the UNet; adaptor and connectors on the frozen
UNet. Where a stage stands is saved as it goes, so that a run that was stopped goes on from there. Held-out photographs
are never seen (see demo_data).

    PYTHONPATH=. python tools/train_demo.py --work training --output demo --bf16
"""

from __future__ import annotations

import argparse
import copy
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from demo_data import Pool, build_pool
from demo_latents import Latents, Prompts
from demo_weights import new_text_encoders, save_demo_weights
from stage import Stage, Training
from start_weights import scale_latents, start_adaptor, start_unet, start_vae
from torch import Tensor, nn

from supir_core.adaptor import Adaptor
from supir_core.demo import UNET_CONFIG, VAE_CONFIG
from supir_core.denoiser import training_sigmas
from supir_core.unet import UNet
from supir_core.vae import VAE

CROP = 256

VAE_STAGE = Stage(4000, 8, 64, CROP, 3e-4, 0)
ENCODER_STAGE = Stage(1600, 4, 64, CROP, 3e-4, 1)
UNET_STAGE = Stage(800, 32, 16, CROP // 8, 1e-3, 2)
ADAPTOR_STAGE = Stage(1100, 32, 16, CROP // 8, 1e-3, 3)
WHOLE_STAGE = Stage(1000, 8, CROP // 8, CROP // 8, 6e-4, 4)
"""The adaptor once more, on whole crops: a norm's statistics over a small window blur what high noise levels teach."""

LATENT_CROPS = 700
"""Crops that are encoded for the last two stages."""


def train_vae(training: Training, pool: Pool) -> VAE:
    """Stage 1: reconstruct; a touch of noise on the latent keeps it smooth, then it is scaled as SDXL's."""
    torch.manual_seed(VAE_STAGE.seed)
    vae = VAE(VAE_CONFIG)
    start_vae(vae)

    def loss(random: np.random.Generator, size: int, side: int) -> Tensor:
        clean = pool.batch(random, size, side)[0].to(training.device)
        mean, _ = vae.quant_conv(vae.encoder(clean)).chunk(2, dim=1)
        noisy = mean + 0.05 * torch.randn_like(mean)
        out = vae.decoder(vae.post_quant_conv(noisy)).float()
        return 4 * F.mse_loss(out, clean) + edges(out, clean) / 2 + 1e-3 * mean.float().square().mean()

    training.run("vae", VAE_STAGE, vae, loss)
    scale_latents(vae, pool.batch(np.random.default_rng(2), 64, CROP)[0].to(training.device))
    return vae


def train_dr_encoder(training: Training, pool: Pool, vae: VAE) -> nn.Module:
    """Stage 2: ||D(E_dr(x_LQ)) - D(E_dr(x_GT))||^2 (Yu et al. 2024, eq. 1).

    That loss alone is content with an encoder that sees nothing; the anchor holds D(E_dr(x_GT)) to x_GT.
    """
    encoder = copy.deepcopy(vae.encoder)

    def decode(image: Tensor) -> Tensor:
        return vae.decoder(vae.post_quant_conv(vae.quant_conv(encoder(image)).chunk(2, dim=1)[0])).float()

    def loss(random: np.random.Generator, size: int, side: int) -> Tensor:
        clean, damaged = (half.to(training.device) for half in pool.batch(random, size, side))
        from_damaged, from_clean = decode(torch.cat([damaged, clean])).chunk(2)
        return F.mse_loss(from_damaged, from_clean) + F.mse_loss(from_clean, clean)

    training.run("dr_encoder", ENCODER_STAGE, encoder, loss)
    return encoder


def train_unet(training: Training, latents: Latents, prompts: Prompts) -> UNet:
    """Stage 3: the prior, on clean latents under captions and on damaged ones under the negative prompt."""
    torch.manual_seed(UNET_STAGE.seed)
    unet = UNet(UNET_CONFIG)
    start_unet(unet)

    def loss(random: np.random.Generator, size: int, side: int) -> Tensor:
        target, _, rows = latents.batch(random, size, side)
        text = prompts.rows(rows)
        x, noise, sigma, index = noised(target)
        return noise_loss(unet(x, index, text.context, text.vector), noise, sigma)

    training.run("unet", UNET_STAGE, unet, loss)
    return unet


def train_adaptor(training: Training, latents: Latents, prompts: Prompts, unet: UNet) -> Adaptor:
    """Stage 4: the adaptor starts as the UNet's encoder, the connectors from zero; the UNet is frozen."""
    torch.manual_seed(ADAPTOR_STAGE.seed)
    adaptor = Adaptor(UNET_CONFIG)
    start_adaptor(adaptor, unet)

    def loss(random: np.random.Generator, size: int, side: int) -> Tensor:
        target, z_lq, rows = latents.batch(random, size, side)
        text = prompts.rows(rows)
        x, noise, sigma, index = noised(target)
        fusion = adaptor(z_lq, x, index, text.context, text.vector, 1.0)
        return noise_loss(unet(x, index, text.context, text.vector, fusion), noise, sigma)

    training.run("adaptor", ADAPTOR_STAGE, adaptor, loss)
    training.run("adaptor_whole", WHOLE_STAGE, adaptor, loss)
    return adaptor


def noised(z: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A latent at a random training noise level as the UNet gets it, the noise, the level, and its index."""
    index = torch.randint(1000, (len(z),), device=z.device)
    sigma = training_sigmas().to(z)[index][:, None, None, None]
    noise = torch.randn_like(z)
    return (z + sigma * noise) / (sigma**2 + 1).sqrt(), noise, sigma, index


def noise_loss(predicted: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
    """Squared error of the noise, weighted by sigma^2 + 1 (Salimans & Ho 2022, section 4).

    Without the weight the high levels, where a restoration is decided, count for next to nothing.
    """
    return ((sigma**2 + 1) * (predicted.float() - noise).square()).mean()


def edges(out: Tensor, target: Tensor) -> Tensor:
    """Mean difference of the gradients."""
    difference = out - target
    return difference.diff(dim=2).abs().mean() + difference.diff(dim=3).abs().mean()


def kept_pool(work: Path, crops: int) -> Pool:
    """The training crops, built once."""
    path = work / f"pool_{crops}.pt"
    if not path.exists():
        pool = build_pool(crops, CROP, seed=1)
        torch.save((pool.clean, pool.damaged, pool.captions), path)
    return Pool(*torch.load(path))


def kept_latents(training: Training, pool: Pool, vae: VAE, dr_encoder: nn.Module) -> Latents:
    """The crops' latents, encoded once."""
    path = training.work / "latents.pt"
    if not path.exists():
        with training.precision():
            latents = Latents.of(pool, vae, dr_encoder, training.device)
        torch.save((latents.target, latents.z_lq, latents.negative, latents.captions), path)
    return Latents(*torch.load(path, map_location=training.device))


def main() -> None:
    """Train what is not trained yet and write the weights."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, default=Path("training"), help="stages and log (%(default)s)")
    parser.add_argument("--output", type=Path, default=Path("demo"), help="weights' folder (%(default)s)")
    parser.add_argument("--share", type=float, default=1.0, help="of the steps of each stage (%(default)s)")
    parser.add_argument("--crops", type=int, default=2500, help="training crops (%(default)s)")
    parser.add_argument("--bf16", action="store_true", help="mixed precision, where the device is fast at it")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    training = Training(options.work, device, options.bf16, options.share)
    torch.manual_seed(0)
    prompts = Prompts(new_text_encoders(options.work / "tokenizer"), device)
    pool = kept_pool(options.work, options.crops)
    vae = train_vae(training, pool)
    dr_encoder = train_dr_encoder(training, pool, vae)
    latents = kept_latents(training, pool.first(LATENT_CROPS), vae, dr_encoder)
    unet = train_unet(training, latents, prompts)
    adaptor = train_adaptor(training, latents, prompts, unet)
    save_demo_weights(options.output, unet, vae, adaptor, dr_encoder)
    print(f"wrote {options.output}")


if __name__ == "__main__":
    main()
