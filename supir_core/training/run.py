"""A training from its config to the weights' file, and the held-out pictures on the way."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from ..command.caption_files import captioned_pictures
from ..evaluation.degradation import damage, enlarged
from ..evaluation.metrics import gmsd, psnr
from ..files.checkpoint import DTYPES
from ..files.pictures import read_picture, write_picture
from ..files.stored import stored_label
from ..files.writing import write_tensors, write_whole
from ..restoration.canvas import middle_of, resize
from ..restoration.noise import latent_noise
from ..restoration.transparency import opaque
from .config import MAY_CHANGE, PATHS, TrainingConfig, as_toml, read_config
from .data import Batch, Samples
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

LEVEL = 500  # of training noise, from which the networks that do not restore alone have to find the picture

NON_COMMERCIAL = "SUPIR's weights are for non-commercial use, and so is what begins from them"


def train(name: str, config: TrainingConfig, report: Callable[[str], None]) -> Path:
    """Train a stage of ``STAGES``; gives the weights' file, and ``report`` lines for people.

    Raises:
        ValueError: the config cannot work, or differs from that of the run that it would go on from.
        OSError: a file or folder is missing, or the disk is full.
    """
    folder = Path(config.output)
    samples = Samples(config, STAGES[name].words)
    held_out = HeldOut(config) if config.held_out else None
    check_same(folder, name, config)
    loop = Loop(config, report)
    accelerator = loop.accelerator
    loop.report(f"supir train {name}\n{as_toml(config)}".rstrip())
    if accelerator.distributed_type == "FSDP" and (config.ema or config.held_out):
        raise ValueError('with FSDP no process has all weights; set ema = 0 and held_out = ""')
    torch.manual_seed(config.seed)
    stage = STAGES[name].build(config)
    label = label_of(name, stage, config)
    loop.prepare(stage)
    stage.place(accelerator.device)
    samples.process, samples.processes = accelerator.process_index, accelerator.num_processes
    if config.cache:
        samples.fill(stage, accelerator.device, loop.report)
        accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        write_whole(folder / "config.toml", lambda file: file.writelines([f"# {name}\n{as_toml(config)}".encode()]))

    def after(step: int) -> None:
        if held_out and (step % config.held_out_every == 0 or step == config.steps):
            with loop.averaged.in_place():
                held_out.measure(stage, loop, step)

    loop.run(samples.batch, after)
    with loop.averaged.in_place():
        state = {key.removeprefix("learns."): t for key, t in accelerator.get_state_dict(loop.model).items()}
        path, dtype = folder / f"{name.replace('-', '_')}.safetensors", DTYPES[config.save_as]
        if accelerator.is_main_process:
            write_tensors(path, {key: tensor.to(dtype) for key, tensor in stage.published(state).items()}, label)
    loop.report(f"wrote {path}")
    accelerator.end_training()  # the processes' group ends too, by which sharded weights are put together
    return path


def label_of(name: str, stage: Stage, config: TrainingConfig) -> dict[str, str]:
    """What the weights' file says of itself. SUPIR's licence goes on from its files, which have no label of a training."""
    told = {entry: Path(value).name if entry in PATHS else value for entry, value in asdict(config).items()}
    label = {"stage": name, "config": json.dumps(told)}
    for path in filter(None, (config.supir, config.dr_encoder) if "dr_encoder" in vars(stage.networks) else ()):
        begun = stored_label(path)
        if "license" in begun or "stage" not in begun:
            label["license"] = NON_COMMERCIAL
    return label


def check_same(folder: Path, name: str, config: TrainingConfig) -> None:
    """Refuse, with a ValueError, to go on from a run of another stage or with another config."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder}: expected a folder as output, this is a file; name another")
    file = folder / "config.toml"
    if not file.is_file():
        return
    first = file.read_text(encoding="utf-8").partition("\n")[0]
    if first != f"# {name}":
        raise ValueError(
            f'{file}: expected "# {name}", of a training of this stage, got "{first}"; name another output'
        )
    before, now = asdict(read_config(name, file)), asdict(config)
    differing = [entry for entry in now if entry not in MAY_CHANGE and before[entry] != now[entry]]
    if differing:
        listed = ", ".join(f"{entry} was {before[entry]!r} and is {now[entry]!r}" for entry in differing[:3])
        raise ValueError(
            f"{folder}: holds a training with another config ({listed}); name another output, or remove it"
        )


class HeldOut:
    """The middles of pictures that are never learnt; raises what reading them does."""

    def __init__(self, config: TrainingConfig):
        side, self.batches = config.side, []
        for number, (path, caption) in enumerate(captioned_pictures(config.held_out)):
            picture = opaque(read_picture(path))
            short = min(picture.shape[2:])
            clean = resize(middle_of(picture, (short, short)), (side, side))
            pair = {"clean": clean, "damaged": enlarged(damage(clean, config.held_out_damage, number), (side, side))}
            noise, index = latent_noise(number, side)[None], torch.tensor([LEVEL])
            self.batches.append(Batch(pair, [caption], noise, index, torch.tensor([True]), config.steps))

    @torch.no_grad()
    def measure(self, stage: Stage, loop: Loop, step: int) -> None:
        """Restore all on the main process, log the distances, and write a sheet: enlarged, restored, original."""
        accelerator = loop.accelerator
        if not accelerator.is_main_process:
            return
        rows, distances = [], []
        for batch in self.batches:
            clean, damaged = batch.tensors["clean"], batch.tensors["damaged"]
            with accelerator.autocast():
                restored = stage.restored(loop.place(batch)).cpu()
            distances.append((psnr(restored, clean), gmsd(restored, clean), psnr(damaged, clean)))
            rows.append(torch.cat([damaged, restored, clean], dim=3))
        sheet = torch.cat(rows, dim=2)[0]
        write_picture(loop.folder / "held_out" / f"step_{step:06}.png", sheet)
        names = ("held_out_psnr", "held_out_gmsd", "held_out_psnr_bicubic")
        means = dict(zip(names, np.mean(distances, axis=0).tolist(), strict=True))
        loop.log(step, **means)
        loop.report(f"step {step}: " + ", ".join(f"{name} {value:.3f}" for name, value in means.items()))
        for tracker in accelerator.trackers:
            tracker.log_images({"held_out": sheet[None].numpy()}, step=step)
