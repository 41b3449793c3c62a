"""Train the demo weights from scratch, in SDXL's and SUPIR's own file formats.

Four stages, as in the paper: the VAE; the degradation-robust encoder; the UNet; adaptor and connectors on the frozen
UNet. Where a stage stands is saved as it goes, so that a run that was stopped goes on from there. Held-out photographs
are never seen (see demo_data).

    PYTHONPATH=. python tools/train_demo.py --work training --output demo --bf16
"""

from __future__ import annotations

import argparse
import copy
from functools import partial
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
SMOOTH_STAGE = Stage(2000, 8, 64, CROP // 2, 2e-4, 5)
LATENT_STAGE = Stage(3800, 4, 128, CROP, 4e-4, 1)
ENCODER_STAGE = Stage(2300, 4, 128, 128, 3e-4, 2)
UNET_STAGE = Stage(900, 8, CROP // 8, CROP // 8, 1e-3, 3)
ADAPTOR_STAGE = Stage(1950, 8, CROP // 8, CROP // 8, 8e-4, 4)
"""The last two see whole crops: a norm's statistics over a small window blur what high noise levels teach."""

LATENT_CROPS = 1000
"""Crops that are encoded for the last two stages."""


def train_vae(training: Training, pool: Pool) -> VAE:
    """Stage 1: reconstruct, then reconstruct smooth pictures too; latents of unit deviation, as SDXL's."""
    torch.manual_seed(VAE_STAGE.seed)
    vae = VAE(VAE_CONFIG)
    start_vae(vae)
    pictures = pool.batch(np.random.default_rng(2), 64, CROP)[0].to(training.device)
    for name, stage, loss in (("vae", VAE_STAGE, detail_loss), ("vae_smooth", SMOOTH_STAGE, smooth_loss)):
        training.run(name, stage, vae, partial(loss, training.device, pool, vae))
        scale_latents(vae, pictures)
    return vae


def detail_loss(
    device: torch.device, pool: Pool, vae: VAE, random: np.random.Generator, size: int, side: int
) -> Tensor:
    """The VAE on photographs as they are; a touch of noise on the latent keeps it smooth."""
    clean = pool.batch(random, size, side)[0].to(device)
    mean, _ = vae.quant_conv(vae.encoder(clean)).chunk(2, dim=1)
    noisy = mean + 0.05 * torch.randn_like(mean)
    out = vae.decoder(vae.post_quant_conv(noisy)).float()
    return 4 * F.mse_loss(out, clean) + edges(out, clean) / 2 + 1e-3 * mean.float().square().mean()


def smooth_loss(
    device: torch.device, pool: Pool, vae: VAE, random: np.random.Generator, size: int, side: int
) -> Tensor:
    """Half the pictures blurred by four, and these weighted by four.

    What an encoder can know of a damaged picture is smooth. A VAE that only knows sharp pictures smooths those further:
    two that were blurred by two pixels came back 1.0 and 1.2 dB further from their originals.
    """
    clean = pool.batch(random, size, side)[0].to(device)
    half = size // 2
    smooth = F.interpolate(F.avg_pool2d(clean[half:], 4), size=(side, side), mode="bicubic")
    pictures = torch.cat([clean[:half], smooth])
    z = vae.encode(pictures)
    out = vae.decode(z + 0.05 * torch.randn_like(z)).float()
    apart = (out - pictures).square().mean(dim=(1, 2, 3))
    return (2 * apart[:half].sum() + 8 * apart[half:].sum()) / size + edges(out, pictures) / 2


def train_dr_encoder(training: Training, pool: Pool, vae: VAE) -> nn.Module:
    """Stage 2: ||D(E_dr(x_LQ)) - D(E_dr(x_GT))||^2 (Yu et al. 2024, eq. 1).

    That loss alone is content with an encoder that sees nothing; an anchor holds both decodes to x_GT. The clean picture
    goes along for a quarter of the windows. Before that the encoder learns to give the clean encoder's latents, which
    needs no decoder: twice as many windows a second.
    """
    encoder = copy.deepcopy(vae.encoder)

    def latent_loss(random: np.random.Generator, size: int, side: int) -> Tensor:
        clean, damaged = (half.to(training.device) for half in pool.batch(random, size, side))
        with torch.no_grad():
            target = vae.encode(clean)
        return F.mse_loss(vae.encode(damaged, encoder).float(), target.float())

    def loss(random: np.random.Generator, size: int, side: int) -> Tensor:
        clean, damaged = (half.to(training.device) for half in pool.batch(random, size, side))
        some = clean[: max(1, size // 4)]
        decoded = vae.decode(vae.encode(torch.cat([damaged, some]), encoder)).float()
        from_damaged, from_clean = decoded.split([size, len(some)])
        paired = F.mse_loss(from_damaged[: len(some)], from_clean)
        anchor = F.mse_loss(from_damaged, clean) + F.mse_loss(from_clean, some) / 2
        return paired / 2 + anchor

    training.run("dr_latent", LATENT_STAGE, encoder, latent_loss)
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
    parser.add_argument("--crops", type=int, default=4000, help="training crops (%(default)s)")
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
