"""Small pictures with captions, and the smallest trainings of the demo networks."""

from dataclasses import replace

import pytest
import torch
from PIL import Image

from supir_core.command.demo import SDXL_FILE, SUPIR_FILE, TOKENIZER_FOLDER, WEIGHTS
from supir_core.training.config import STAGE_DEFAULTS, TrainingConfig
from supir_core.training.data import Samples
from supir_core.training.loop import Loop
from supir_core.training.run import STAGES

from ..small_instantir import small_networks, write_files

SIDE = 64
NAMES = ("coffee", "rocket")


def learn(stage, batch):
    """Train a stage on batches by their numbers."""
    loop = Loop(stage.config, lambda line: None)
    loop.prepare(stage)
    loop.run(batch)


@pytest.fixture(autouse=True)
def accelerator_of_its_own():
    from accelerate.state import AcceleratorState

    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    """A folder of two photographs of 96 by 80 pixels, with captions."""
    from skimage import data

    folder = tmp_path_factory.mktemp("pictures")
    for name in NAMES:
        Image.fromarray(getattr(data, name)()).resize((96, 80)).save(folder / f"{name}.png")
        (folder / f"{name}.txt").write_text(f"A {name}.")
    return folder


@pytest.fixture(scope="session")
def instantir_files(tmp_path_factory):
    names = ("adapter", "aggregator", "previewer", "dino")
    return dict(zip(names, map(str, write_files(tmp_path_factory.mktemp("instantir"), small_networks())), strict=True))


@pytest.fixture
def config(pictures, tmp_path, instantir_files):
    """The smallest config of a stage, with changes."""

    def make(stage, **changes):
        small = TrainingConfig(
            output=str(tmp_path / "out"),
            pictures=str(pictures),
            sdxl=str(WEIGHTS / SDXL_FILE),
            tokenizer=str(WEIGHTS / TOKENIZER_FOLDER),
            steps=4,
            batch=1,
            accumulate=1,
            warmup=0,
            ema_every=1,
            side=SIDE,
            crop_most=1.0,
            save_as="float32",
            checkpointing=False,
            workers=1,
            report_every=1,
            checkpoint_every=2,
            held_out_preset="demo",
            held_out_steps=2,
            resampler_width=64,
            resampler_depth=1,
            resampler_tokens=4,
            rank=4,
        )
        files = {"supir": str(WEIGHTS / SUPIR_FILE)} if stage in ("adaptor", "dr-encoder") else {}
        if stage.startswith("instantir"):
            files = {"dino": instantir_files["dino"]}
        if stage in ("instantir-previewer", "instantir-aggregator"):
            files["adapter"] = instantir_files["adapter"]
        if stage == "instantir-aggregator":
            files["previewer"] = instantir_files["previewer"]
        return replace(small, **STAGE_DEFAULTS[stage] | files | changes)

    return make


@pytest.fixture
def built(config):
    """A stage and its samples."""

    def build(stage, **changes):
        settings = config(stage, **changes)
        made = STAGES[stage].build(settings)
        made.place(torch.device("cpu"))
        return made, Samples(settings, made.words)

    return build
