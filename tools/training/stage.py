"""How a stage of the demo's training runs: its windows, on the loop that ``supir train`` has."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from supir_core.training.config import Pace
from supir_core.training.loop import Loop

EMA = 0.998


@dataclass(frozen=True)
class Stage:
    """How long and how fast a stage learns.

    Attributes:
        steps: of the optimiser.
        batch: windows a step.
        side: of a window, in pixels, or in latent pixels for the UNet and the adaptor.
        largest: side of the largest window.
        rate: largest learning rate.
        seed: of its random numbers, another for each stage.
    """

    steps: int
    batch: int
    side: int
    largest: int
    rate: float
    seed: int

    def windows(self, step: int) -> tuple[int, int]:
        """How many windows a step takes, and their side.

        Every fourth step takes a quarter as many of twice the side, every sixteenth of four times, as far as the
        crops reach: the norms see whole pictures later.
        """
        scale = min(4 if step % 16 == 0 else 2 if step % 4 == 0 else 1, self.largest // self.side)
        return max(1, self.batch // scale**2), self.side * scale

    def pace(self, share: float, half: bool) -> Pace:
        """The same for the loop, with a share of the steps."""
        steps = max(8, int(self.steps * share))
        often = max(1, steps // 40)
        return Pace(
            steps=steps,
            accumulate=1,
            rate=self.rate,
            warmup=steps // 20,
            schedule="cosine",
            weight_decay=1e-4,
            precision="bf16" if half else "float32",
            ema=EMA,
            ema_every=1,
            report_every=often,
            checkpoint_every=often,
        )


Loss = Callable[[np.random.Generator, int, int], Tensor]
"""Loss of a batch that it draws itself, from random numbers, batch size and side of a window."""


class Learner(nn.Module):
    """Modules that learn by a loss that draws its own batches."""

    def __init__(self, modules: nn.Module, stage: Stage, loss: Loss):
        super().__init__()
        self.learnt, self.stage, self.loss = modules, stage, loss

    def forward(self, step: int) -> Tensor:
        """The loss of a step."""
        torch.manual_seed(step)
        return self.loss(np.random.default_rng([self.stage.seed, step]), *self.stage.windows(step))


def save(value: Any, path: Path) -> None:
    """Write a file that is whole once it is there."""
    part = path.with_name(f".{path.name}.part")
    torch.save(value, part)
    part.replace(path)


class Training:
    """What the stages share: where they are kept, device, precision, and share of the steps."""

    def __init__(self, work: Path, device: torch.device, half: bool, share: float):
        self.work, self.device, self.half, self.share = work, device, half, share

    def run(self, name: str, stage: Stage, modules: nn.Module, loss: Loss) -> None:
        """Train ``modules``, or load them where the stage is done."""
        modules.to(self.device)
        path = self.work / f"{name}.pt"
        if not path.exists():
            learner = Learner(modules.train().requires_grad_(True), stage, loss)
            loop = Loop(learner, stage.pace(self.share, self.half), self.work / name, print)
            loop.run(lambda number: number + 1)
            with loop.averaged.in_place():
                save(modules.state_dict(), path)
        modules.load_state_dict(torch.load(path, map_location=self.device))
        modules.eval().requires_grad_(False)

    def precision(self) -> AbstractContextManager[Any]:
        """Mixed precision where it was asked for."""
        return torch.autocast(self.device.type, torch.bfloat16) if self.half else contextlib.nullcontext()
