"""A training from its config to the weights' file."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from ..files.checkpoint import DTYPES
from ..files.hidden import part_name
from ..files.writing import write_whole
from .build import build_stage, prompts_of
from .cache import fill
from .config import MAY_CHANGE, PATHS, TrainingConfig, as_toml, read_config
from .data import Ahead, Batch, Samples
from .held_out import HeldOut
from .loop import Loop, accelerator_for
from .stages import Stage

NON_COMMERCIAL = "SUPIR's weights are for non-commercial use, and so is what begins from them"


def train(name: str, config: TrainingConfig, report: Callable[[str], None]) -> Path:
    """Train a stage.

    Args:
        name: of the stage, one of ``STAGE_DEFAULTS``.
        config: all numbers.
        report: takes lines for people.

    Returns:
        The weights' file.

    Raises:
        ValueError: the config cannot work, or differs from that of the run that it would go on from.
        OSError: a file or folder is missing, or the disk is full.
    """
    folder = Path(config.output)
    samples = Samples(config, prompts_of(name))
    held_out = HeldOut(config) if config.held_out else None
    check_same(folder / "config.toml", name, config)
    accelerator = accelerator_for(config, folder)
    if accelerator.is_main_process:
        report(f"supir train {name}\n{as_toml(config)}".rstrip())
    torch.manual_seed(config.seed)
    stage = build_stage(name, config)
    loop = Loop(stage, config, folder, report, accelerator)
    device = accelerator.device
    stage.place(device)
    if accelerator.distributed_type == "FSDP" and (config.ema or config.held_out):
        raise ValueError('with FSDP no process has all weights; set ema = 0 and held_out = ""')
    samples.process, samples.processes = accelerator.process_index, accelerator.num_processes
    if config.cache:
        fill(samples, stage, device, loop.report)
        accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        write_whole(folder / "config.toml", lambda file: file.writelines([as_toml(config).encode()]))

    def after(step: int) -> None:
        if held_out and (step % config.held_out_every == 0 or step == config.steps):
            with loop.averaged.in_place():
                held_out.measure(loop, step)

    ahead = Ahead(samples.batch, config.workers)

    def batch(number: int) -> Batch:
        return ahead(number).to(device)

    try:
        loop.run(batch, after)
    finally:
        ahead.close()
    with loop.averaged.in_place():
        state = loop.weights()
    path = folder / f"{name.replace('-', '_')}.safetensors"
    if accelerator.is_main_process:
        write_weights(path, stage, state, name, config)
    return path


def write_weights(path: Path, stage: Stage, state: dict[str, Tensor], name: str, config: TrainingConfig) -> None:
    """Write the weights by their published keys, with the config and where they come from, whole or not at all."""
    dtype = DTYPES[config.save_as]
    tensors = {key: tensor.detach().cpu().to(dtype).contiguous() for key, tensor in stage.published(state).items()}
    told = {entry: Path(value).name if entry in PATHS else value for entry, value in asdict(config).items()}
    label = {"stage": name, "config": json.dumps(told)}
    if config.supir:
        label["license"] = NON_COMMERCIAL
    part = part_name(path)
    try:
        save_file(tensors, part, label)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def check_same(file: Path, name: str, config: TrainingConfig) -> None:
    """Refuse to go on from a run with another config.

    Raises:
        ValueError: the folder has one.
    """
    if not file.is_file():
        return
    before = asdict(read_config(name, file))
    now = asdict(config)
    differing = [entry for entry in now if entry not in MAY_CHANGE and before[entry] != now[entry]]
    if differing:
        listed = ", ".join(f"{entry} was {before[entry]!r} and is {now[entry]!r}" for entry in differing[:3])
        raise ValueError(
            f"{file.parent}: holds a training with another config ({listed}); name another output, or remove it"
        )
