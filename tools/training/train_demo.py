"""Train the demo weights from scratch, in SDXL's and SUPIR's own file formats.

Four stages, as in the paper: the VAE; the degradation-robust encoder, together with the decoder; the UNet;
adaptor and connectors on the frozen UNet. Where a stage stands is saved as it goes, so that a run that was stopped
goes on from there. Held-out photographs are never seen (see demo_photographs).

    python -m tools.training.train_demo --work training --output demo --bf16
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState
from torch import Tensor

from supir_core.command.demo import UNET_CONFIG
from supir_core.sdxl.unet import UNet
from supir_core.sdxl.vae import VAE, Encoder
from supir_core.supir.adaptor import Adaptor
from supir_core.training.losses import noise_loss, noised

from .demo_data import CROP, LARGE_CROP, Pool, holding, make_crops
from .demo_latents import Latents, Prompts
from .demo_weights import new_text_encoders, save_demo_weights
from .stage import Stage, Training, save
from .start_weights import start_adaptor, start_unet
from .train_vae import Pools, train_dr_encoder, train_vae

UNET_STAGE = Stage(1800, 8, CROP // 8, LARGE_CROP // 8, 1e-3, 3)
ADAPTOR_STAGE = Stage(1800, 8, CROP // 8, LARGE_CROP // 8, 8e-4, 4)
"""Whole crops, large ones too: a norm's statistics over a small window blur what high noise levels teach."""

SMALL_PER_LARGE = 16
"""Small crops for each large one."""

ENCODED = {CROP: 3, LARGE_CROP: 1}
"""One in so many crops of a side is encoded for the last two stages."""

AllLatents = dict[int, Latents]
"""By the side of their crops."""


def train_unet(training: Training, latents: AllLatents, prompts: Prompts) -> UNet:
    """Stage 3: the prior, on clean latents under captions and on damaged ones under the negative prompt."""
    torch.manual_seed(UNET_STAGE.seed)
    unet = UNet(UNET_CONFIG)
    start_unet(unet)

    def loss(random: np.random.Generator, size: int, side: int) -> Tensor:
        target, _, rows = holding(latents, side).batch(random, size, side)
        text = prompts.rows(rows)
        x, noise, sigma, index = at_random(target)
        return noise_loss(unet(x, index, text.context, text.vector), noise, sigma)

    training.run("unet", UNET_STAGE, unet, loss)
    return unet


def train_adaptor(training: Training, latents: AllLatents, prompts: Prompts, unet: UNet) -> Adaptor:
    """Stage 4: the adaptor starts as the UNet's encoder, the connectors from zero; the UNet is frozen."""
    torch.manual_seed(ADAPTOR_STAGE.seed)
    adaptor = Adaptor(UNET_CONFIG)
    start_adaptor(adaptor, unet)

    def loss(random: np.random.Generator, size: int, side: int) -> Tensor:
        target, z_lq, rows = holding(latents, side).batch(random, size, side)
        text = prompts.rows(rows)
        x, noise, sigma, index = at_random(target)
        fusion = adaptor(z_lq, x, index, text.context, text.vector, 1.0)
        return noise_loss(unet(x, index, text.context, text.vector, fusion), noise, sigma)

    training.run("adaptor", ADAPTOR_STAGE, adaptor, loss)
    return adaptor


def at_random(z: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A latent at a random training noise level as the UNet gets it, the noise, the level, and its index."""
    index, noise = torch.randint(1000, (len(z),), device=z.device), torch.randn_like(z)
    x, sigma = noised(z, index, noise)
    return x, noise, sigma, index


def kept_pools(work: Path, crops: int, device: torch.device) -> Pools:
    """The training crops, made once."""
    pools = {}
    for side, count in ((CROP, crops), (LARGE_CROP, crops // SMALL_PER_LARGE)):
        path = work / f"crops_{count}_of_{side}.pt"
        if not path.exists():
            save(make_crops(count, side, seed=side), path)
        clean, captions = torch.load(path, mmap=True)
        pools[side] = Pool(clean, captions, device)
    return pools


def kept_latents(training: Training, pools: Pools, vae: VAE, dr_encoder: Encoder) -> AllLatents:
    """A part of the crops as latents, encoded once."""
    latents = {}
    for side, pool in pools.items():
        path = training.work / f"latents_{side}.pt"
        if not path.exists():
            some = pool.first(len(pool.clean) // ENCODED[side])
            with training.precision():
                made = Latents.of(some, vae, dr_encoder, seed=side)
            save((made.target, made.z_lq, made.negative, made.captions), path)
        latents[side // 8] = Latents(*torch.load(path, map_location=training.device))
    return latents


def main() -> None:
    """Train what is not trained yet and write the weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("training"), help="stages and log (%(default)s)")
    parser.add_argument("--output", type=Path, default=Path("demo"), help="weights' folder (%(default)s)")
    parser.add_argument("--share", type=float, default=1.0, help="of the steps of each stage (%(default)s)")
    parser.add_argument("--crops", type=int, default=8000, help="small ones, 32 at least (%(default)s)")
    parser.add_argument("--bf16", action="store_true", help="mixed precision, where the device is fast at it")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    device = PartialState().device
    training = Training(options.work, device, options.bf16, options.share)
    torch.manual_seed(0)
    prompts = Prompts(new_text_encoders(options.work / "tokenizer"), device)
    pools = kept_pools(options.work, options.crops, device)
    vae = train_vae(training, pools)
    dr_encoder = train_dr_encoder(training, pools, vae)
    latents = kept_latents(training, pools, vae, dr_encoder)
    unet = train_unet(training, latents, prompts)
    adaptor = train_adaptor(training, latents, prompts, unet)
    save_demo_weights(options.output, unet, vae, adaptor, dr_encoder)
    print(f"wrote {options.output}")


if __name__ == "__main__":
    main()
