"""Train the demo weights from scratch, in SDXL's and SUPIR's own file formats.

Four stages, as in the paper: the VAE; the degradation-robust encoder; the UNet; adaptor and connectors on the frozen
UNet. Where a stage stands is saved as it goes, so that a run that was stopped goes on from there. Held-out photographs
are never seen (see demo_data).

    PYTHONPATH=. python tools/train_demo.py --work training --output demo
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from demo_data import Pool, build_pool
from demo_weights import CAPTIONS, new_text_encoders, save_demo_weights
from start_weights import scale_latents, start_adaptor, start_vae
from torch import Tensor, nn

from supir_core.adaptor import Adaptor
from supir_core.conditioning import NEGATIVE_PROMPT, POSITIVE_PROMPT, Conditioning, full_prompt
from supir_core.demo import UNET_CONFIG, VAE_CONFIG
from supir_core.denoiser import training_sigmas
from supir_core.text import TextEncoders
from supir_core.unet import UNet
from supir_core.vae import VAE

CROP = 256


@dataclass(frozen=True)
class Stage:
    """How long and how fast a stage learns.

    Attributes:
        steps: of the optimiser.
        batch: windows a step; every fourth step takes a quarter as many of twice the side.
        side: of a window, in pixels, or in latent pixels for the UNet and the adaptor.
        rate: largest learning rate.
        seed: its place in the order, for its random numbers.
    """

    steps: int
    batch: int
    side: int
    rate: float
    seed: int


STAGES = {
    "vae": Stage(1100, 6, 64, 2.5e-4, 0),
    "dr_encoder": Stage(700, 4, 64, 3e-4, 1),
    "unet": Stage(1000, 32, 16, 1e-3, 2),
    "adaptor": Stage(900, 32, 16, 1e-3, 3),
}
LATENT_CROPS = 500
"""Crops that are encoded for the last two stages."""

EMA = 0.99

NEGATIVE_SHARE, PLAIN_SHARE, EMPTY_SHARE = 0.15, 0.4, 0.1
"""Shares of rows: a damaged target under the negative prompt; quality words alone; no text at all."""

Loss = Callable[[np.random.Generator, int, int], Tensor]
"""Loss of a batch that it draws itself, from random numbers, batch size and side of a window."""


class Training:
    """What the stages share: where they are kept, device, precision and log."""

    def __init__(self, work: Path, device: torch.device, half: bool, share: float):
        self.work, self.device, self.half, self.share = work, device, half, share
        self.log: list[tuple[int, float]] = []

    def run(self, name: str, modules: nn.Module, loss: Loss) -> None:
        """Train ``modules``, or load them where the stage is done."""
        modules.to(self.device)
        path = self.work / f"{name}.pt"
        if path.exists():
            modules.load_state_dict(torch.load(path, map_location=self.device))
        else:
            self._train(name, modules, loss)
            torch.save(modules.state_dict(), path)
        modules.eval().requires_grad_(False)

    def _train(self, name: str, modules: nn.Module, loss: Loss) -> None:
        stage = STAGES[name]
        steps = max(8, int(stage.steps * self.share))
        averaged = copy.deepcopy(modules).requires_grad_(False)
        modules.train().requires_grad_(True)
        optimizer = torch.optim.AdamW(modules.parameters(), lr=stage.rate, weight_decay=1e-4)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, stage.rate, total_steps=steps, pct_start=0.05
        )
        parts = {"modules": modules, "averaged": averaged, "optimizer": optimizer, "schedule": schedule}
        done, seconds = self._resume(name, parts)
        began, recent = time.time() - seconds, []
        for step in range(done + 1, steps + 1):
            recent.append(self._step(stage, step, loss, parts))
            if step % max(1, steps // 40) == 0:
                self._report(name, parts, step, float(np.mean(recent)), time.time() - began)
                recent.clear()
        modules.load_state_dict(averaged.state_dict())

    def _step(self, stage: Stage, step: int, loss: Loss, parts: dict[str, Any]) -> float:
        """One step of the optimiser and of the averaged weights; returns the loss."""
        random = np.random.default_rng([stage.seed, step])
        torch.manual_seed(step)
        large = step % 4 == 0
        size, side = (stage.batch // 4, stage.side * 2) if large else (stage.batch, stage.side)
        with torch.autocast(self.device.type, torch.bfloat16) if self.half else contextlib.nullcontext():
            value = loss(random, size, side)
        parts["optimizer"].zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_(parts["modules"].parameters(), 1.0)
        parts["optimizer"].step()
        parts["schedule"].step()
        with torch.no_grad():
            pairs = zip(parts["averaged"].parameters(), parts["modules"].parameters(), strict=True)
            for mean, now in pairs:
                mean.lerp_(now, 1 - min(EMA, step / (step + 10)))
        return value.item()

    def _report(self, name: str, parts: dict[str, Any], step: int, value: float, seconds: float) -> None:
        """Print and keep where the stage stands, for a run that goes on from there."""
        self.log.append((step, round(value, 5)))
        print(f"{name:11} {step:6} loss {value:.5f} after {seconds:.0f} s", flush=True)
        (self.work / f"{name}_log.json").write_text(
            json.dumps({"losses": self.log, "seconds": round(seconds)})
        )
        state = {name: part.state_dict() for name, part in parts.items()}
        part = self.work / f".{name}_state.part"
        torch.save({**state, "step": step, "seconds": seconds, "log": self.log}, part)
        part.replace(self.work / f"{name}_state.pt")

    def _resume(self, name: str, parts: dict[str, Any]) -> tuple[int, float]:
        """Steps and seconds that an earlier run has done already."""
        path = self.work / f"{name}_state.pt"
        self.log = []
        if not path.exists():
            return 0, 0.0
        state = torch.load(path, map_location=self.device)
        for key, part in parts.items():
            part.load_state_dict(state[key])
        self.log = state["log"]
        return state["step"], state["seconds"]


def train_vae(training: Training, pool: Pool) -> VAE:
    """Stage 1: reconstruct; a touch of noise on the latent keeps it smooth, then it is scaled as SDXL's."""
    torch.manual_seed(STAGES["vae"].seed)
    vae = VAE(VAE_CONFIG)
    start_vae(vae)

    def loss(random: np.random.Generator, size: int, side: int) -> Tensor:
        clean = pool.batch(random, size, side)[0].to(training.device)
        mean, _ = vae.quant_conv(vae.encoder(clean)).chunk(2, dim=1)
        noisy = mean + 0.05 * torch.randn_like(mean)
        out = vae.decoder(vae.post_quant_conv(noisy)).float()
        return F.l1_loss(out, clean) + edges(out, clean) + 1e-3 * mean.float().square().mean()

    training.run("vae", vae, loss)
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

    training.run("dr_encoder", encoder, loss)
    return encoder


@dataclass(frozen=True)
class Latents:
    """The crops as the UNet and the adaptor get them.

    Attributes:
        target: ``(N, 4, h, w)``, clean, or damaged in the rows of the negative prompt.
        z_lq: ``(N, 4, h, w)``, what the degradation-robust encoder makes of the damaged crop.
        negative: ``(N,)``, which rows are the negative prompt's.
        captions: ``(N,)``, index into ``CAPTIONS``.
    """

    target: Tensor
    z_lq: Tensor
    negative: Tensor
    captions: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, pool: Pool, vae: VAE, dr_encoder: nn.Module, device: torch.device) -> Latents:
        """Encode all crops, once."""
        count = len(pool.clean)
        negative = torch.arange(count) < count * NEGATIVE_SHARE
        targets = torch.where(negative[:, None, None, None], pool.damaged, pool.clean)

        def encode(pictures: Tensor, encoder: nn.Module | None = None) -> Tensor:
            scaled = (part.to(device).float() / 127.5 - 1 for part in pictures.split(8))
            return torch.cat([vae.encode(part, encoder).float() for part in scaled])

        target, z_lq = encode(targets), encode(pool.damaged, dr_encoder)
        return cls(target, z_lq, negative, pool.captions)

    def batch(self, random: np.random.Generator, size: int, side: int) -> tuple[Tensor, Tensor, Tensor]:
        """Windows of ``side`` latent pixels: ``target``, ``z_lq``, and the row of ``Prompts`` that goes with each."""
        rows = torch.from_numpy(random.integers(len(self.target), size=size))
        top, left = random.integers(self.target.shape[-1] - side + 1, size=2)
        window = (slice(None), slice(top, top + side), slice(left, left + side))
        draws = torch.from_numpy(random.random(size))
        prompts = torch.where(draws < PLAIN_SHARE, Prompts.PLAIN, self.captions[rows])
        prompts = torch.where(self.negative[rows], Prompts.NEGATIVE, prompts)
        prompts = torch.where(draws > 1 - EMPTY_SHARE, Prompts.EMPTY, prompts)
        return self.target[(rows, *window)], self.z_lq[(rows, *window)], prompts


class Prompts:
    """The encoded prompts: one for each caption, the quality words alone, the negative prompt, and none."""

    PLAIN, NEGATIVE, EMPTY = (len(CAPTIONS) + i for i in range(3))

    def __init__(self, text: TextEncoders, device: torch.device):
        texts = [full_prompt(caption, POSITIVE_PROMPT) for caption in CAPTIONS.values()]
        encoded = text.encode([*texts, full_prompt("", POSITIVE_PROMPT), NEGATIVE_PROMPT, ""])
        self.context, self.vector = encoded.context.to(device), encoded.vector.to(device)

    def rows(self, rows: Tensor) -> Conditioning:
        """The prompts of a batch."""
        return Conditioning(self.context[rows], self.vector[rows])


def train_unet(training: Training, latents: Latents, prompts: Prompts) -> UNet:
    """Stage 3: the prior, on clean latents under captions and on damaged ones under the negative prompt."""
    torch.manual_seed(STAGES["unet"].seed)
    unet = UNet(UNET_CONFIG)

    def loss(random: np.random.Generator, size: int, side: int) -> Tensor:
        target, _, rows = latents.batch(random, size, side)
        text = prompts.rows(rows)
        x, noise, index = noised(target)
        return F.mse_loss(unet(x, index, text.context, text.vector).float(), noise)

    training.run("unet", unet, loss)
    return unet


def train_adaptor(training: Training, latents: Latents, prompts: Prompts, unet: UNet) -> Adaptor:
    """Stage 4: the adaptor starts as the UNet's encoder, the connectors from zero; the UNet is frozen."""
    torch.manual_seed(STAGES["adaptor"].seed)
    adaptor = Adaptor(UNET_CONFIG)
    start_adaptor(adaptor, unet)

    def loss(random: np.random.Generator, size: int, side: int) -> Tensor:
        target, z_lq, rows = latents.batch(random, size, side)
        text = prompts.rows(rows)
        x, noise, index = noised(target)
        fusion = adaptor(z_lq, x, index, text.context, text.vector, 1.0)
        return F.mse_loss(unet(x, index, text.context, text.vector, fusion).float(), noise)

    training.run("adaptor", adaptor, loss)
    return adaptor


def noised(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A latent at a random training noise level as the UNet gets it, the noise, and the level's index."""
    index = torch.randint(1000, (len(z),), device=z.device)
    sigma = training_sigmas().to(z)[index][:, None, None, None]
    noise = torch.randn_like(z)
    return (z + sigma * noise) / (sigma**2 + 1).sqrt(), noise, index


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


def main() -> None:
    """Train what is not trained yet and write the weights."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, default=Path("training"), help="stages and log (%(default)s)")
    parser.add_argument("--output", type=Path, default=Path("demo"), help="weights' folder (%(default)s)")
    parser.add_argument("--share", type=float, default=1.0, help="of the steps of each stage (%(default)s)")
    parser.add_argument("--crops", type=int, default=1500, help="training crops (%(default)s)")
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
    latents = Latents.of(pool.first(LATENT_CROPS), vae, dr_encoder, device)
    unet = train_unet(training, latents, prompts)
    adaptor = train_adaptor(training, latents, prompts, unet)
    save_demo_weights(options.output, unet, vae, adaptor, dr_encoder)
    print(f"wrote {options.output}")


if __name__ == "__main__":
    main()
