"""The steps of a training: optimiser, averaged weights, checkpoints and log, on any devices, by accelerate."""

from __future__ import annotations

import json
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from .config import TrainingConfig


class Averaged(AveragedModel):
    """Weights averaged over updates, in main memory; early ones are forgotten faster. Without decay there are none."""

    def __init__(self, module: nn.Module, decay: float):
        learnt = list(module.parameters()) if decay else []

        def mean(mean: Tensor, now: Tensor, count: Any) -> Tensor:
            return mean.lerp(now, 1 - min(decay, (1 + count.item()) / (11 + count.item())))

        super().__init__(nn.ParameterList(learnt), torch.device("cpu"), mean)
        self.learnt = learnt  # a plain list: of these nothing is kept

    def update(self) -> None:
        """Take in the weights as they are now."""
        self.update_parameters(nn.ParameterList(self.learnt))

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Have the averaged weights in place of those that learn."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for mean, now in zip(self.parameters(), self.learnt, strict=True):
            learnt = now.cpu().clone()
            now.copy_(mean)
            mean.copy_(learnt)


class Loop:
    """A module that learns, as fast and as long as the config says, with checkpoints and log in its ``output``.

    ``report`` takes lines for people; ``accelerator`` is accelerate's, which knows device and processes.
    """

    def __init__(self, config: TrainingConfig, report: Callable[[str], None]):
        import accelerate

        self.config, self.folder, self._report = config, Path(config.output), report
        self.folder.mkdir(parents=True, exist_ok=True)
        self.accelerator: Any = accelerate.Accelerator(
            mixed_precision="bf16" if config.precision == "bf16" else "no",
            gradient_accumulation_steps=config.accumulate,
            # a cache would hold a second copy of all weights
            kwargs_handlers=[accelerate.utils.AutocastKwargs(cache_enabled=False)],
            log_with=None if config.tracker == "none" else config.tracker,
            project_dir=self.folder,
        )
        self.place: Callable[..., Any] = partial(accelerate.utils.send_to_device, device=self.accelerator.device)
        self.accelerator.init_trackers("log")
        if config.tracker != "none" and not self.accelerator.trackers:
            self.report(f"{config.tracker} is not installed, so there is only log.jsonl: pip install {config.tracker}")

    def prepare(self, module: nn.Module) -> None:
        """Take what is to learn: a module whose ``forward`` gives the loss of a batch."""
        self.model = self.accelerator.prepare(module)
        self.optimizer = self.accelerator.prepare(optimizer_of(self.model, self.config, self.accelerator.device))
        self.averaged = Averaged(self.model, self.config.ema**self.config.ema_every)
        self.accelerator.register_for_checkpointing(self.averaged)

    def report(self, line: str) -> None:
        """Say a line; the main process speaks for all."""
        if self.accelerator.is_main_process:
            self._report(line)

    def run(self, batch: Callable[[int], Any], after: Callable[[int], None] | None = None) -> None:
        """Go on from the last checkpoint, if there is one, to the last step, and call ``after`` behind each.

        ``batch`` gives a batch by its number, ahead and in threads; a step takes ``accumulate`` of them.

        Raises:
            OSError: a checkpoint cannot be written or read; ValueError: it is of a step later than the last.
            FloatingPointError: the loss is not finite.
        """
        config, losses = self.config, []
        done, began = self.resume(), time.monotonic()
        numbers = range(done * config.accumulate, config.steps * config.accumulate)
        batches = ahead(batch, numbers, config.workers)
        for step in range(done + 1, config.steps + 1):
            losses.append(self._step(step, batches))
            if step % config.ema_every == 0 or step == config.steps:
                self.averaged.update()
            saves = step % config.checkpoint_every == 0 or step == config.steps
            if saves or step % config.report_every == 0:  # of a loss that is not finite no checkpoint is written
                self._tell(step, losses, (time.monotonic() - began) / (step - done))
            if after:
                after(step)
            if saves:
                self.save(step)

    def _step(self, step: int, batches: Iterator[Any]) -> Tensor:
        """One step of the optimiser; gives the loss, still on the device."""
        accelerator, config = self.accelerator, self.config
        for group in self.optimizer.param_groups:
            group["lr"] = config.rate_at(step)
        total = torch.zeros((), device=accelerator.device)
        for _ in range(config.accumulate):
            with accelerator.accumulate(self.model):
                loss = self.model(self.place(next(batches)))
                accelerator.backward(loss)
                if accelerator.sync_gradients and config.clip:
                    accelerator.clip_grad_norm_(self.model.parameters(), config.clip)
                self.optimizer.step()
                self.optimizer.zero_grad()
            total += loss.detach() / config.accumulate
        return total

    def _tell(self, step: int, losses: list[Tensor], seconds: float) -> None:
        """Say the mean loss since the last time."""
        loss, rate = self.accelerator.reduce(torch.stack(losses).mean(), "mean"), self.config.rate_at(step)
        losses.clear()
        if not loss.isfinite():
            raise FloatingPointError(
                f"the loss of step {step} is {loss.item()}; begin anew with a rate below {rate:g} and another output"
            )
        steps, left = self.config.steps, (self.config.steps - step) * seconds / 3600
        self.report(f"step {step} of {steps}, loss {loss.item():.5f}, {seconds:.2f} s a step, {left:.1f} h left")
        self.log(step, loss=loss.item(), rate=rate)

    def log(self, step: int, **numbers: float) -> None:
        """Write numbers to the log and the tracker."""
        self.accelerator.log(numbers, step=step)
        if self.accelerator.is_main_process:
            with (self.folder / "log.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step, **numbers}) + "\n")

    def save(self, step: int) -> None:
        """Write a checkpoint, whole or not at all, and remove those before the last."""
        main, folder = self.accelerator.is_main_process, self.folder / "checkpoints"
        part, target = folder / ".part", folder / f"step_{step}"
        if main:
            shutil.rmtree(part, ignore_errors=True)
        self.accelerator.wait_for_everyone()
        try:
            self.accelerator.save_state(str(part))
            self.accelerator.wait_for_everyone()
            if main:
                shutil.rmtree(target, ignore_errors=True)
                part.replace(target)
        except (OSError, RuntimeError, SafetensorError) as error:
            shutil.rmtree(part, ignore_errors=True)
            last = next(iter(self.checkpoints()), "not there yet")
            raise OSError(
                f"{target}: the checkpoint could not be written ({' '.join(str(error).split())}); the last whole one is {last}. "
                "Make room, then the same command goes on"
            ) from error
        for old in self.checkpoints()[2:] if main else []:
            shutil.rmtree(old, ignore_errors=True)

    def checkpoints(self) -> list[Path]:
        """The whole checkpoints, the newest first."""
        found = (path for path in (self.folder / "checkpoints").glob("step_*") if path.is_dir())
        return sorted((path for path in found if path.name[5:].isdecimal()), key=_step_of, reverse=True)

    def resume(self) -> int:
        """Load the last checkpoint; gives its step, 0 where there is none."""
        newest = next(iter(self.checkpoints()), None)
        if newest is None:
            return 0
        if _step_of(newest) > self.config.steps:
            raise ValueError(f"{newest} is later than steps = {self.config.steps}; make steps larger, or remove it")
        try:
            self.accelerator.load_state(str(newest))
        except Exception as error:  # each of its files has an error of its own
            raise OSError(f"{newest}: a damaged checkpoint; remove it to go on from the one before") from error
        self.report(f"going on from {newest}")
        return _step_of(newest)


def ahead(make: Callable[[int], Any], numbers: Iterable[int], workers: int) -> Iterator[Any]:
    """What a function gives of each number in turn, made in threads before it is asked for; its errors in turn too."""
    coming: deque[Future[Any]] = deque()
    with ThreadPoolExecutor(workers) as threads:
        for number in numbers:
            coming.append(threads.submit(make, number))
            if len(coming) > workers:
                yield coming.popleft().result()
        yield from (future.result() for future in coming)


def optimizer_of(model: nn.Module, config: TrainingConfig, device: torch.device) -> torch.optim.Optimizer:
    """AdamW over what learns.

    Raises:
        ValueError: 8 bits were asked for and there is no GPU, or bitsandbytes is missing.
    """
    kind: Any = torch.optim.AdamW
    if config.eight_bit:
        if device.type == "cpu":
            raise ValueError("eight_bit = true needs a GPU, and there is none; leave it out")
        try:
            kind = import_module("bitsandbytes.optim").AdamW8bit
        except ImportError as error:
            raise ValueError('eight_bit = true needs bitsandbytes: pip install -e ".[train]"') from error
    return kind(model.parameters(), lr=config.rate, weight_decay=config.weight_decay)


def _step_of(path: Path) -> int:
    return int(path.name.removeprefix("step_"))
