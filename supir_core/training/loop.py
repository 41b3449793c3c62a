"""The steps of a training: optimiser, averaged weights, checkpoints and log, on any devices, by accelerate."""

from __future__ import annotations

import importlib.util
import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from .config import Pace

KEPT = 2
"""Checkpoints that are kept."""


class CheckpointError(OSError):
    """A checkpoint could not be written; the last whole one is still there."""


class Averaged:
    """Weights averaged over the steps, in main memory, for accelerate to keep in its checkpoints."""

    def __init__(self, module: nn.Module, decay: float, every: int):
        self.decay, self.every = decay, every
        self.learnt = [parameter for parameter in module.parameters() if parameter.requires_grad]
        self.means = [parameter.detach().float().cpu().clone() for parameter in self.learnt] if decay else []

    @torch.no_grad()
    def update(self, step: int, last: bool = False) -> None:
        """Take in the weights after a step; early ones are forgotten faster."""
        if not self.decay or (step % self.every and not last):
            return
        count = step / self.every
        share = 1 - min(self.decay**self.every, count / (count + 10))
        for mean, now in zip(self.means, self.learnt, strict=True):
            mean.lerp_(now.detach().float().cpu(), share)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Have the averaged weights in place of those that learn."""
        now = [parameter.detach().cpu().clone() for parameter in self.learnt] if self.decay else []
        try:
            self._put(self.means)
            yield
        finally:
            self._put(now)

    @torch.no_grad()
    def _put(self, values: list[Tensor]) -> None:
        for parameter, value in zip(self.learnt if values else [], values, strict=True):
            parameter.copy_(value)

    def state_dict(self) -> dict[str, Any]:
        return {"means": self.means}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.means = state["means"]


class Loop:
    """A module that learns.

    Args:
        module: its ``forward`` gives the loss of a batch.
        pace: how long and how fast.
        folder: for checkpoints and log.
        report: takes lines for people.
        accelerator: from ``accelerator_for``, made here where none is given.

    Attributes:
        accelerator: accelerate's, which knows device and processes.
    """

    def __init__(
        self, module: nn.Module, pace: Pace, folder: Path, report: Callable[[str], None], accelerator: Any = None
    ):
        self.pace, self.folder = pace, folder
        folder.mkdir(parents=True, exist_ok=True)
        self.accelerator = accelerator or accelerator_for(pace, folder)
        self.report = report if self.accelerator.is_main_process else _silent
        self.model = self.accelerator.prepare(module)
        self.optimizer = self.accelerator.prepare(optimizer_of(self.model, pace, self.accelerator.device))
        self.averaged = Averaged(self.model, pace.ema, pace.ema_every)
        self.accelerator.register_for_checkpointing(self.averaged)
        if self.accelerator.log_with:
            self.accelerator.init_trackers("log")
        elif pace.tracker != "none":
            self.report(f"{pace.tracker} is not installed, so there is only log.jsonl: pip install {pace.tracker}")

    @property
    def module(self) -> Any:
        """What learns, as it was given."""
        return self.accelerator.unwrap_model(self.model)

    def run(self, batch: Callable[[int], Any], after: Callable[[int], None] | None = None) -> None:
        """Go on from the last checkpoint, if there is one, to the last step.

        Args:
            batch: gives a batch by its number, of which a step takes ``accumulate``.
            after: is called after each step.

        Raises:
            CheckpointError: a checkpoint cannot be written.
            FloatingPointError: the loss is not finite.
        """
        losses: list[Tensor] = []
        done, began = self.resume(), time.monotonic()
        for step in range(done + 1, self.pace.steps + 1):
            losses.append(self._step(step, batch))
            self.averaged.update(step, step == self.pace.steps)
            if step % self.pace.report_every == 0 or step == self.pace.steps:
                self._tell(step, losses, (time.monotonic() - began) / (step - done))
            if after:
                after(step)
            if step % self.pace.checkpoint_every == 0 or step == self.pace.steps:
                self.save(step)
        self.accelerator.end_training()

    def _step(self, step: int, batch: Callable[[int], Any]) -> Tensor:
        """One step of the optimiser; gives the loss, still on the device."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.pace.rate_at(step)
        total = torch.zeros((), device=self.accelerator.device)
        for part in range(self.pace.accumulate):
            with self.accelerator.accumulate(self.model):
                loss = self.model(batch((step - 1) * self.pace.accumulate + part))
                self.accelerator.backward(loss)
                if self.accelerator.sync_gradients and self.pace.clip:
                    self.accelerator.clip_grad_norm_(self.model.parameters(), self.pace.clip)
                self.optimizer.step()
                self.optimizer.zero_grad()
            total += loss.detach() / self.pace.accumulate
        return total

    def _tell(self, step: int, losses: list[Tensor], seconds: float) -> None:
        """Say the mean loss since the last time."""
        mean = self.accelerator.reduce(torch.stack(losses).mean(), "mean").item()
        losses.clear()
        if mean != mean or abs(mean) == float("inf"):
            raise FloatingPointError(
                f"the loss of step {step} is {mean}; go on from the last checkpoint with a smaller rate, which now is "
                f"{self.pace.rate_at(step):g}"
            )
        left = (self.pace.steps - step) * seconds
        self.report(
            f"step {step} of {self.pace.steps}, loss {mean:.5f}, {seconds:.2f} s a step, {left / 3600:.1f} h left"
        )
        self.log(step, loss=mean, rate=self.pace.rate_at(step))

    def log(self, step: int, **numbers: float) -> None:
        """Write numbers to the log and the tracker."""
        self.accelerator.log(numbers, step=step)
        if self.accelerator.is_main_process:
            with (self.folder / "log.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step, **numbers}) + "\n")

    def save(self, step: int) -> None:
        """Write a checkpoint, whole or not at all, and remove those before the last."""
        target = self._checkpoints / f"step_{step}"
        part = self._checkpoints / ".part"
        if self.accelerator.is_main_process:
            shutil.rmtree(part, ignore_errors=True)
        self.accelerator.wait_for_everyone()
        try:
            self.accelerator.save_state(str(part))
            self.accelerator.wait_for_everyone()
            if self.accelerator.is_main_process:
                shutil.rmtree(target, ignore_errors=True)
                part.replace(target)
        except (OSError, RuntimeError, SafetensorError) as error:
            shutil.rmtree(part, ignore_errors=True)
            last = next(iter(self.checkpoints()), None)
            kept = f"the last whole one is {last}" if last else "there is none yet"
            raise CheckpointError(
                f"{target}: the checkpoint could not be written ({' '.join(str(error).split())}); {kept}. Make room, then "
                "the same command goes on"
            ) from error
        for old in self.checkpoints()[KEPT:] if self.accelerator.is_main_process else []:
            shutil.rmtree(old, ignore_errors=True)

    @property
    def _checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    def checkpoints(self) -> list[Path]:
        """The whole checkpoints, the newest first."""
        return sorted(self._checkpoints.glob("step_*"), key=_step_of, reverse=True)

    def resume(self) -> int:
        """Load the last checkpoint; gives its step, 0 where there is none."""
        newest = next(iter(self.checkpoints()), None)
        if newest is None:
            return 0
        self.accelerator.load_state(str(newest))
        self.report(f"going on from {newest}")
        return _step_of(newest)

    def weights(self) -> dict[str, Tensor]:
        """State dict of what learns, from all processes; inside of ``averaged.in_place()`` the averaged one."""
        return self.accelerator.get_state_dict(self.model)


def accelerator_for(pace: Pace, folder: Path) -> Any:
    """Accelerate's Accelerator, which knows device and processes."""
    from accelerate import Accelerator
    from accelerate.utils import AutocastKwargs

    return Accelerator(
        mixed_precision="bf16" if pace.precision == "bf16" else "no",
        gradient_accumulation_steps=pace.accumulate,
        kwargs_handlers=[AutocastKwargs(cache_enabled=False)],  # it would hold a second copy of all weights
        log_with=pace.tracker if importlib.util.find_spec(pace.tracker) else None,
        project_dir=folder,
    )


def optimizer_of(model: nn.Module, pace: Pace, device: torch.device) -> torch.optim.Optimizer:
    """AdamW over what learns.

    Raises:
        ValueError: 8 bits were asked for and there is no GPU, or bitsandbytes is missing.
    """
    learnt = [parameter for parameter in model.parameters() if parameter.requires_grad]
    settings: dict[str, Any] = {"lr": pace.rate, "weight_decay": pace.weight_decay}
    if not pace.eight_bit:
        return torch.optim.AdamW(learnt, **settings)
    if device.type == "cpu":
        raise ValueError("eight_bit = true needs a GPU, and there is none; leave it out")
    try:
        from bitsandbytes.optim import AdamW8bit  # type: ignore[attr-defined]
    except ImportError as error:
        raise ValueError('eight_bit = true needs bitsandbytes: pip install -e ".[train]"') from error
    return AdamW8bit(learnt, **settings)


def _step_of(path: Path) -> int:
    return int(path.name.removeprefix("step_"))


def _silent(line: str) -> None:
    """Say nothing: the main process speaks for all."""
