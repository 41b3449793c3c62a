"""Train the demo weights from scratch, in SDXL's and SUPIR's own file formats.

Four stages, as in the paper: the VAE; the degradation-robust encoder; the UNet; adaptor and connectors on the frozen
UNet. Where a stage stands is saved as it goes, so that a run that was stopped goes on from there. Held-out photographs are never
seen (see demo_data).

    PYTHONPATH=. python tools/train_demo.py --work training --output demo
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from demo_data import CAPTIONS, Pool, build_pool
from torch import Tensor, nn

from supir_core.adaptor import Adaptor
from supir_core.conditioning import NEGATIVE_PROMPT, POSITIVE_PROMPT, Conditioning, full_prompt
from supir_core.config import LATENT_SCALE
from supir_core.demo_weights import UNET_CONFIG, VAE_CONFIG, new_text_encoders, save_demo_weights
from supir_core.denoiser import training_sigmas
from supir_core.text import TextEncoders
from supir_core.unet import UNet
from supir_core.vae import VAE

SIDE = 128
STEPS = {"vae": 4000, "dr_encoder": 1500, "unet": 6000, "adaptor": 4500}
BATCH = {"vae": 12, "dr_encoder": 12, "unet": 32, "adaptor": 32}
RATE = {"vae": 1e-3, "dr_encoder": 5e-4, "unet": 1e-3, "adaptor": 1e-3}
EMA = 0.998
STAGE_SEEDS = {stage: i for i, stage in enumerate(STEPS)}

NEGATIVE_SHARE, EMPTY_SHARE = 0.15, 0.1
"""Shares of training rows: a damaged target under the negative prompt; no text at all."""


class Training:
    """What the stages share: pictures, text, random numbers, device and log."""

    def __init__(self, work: Path, device: torch.device, steps: dict[str, int], crops: int):
        self.work, self.device, self.steps = work, device, steps
        self.log: dict[str, list[tuple[int, float]]] = {}
        torch.manual_seed(0)
        self.text = new_text_encoders(work / "tokenizer")
        self.pool = self._pool(crops)

    def _pool(self, crops: int) -> Pool:
        path = self.work / f"pool_{crops}.pt"
        if not path.exists():
            pool = build_pool(crops, SIDE, seed=1)
            torch.save((pool.clean, pool.damaged, pool.captions), path)
        return Pool(*torch.load(path))

    def run(
        self, stage: str, modules: Iterable[nn.Module], loss: Callable[[Tensor, Tensor, Tensor], Tensor]
    ) -> None:
        """Train ``modules`` by ``loss(clean, damaged, captions)``, or load them where the stage is done."""
        modules = nn.ModuleList(modules).to(self.device)
        path = self.work / f"{stage}.pt"
        if path.exists():
            modules.load_state_dict(torch.load(path, map_location=self.device))
        else:
            self._train(stage, modules, loss)
            torch.save(modules.state_dict(), path)
        modules.eval().requires_grad_(False)

    def _train(
        self, stage: str, modules: nn.Module, loss: Callable[[Tensor, Tensor, Tensor], Tensor]
    ) -> None:
        steps = self.steps[stage]
        averaged = copy.deepcopy(modules).requires_grad_(False)
        modules.train().requires_grad_(True)
        optimizer = torch.optim.AdamW(modules.parameters(), lr=RATE[stage], weight_decay=1e-4)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, RATE[stage], total_steps=steps, pct_start=0.05
        )
        parts = {"modules": modules, "averaged": averaged, "optimizer": optimizer, "schedule": schedule}
        done, seconds = self._resume(stage, parts)
        began, recent = time.time() - seconds, []
        for step in range(done + 1, steps + 1):
            random = np.random.default_rng([STAGE_SEEDS[stage], step])
            torch.manual_seed(step)
            clean, damaged, captions = self.pool.batch(random, BATCH[stage])
            with torch.autocast(self.device.type, torch.bfloat16):
                value = loss(clean.to(self.device), damaged.to(self.device), captions)
            optimizer.zero_grad(set_to_none=True)
            value.backward()
            nn.utils.clip_grad_norm_(modules.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            decay = min(EMA, step / (step + 10))
            with torch.no_grad():
                for mean, now in zip(averaged.parameters(), modules.parameters(), strict=True):
                    mean.lerp_(now, 1 - decay)
            recent.append(value.item())
            if step % max(1, steps // 40) == 0:
                self._report(stage, step, float(np.mean(recent)), time.time() - began)
                self._save(stage, parts, step, time.time() - began)
                recent.clear()
        modules.load_state_dict(averaged.state_dict())

    def _save(self, stage: str, parts: dict[str, Any], step: int, seconds: float) -> None:
        """Keep where a stage stands, for a run that goes on from there."""
        state = {name: part.state_dict() for name, part in parts.items()}
        part = self.work / f".{stage}_state.part"
        torch.save({**state, "step": step, "seconds": seconds, "log": self.log[stage]}, part)
        part.replace(self.work / f"{stage}_state.pt")

    def _resume(self, stage: str, parts: dict[str, Any]) -> tuple[int, float]:
        """Steps and seconds that an earlier run has done already."""
        path = self.work / f"{stage}_state.pt"
        if not path.exists():
            return 0, 0.0
        state = torch.load(path, map_location=self.device)
        for name, part in parts.items():
            part.load_state_dict(state[name])
        self.log[stage] = state["log"]
        return state["step"], state["seconds"]

    def _report(self, stage: str, step: int, value: float, seconds: float) -> None:
        self.log.setdefault(stage, []).append((step, round(value, 5)))
        print(f"{stage:11} {step:6} loss {value:.5f} after {seconds:.0f} s", flush=True)
        (self.work / f"{stage}_log.json").write_text(
            json.dumps({"losses": self.log[stage], "seconds": round(seconds)})
        )


def train_vae(training: Training) -> VAE:
    """Stage 1: reconstruct; a touch of noise on the latent keeps it smooth, then it is scaled as SDXL's."""
    vae = VAE(VAE_CONFIG)

    def loss(clean: Tensor, damaged: Tensor, captions: Tensor) -> Tensor:
        mean, _ = vae.quant_conv(vae.encoder(clean)).chunk(2, dim=1)
        noisy = mean + 0.05 * torch.randn_like(mean)
        out = vae.decoder(vae.post_quant_conv(noisy)).float()
        return F.l1_loss(out, clean) + edges(out, clean) + 1e-3 * mean.float().square().mean()

    training.run("vae", [vae], loss)
    scale_latents(vae, training)
    return vae


@torch.no_grad()
def scale_latents(vae: VAE, training: Training) -> None:
    """Fold a factor into the quantisation layers, so that scaled latents have unit deviation."""
    clean, _, _ = training.pool.batch(np.random.default_rng(2), 64)
    factor = 1 / vae.encode(clean.to(training.device)).std()
    vae.quant_conv.weight *= factor
    vae.quant_conv.bias *= factor
    vae.post_quant_conv.weight /= factor


def train_dr_encoder(training: Training, vae: VAE) -> nn.Module:
    """Stage 2: ||D(E_dr(x_LQ)) - D(E_dr(x_GT))||^2 (Yu et al. 2024, eq. 1).

    That loss alone is content with an encoder that sees nothing; the anchor holds D(E_dr(x_GT)) to x_GT.
    """
    encoder = copy.deepcopy(vae.encoder)

    def decode(image: Tensor) -> Tensor:
        return vae.decoder(vae.post_quant_conv(vae.quant_conv(encoder(image)).chunk(2, dim=1)[0])).float()

    def loss(clean: Tensor, damaged: Tensor, captions: Tensor) -> Tensor:
        from_damaged, from_clean = decode(torch.cat([damaged, clean])).chunk(2)
        return F.mse_loss(from_damaged, from_clean) + F.mse_loss(from_clean, clean)

    training.run("dr_encoder", [encoder], loss)
    return encoder


def train_unet(training: Training, vae: VAE) -> UNet:
    """Stage 3: the prior, on clean latents under captions and on damaged ones under the negative prompt."""
    unet = UNet(UNET_CONFIG)
    prompts = Prompts(training.text, training.device)

    def loss(clean: Tensor, damaged: Tensor, captions: Tensor) -> Tensor:
        targets, conditions = prompts.targets(clean, damaged, captions)
        x, noise, index = noised(vae.encode(targets))
        return F.mse_loss(unet(x, index, conditions.context, conditions.vector).float(), noise)

    training.run("unet", [unet], loss)
    return unet


def train_adaptor(training: Training, vae: VAE, dr_encoder: nn.Module, unet: UNet) -> Adaptor:
    """Stage 4: the adaptor starts as the UNet's encoder, the connectors from zero; the UNet is frozen."""
    adaptor = Adaptor(UNET_CONFIG)
    start_adaptor(adaptor, unet)
    prompts = Prompts(training.text, training.device)

    def loss(clean: Tensor, damaged: Tensor, captions: Tensor) -> Tensor:
        targets, conditions = prompts.targets(clean, damaged, captions)
        with torch.no_grad():
            z_lq = vae.encode(damaged, dr_encoder)
        x, noise, index = noised(vae.encode(targets))
        fusion = adaptor(z_lq, x, index, conditions.context, conditions.vector, 1.0)
        return F.mse_loss(unet(x, index, conditions.context, conditions.vector, fusion).float(), noise)

    training.run("adaptor", [adaptor], loss)
    return adaptor


def start_adaptor(adaptor: Adaptor, unet: UNet) -> None:
    """Copy the UNet's encoder, and zero what the connectors add."""
    adaptor.control_model.load_state_dict(unet.state_dict(), strict=False)
    zeroed = [adaptor.control_model.input_hint_block]
    for connector in adaptor.project_modules:
        for name in ("zero_conv", "zero_mul", "zero_add"):
            zeroed += [getattr(connector, name)] if hasattr(connector, name) else []
        zeroed += [connector.attn.to_out] if hasattr(connector, "attn") else []
    for module in zeroed:
        for parameter in module.parameters():
            nn.init.zeros_(parameter)


class Prompts:
    """The encoded prompts: one for each caption, the negative one, and none."""

    def __init__(self, text: TextEncoders, device: torch.device):
        texts = [full_prompt(caption, POSITIVE_PROMPT) for caption in CAPTIONS.values()]
        encoded = text.encode([*texts, full_prompt("", POSITIVE_PROMPT), NEGATIVE_PROMPT, ""])
        self.context, self.vector = encoded.context.to(device), encoded.vector.to(device)

    def targets(self, clean: Tensor, damaged: Tensor, captions: Tensor) -> tuple[Tensor, Conditioning]:
        """What to restore to, and under which prompt: mostly the clean crop under its caption."""
        draws = torch.rand(len(clean))
        negative, empty = draws < NEGATIVE_SHARE, draws > 1 - EMPTY_SHARE
        plain = (draws > 0.5) & ~empty  # quality words alone, as when no caption is given
        rows = torch.where(plain, len(CAPTIONS), captions)
        rows = torch.where(empty, len(CAPTIONS) + 2, torch.where(negative, len(CAPTIONS) + 1, rows))
        rows = rows.to(clean.device)
        chosen = torch.where(negative.to(clean.device)[:, None, None, None], damaged, clean)
        return chosen, Conditioning(self.context[rows], self.vector[rows])


def noised(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A latent at a random training noise level as the UNet gets it, the noise, and the level's index."""
    z = z.detach().float()
    index = torch.randint(1000, (len(z),), device=z.device)
    sigma = training_sigmas().to(z)[index][:, None, None, None]
    noise = torch.randn_like(z)
    return (z + sigma * noise) / (sigma**2 + 1).sqrt(), noise, index


def edges(out: Tensor, target: Tensor) -> Tensor:
    """Mean difference of the gradients."""
    difference = out - target
    return difference.diff(dim=2).abs().mean() + difference.diff(dim=3).abs().mean()


def main() -> None:
    """Train what is not trained yet and write the weights."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--work", type=Path, default=Path("training"), help="stages, log and crops (%(default)s)"
    )
    parser.add_argument(
        "--output", type=Path, default=Path("demo"), help="folder of the weights (%(default)s)"
    )
    parser.add_argument("--share", type=float, default=1.0, help="of the steps of each stage (%(default)s)")
    parser.add_argument("--crops", type=int, default=4000, help="training crops (%(default)s)")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    steps = {stage: max(60, int(count * options.share)) for stage, count in STEPS.items()}
    training = Training(options.work, device, steps, options.crops)
    vae = train_vae(training)
    dr_encoder = train_dr_encoder(training, vae)
    unet = train_unet(training, vae)
    adaptor = train_adaptor(training, vae, dr_encoder, unet)
    save_demo_weights(options.output, unet, vae, adaptor, dr_encoder)
    print(f"wrote {options.output}, latents scaled by {LATENT_SCALE}")


if __name__ == "__main__":
    main()
