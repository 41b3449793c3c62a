"""Stages 1 and 2 of the demo weights' training: the VAE, and the degradation-robust encoder."""

from __future__ import annotations

import copy
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from supir_core.command.demo import VAE_CONFIG
from supir_core.sdxl.vae import VAE, Encoder
from supir_core.training.losses import robust_loss

from .demo_data import CROP, LARGE_CROP, Pool, holding
from .stage import Stage, Training
from .start_weights import scale_latents, start_vae

VAE_STAGE = Stage(3000, 8, 64, CROP, 3e-4, 0)
SMOOTH_STAGE = Stage(1500, 8, 64, CROP // 2, 2e-4, 5)
LATENT_STAGE = Stage(2000, 4, 128, CROP, 4e-4, 1)
DECODED_STAGE = Stage(2200, 4, 128, LARGE_CROP, 1.5e-4, 2)
"""The last sees large crops too: trained on small windows alone, it restored whole pictures worse than their parts."""

PERCEIVED = 0.015
"""Weight of GMSD beside the squared error: with it about a fifth of the loss on damaged training crops."""

Pools = dict[int, Pool]
"""By the side of their crops."""


def train_vae(training: Training, pools: Pools) -> VAE:
    """Stage 1: reconstruct, then reconstruct smooth pictures too; latents of unit deviation, as SDXL's."""
    torch.manual_seed(VAE_STAGE.seed)
    vae = VAE(VAE_CONFIG)
    start_vae(vae)
    pictures = pools[CROP].windows(np.random.default_rng(2), 64, CROP)
    for name, stage, loss in (("vae", VAE_STAGE, detail_loss), ("vae_smooth", SMOOTH_STAGE, smooth_loss)):
        training.run(name, stage, vae, partial(loss, pools, vae))
        scale_latents(vae, pictures)
    return vae


def detail_loss(pools: Pools, vae: VAE, random: np.random.Generator, size: int, side: int) -> Tensor:
    """The VAE on photographs as they are; a touch of noise on the latent keeps it smooth."""
    clean = holding(pools, side).windows(random, size, side)
    mean, _ = vae.quant_conv(vae.encoder(clean)).chunk(2, dim=1)
    noisy = mean + 0.05 * torch.randn_like(mean)
    out = vae.decoder(vae.post_quant_conv(noisy)).float()
    return 4 * F.mse_loss(out, clean) + edges(out, clean) / 2 + 1e-3 * mean.float().square().mean()


def smooth_loss(pools: Pools, vae: VAE, random: np.random.Generator, size: int, side: int) -> Tensor:
    """Half the pictures blurred by four, and these weighted by four.

    What an encoder can know of a damaged picture is smooth. A VAE that only knows sharp pictures smooths those further:
    two that were blurred by two pixels came back 1.0 and 1.2 dB further from their originals.
    """
    clean = holding(pools, side).windows(random, size, side)
    half = size // 2
    smooth = F.interpolate(F.avg_pool2d(clean[half:], 4), size=(side, side), mode="bicubic")
    pictures = torch.cat([clean[:half], smooth])
    z = vae.encode(pictures)
    out = vae.decode(z + 0.05 * torch.randn_like(z)).float()
    apart = (out - pictures).square().mean(dim=(1, 2, 3))
    return (2 * apart[:half].sum() + 8 * apart[half:].sum()) / size + edges(out, pictures) / 2


def train_dr_encoder(training: Training, pools: Pools, vae: VAE) -> Encoder:
    """Stage 2: the degradation-robust encoder, and with it the decoder.

    First it learns to give the clean encoder's latents, which needs no decoder: more than twice as many windows a
    second. Then it learns by what is decoded, and the decoder learns what to make of an encoder that cannot know everything.
    """
    encoder = copy.deepcopy(vae.encoder)

    def latent_loss(random: np.random.Generator, size: int, side: int) -> Tensor:
        clean, damaged = holding(pools, side).pairs(random, size, side)
        with torch.no_grad():
            target = vae.encode(clean)
        return F.mse_loss(vae.encode(damaged, encoder).float(), target.float())

    def decoded_loss(random: np.random.Generator, size: int, side: int) -> Tensor:
        clean, damaged = holding(pools, side).pairs(random, size, side)
        few = size // 4  # none where a window is alone in its step
        decoded = vae.decode(vae.encode(torch.cat([damaged, clean[:few]]), encoder)).float()
        stage1, from_clean = decoded.split([size, few])
        plain = torch.cat([stage1[: max(1, few)].detach(), clean[size - few :]])
        return robust_loss(stage1, from_clean, clean, PERCEIVED) + plain_loss(vae, plain)

    training.run("dr_latent", LATENT_STAGE, encoder, latent_loss)
    both = nn.ModuleList([encoder, vae.decoder, vae.post_quant_conv])
    training.run("dr_decoded", DECODED_STAGE, both, decoded_loss)
    return encoder


def plain_loss(vae: VAE, pictures: Tensor) -> Tensor:
    """What keeps the decoder to the plain encoder's latents.

    Those of undamaged pictures are the UNet's targets, those of stage 1 what restoration guidance pulls to.
    """
    with torch.no_grad():
        z = vae.encode(pictures)
    out = vae.decode(z + 0.05 * torch.randn_like(z)).float()
    return F.mse_loss(out, pictures) / 2 + edges(out, pictures) / 16


def edges(out: Tensor, target: Tensor) -> Tensor:
    """Mean difference of the gradients."""
    difference = out - target
    return difference.diff(dim=2).abs().mean() + difference.diff(dim=3).abs().mean()
