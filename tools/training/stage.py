"""How a stage of the training runs: its optimiser, its averaged weights, and going on where it was stopped."""

from __future__ import annotations

import contextlib
import copy
import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

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


Loss = Callable[[np.random.Generator, int, int], Tensor]
"""Loss of a batch that it draws itself, from random numbers, batch size and side of a window."""


def save(value: Any, path: Path) -> None:
    """Write a file that is whole once it is there."""
    part = path.with_name(f".{path.name}.part")
    torch.save(value, part)
    part.replace(path)


class Training:
    """What the stages share: where they are kept, device, precision, share of the steps, and log."""

    def __init__(self, work: Path, device: torch.device, half: bool, share: float):
        self.work, self.device, self.half, self.share = work, device, half, share
        self.log: list[tuple[int, float]] = []

    def run(self, name: str, stage: Stage, modules: nn.Module, loss: Loss) -> None:
        """Train ``modules``, or load them where the stage is done."""
        modules.to(self.device)
        path = self.work / f"{name}.pt"
        if path.exists():
            modules.load_state_dict(torch.load(path, map_location=self.device))
        else:
            self._train(name, stage, modules, loss)
            save(modules.state_dict(), path)
        modules.eval().requires_grad_(False)

    def precision(self) -> AbstractContextManager[Any]:
        """Mixed precision where it was asked for."""
        return torch.autocast(self.device.type, torch.bfloat16) if self.half else contextlib.nullcontext()

    def _train(self, name: str, stage: Stage, modules: nn.Module, loss: Loss) -> None:
        steps = max(8, int(stage.steps * self.share))
        averaged = copy.deepcopy(modules).requires_grad_(False)
        modules.train().requires_grad_(True)
        optimizer = torch.optim.AdamW(modules.parameters(), lr=stage.rate, weight_decay=1e-4)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, stage.rate, total_steps=steps, pct_start=0.05)
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
        with self.precision():
            value = loss(random, *stage.windows(step))
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
        (self.work / f"{name}_log.json").write_text(json.dumps({"losses": self.log, "seconds": round(seconds)}))
        state = {name: part.state_dict() for name, part in parts.items()}
        save({**state, "step": step, "seconds": seconds, "log": self.log}, self.work / f"{name}_state.pt")

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
