"""A training from its config to the weights' file."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save_file

from ..files.checkpoint import DTYPES
from ..files.writing import whole, write_whole
from .config import MAY_CHANGE, PATHS, TrainingConfig, as_toml, read_config
from .data import Samples, Tensors
from .held_out import HeldOut
from .instantir_stages import AggregatorStage, DCPStage, PreviewerStage
from .loop import Loop
from .stages import AdaptorStage, DREncoderStage, Stage

STAGES: dict[str, type[Stage]] = {
    "dr-encoder": DREncoderStage,
    "adaptor": AdaptorStage,
    "instantir-dcp": DCPStage,
    "instantir-previewer": PreviewerStage,
    "instantir-aggregator": AggregatorStage,
}

NON_COMMERCIAL = "SUPIR's weights are for non-commercial use, and so is what begins from them"


def train(name: str, config: TrainingConfig, report: Callable[[str], None]) -> Path:
    """Train a stage.

    Args:
        name: of the stage, one of ``STAGES``.
        config: all numbers.
        report: takes lines for people.

    Returns:
        The weights' file.

    Raises:
        ValueError: the config cannot work, or differs from that of the run that it would go on from.
        OSError: a file or folder is missing, or the disk is full.
    """
    folder = Path(config.output)
    samples = Samples(config, STAGES[name].words)
    held_out = HeldOut(config) if config.held_out else None
    check_same(folder / "config.toml", name, config)
    loop = Loop(config, folder, report)
    accelerator = loop.accelerator
    loop.report(f"supir train {name}\n{as_toml(config)}".rstrip())
    if accelerator.distributed_type == "FSDP" and (config.ema or config.held_out):
        raise ValueError('with FSDP no process has all weights; set ema = 0 and held_out = ""')
    torch.manual_seed(config.seed)
    stage = STAGES[name].build(config)
    loop.prepare(stage)
    stage.place(accelerator.device)
    samples.process, samples.processes = accelerator.process_index, accelerator.num_processes
    if config.cache:
        samples.fill(stage, accelerator.device, loop.report)
        accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        write_whole(folder / "config.toml", lambda file: file.writelines([as_toml(config).encode()]))

    def after(step: int) -> None:
        if held_out and (step % config.held_out_every == 0 or step == config.steps):
            with loop.averaged.in_place():
                held_out.measure(stage, loop, step)

    loop.run(samples.batch, after)
    with loop.averaged.in_place():
        state = {key.removeprefix("learns."): t for key, t in accelerator.get_state_dict(loop.model).items()}
        path = folder / f"{name.replace('-', '_')}.safetensors"
        if accelerator.is_main_process:
            write_weights(path, stage.published(state), name, config)
    return path


def write_weights(path: Path, published: Tensors, name: str, config: TrainingConfig) -> None:
    """Write the weights by their published keys, with the config and where they come from, whole or not at all."""
    dtype = DTYPES[config.save_as]
    tensors = {key: tensor.detach().cpu().to(dtype).contiguous() for key, tensor in published.items()}
    told = {entry: Path(value).name if entry in PATHS else value for entry, value in asdict(config).items()}
    label = {"stage": name, "config": json.dumps(told)} | ({"license": NON_COMMERCIAL} if config.supir else {})
    with whole(path) as part:
        save_file(tensors, part, label)


def check_same(file: Path, name: str, config: TrainingConfig) -> None:
    """Refuse to go on from a run with another config.

    Raises:
        ValueError: the folder has one.
    """
    if not file.is_file():
        return
    before, now = asdict(read_config(name, file)), asdict(config)
    differing = [entry for entry in now if entry not in MAY_CHANGE and before[entry] != now[entry]]
    if differing:
        listed = ", ".join(f"{entry} was {before[entry]!r} and is {now[entry]!r}" for entry in differing[:3])
        raise ValueError(
            f"{file.parent}: holds a training with another config ({listed}); name another output, or remove it"
        )
