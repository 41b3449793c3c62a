"""What is particular to the training of the demo weights: its scripts load, and its two stages of their own learn."""

from importlib import import_module
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from supir_core.command.demo import WEIGHTS
from supir_core.files.checkpoint import open_checkpoint
from supir_core.files.kinds import SDXL
from supir_core.sdxl.model import load_vae
from supir_core.sdxl.vae import from_unit
from supir_core.training.config import read_config
from supir_core.training.data import Samples
from supir_core.training.run import train
from tools.training.demo_base import UNetStage, VAEStage

from .conftest import learn

SCRIPTS = Path(__file__).parents[2] / "tools" / "training"


@pytest.mark.parametrize("name", sorted(file.stem for file in SCRIPTS.glob("*.py")))
def test_a_script_loads(name):
    import_module(f"tools.training.{name}")


@pytest.mark.parametrize(("kind", "rate"), [(VAEStage, 1e-4), (UNetStage, 1e-3)])
def test_a_base_stage_lowers_its_loss(kind, rate, config):
    settings = config("adaptor", rate=rate, steps=8, batch=2, ema=0.0, report_every=8, checkpoint_every=8)
    stage = kind.build(settings)
    stage.place(torch.device("cpu"))
    batch = Samples(settings, kind.words).batch(0)

    def loss():
        with torch.no_grad():
            return stage(batch).item()

    before = loss()
    learn(stage, lambda number: batch)
    after = loss()
    assert after < 0.8 * before


def test_the_unet_begins_from_the_vaes_file(config):
    path = train("demo-vae", config("adaptor", supir="", ema=0.0, negative_share=0.0), lambda line: None)
    learnt = load_file(path)
    vae = load_vae(open_checkpoint(path, SDXL), torch.float32).state_dict()
    assert all(torch.equal(tensor, learnt[f"first_stage_model.{key}"]) for key, tensor in vae.items())
    stage = UNetStage.build(config("adaptor", sdxl=str(path)))
    crop = from_unit(Samples(stage.config, stage.words).pair(0, 0, False)["clean"])
    assert 0.2 < stage.networks.vae.encode(crop).std() < 5


@pytest.mark.parametrize("name", ["vae", "unet"])
def test_the_configs_of_the_base_are_read(name):
    assert read_config(f"demo-{name}", WEIGHTS / f"{name}.toml").output.endswith(f"training/{name}")
