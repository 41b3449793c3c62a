"""What each stage learns: its loss falls, and it begins where it should."""

from dataclasses import replace

import pytest
import torch

from supir_core.files.checkpoint import open_checkpoint
from supir_core.instantir.model import load_adapter, load_aggregator, load_previewer
from supir_core.sdxl.schedule import noised
from supir_core.supir.model import load_adaptor, load_dr_encoder
from supir_core.training.data import Samples
from supir_core.training.instantir_stages import InstantIRStage, consistency_loss, solver_step

from ..small_instantir import RESAMPLER, small_networks
from .conftest import learn

FIXED = {"negative_share": 0.0, "drop_text": 0.0, "drop_caption": 0.0, "drop_picture": 0.0}


def trained(stage, samples, batches=1):
    """Losses of the same few batches before and after the training on them."""
    few = [samples.batch(number) for number in range(batches)]

    def loss():
        with torch.no_grad():
            return sum(stage(batch).item() for batch in few) / batches

    before = loss()
    learn(stage, lambda number: few[number % batches])
    return before, loss()


@pytest.mark.parametrize(
    ("name", "changes", "most"),
    [
        ("adaptor", {"rate": 1e-3, "steps": 6}, 0.3),
        ("adaptor", {"supir": "", "dr_encoder": "demo", "rate": 1e-3, "steps": 8, "ramp": 2}, 0.4),
        ("instantir-dcp", {"rate": 1e-2, "steps": 10}, 0.85),
        ("instantir-previewer", {"rate": 2e-2, "steps": 8}, 0.5),
        ("instantir-aggregator", {"rate": 2e-3, "steps": 6}, 0.7),
    ],
)
def test_a_stage_lowers_its_loss(name, changes, most, built, demo_model):
    if changes.get("dr_encoder"):
        changes = changes | {"dr_encoder": str(demo_model.files[1])}
    stage, samples = built(name, **FIXED | {"checkpoint_every": 1000, "report_every": 1000} | changes)
    if name == "instantir-dcp":  # the demo's UNet attends too little for what an adapter says to count
        stage.networks.unet.load_state_dict(small_networks().unet.state_dict())
    before, after = trained(stage, samples)
    assert after < most * before


def test_a_new_adaptor_begins_as_the_plain_unet(built, demo_model):
    stage, samples = built("adaptor", supir="", dr_encoder=str(demo_model.files[1]), ramp=5)
    batch = samples.batch(0)
    z = stage.given(batch)
    x, _ = noised(z["target"], batch.index, batch.noise)
    with torch.no_grad():
        plain = stage.networks.unet(x, batch.index, z["context"], z["vector"])
        begun, later = (stage.predict(x, z, batch._replace(step=step)) for step in (0, 1))
    assert torch.equal(begun, plain)
    assert not torch.equal(later, plain)


def test_an_adaptor_of_supir_weights_begins_at_full_strength(built):
    stage, _ = built("adaptor", ramp=5)
    assert stage.strength_at(0) == 1


def test_a_trimmed_adaptor_has_the_first_of_the_unets_blocks(built, demo_model):
    stage, _ = built("adaptor", supir="", dr_encoder=str(demo_model.files[1]), depth_share=0.5)
    ours, theirs = stage.learns.control_model.state_dict(), stage.networks.unet.state_dict()
    assert stage.learns.control_model.config.input_depths == demo_model.unet.config.input_depths  # 0.5 of 1 is 1
    assert all(torch.equal(ours[key], theirs[key]) for key in ours if key in theirs)


@pytest.mark.parametrize("name", ["instantir-previewer", "instantir-aggregator"])
def test_new_branches_and_residuals_change_nothing(name, built):
    stage, samples = built(name)
    batch = samples.batch(0)
    z = stage.given(batch)
    x, _ = noised(z["target"], batch.index, batch.noise)
    with torch.no_grad():
        plain = InstantIRStage.predict(stage, x, z, batch)
        begun = stage.predict(x, z, batch)
    assert torch.equal(begun, plain)


def test_feature_maps_that_are_computed_again_give_the_same_gradients(built):
    gradients = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        stage, samples = built("instantir-previewer", checkpointing=checkpointing)
        for parameter in stage.parameters():
            torch.nn.init.normal_(parameter, std=0.02)
        stage(samples.batch(0)).backward()
        gradients.append([parameter.grad for parameter in stage.parameters()])
    assert all(torch.equal(*pair) for pair in zip(*gradients, strict=True))


@pytest.mark.parametrize(
    "name", ["dr-encoder", "adaptor", "instantir-dcp", "instantir-previewer", "instantir-aggregator"]
)
def test_the_file_loads_strictly_and_holds_what_was_learnt(name, config, tmp_path):
    from supir_core.training.run import train

    path = train(name, config(name, steps=1, ema=0.0), lambda line: None)
    checkpoint = open_checkpoint(path)
    from safetensors.torch import load_file

    learnt = load_file(tmp_path / "out" / "checkpoints" / "step_1" / "model.safetensors")
    if name == "dr-encoder":
        loaded = {f"learns.{key}": t for key, t in load_dr_encoder(checkpoint).state_dict().items()}
        load_adaptor(checkpoint)
    elif name == "adaptor":
        loaded = {f"learns.{key}": t for key, t in load_adaptor(checkpoint).state_dict().items()}
        load_dr_encoder(checkpoint)
    else:
        from supir_core.command.demo import UNET_CONFIG

        part = name.removeprefix("instantir-")
        module = {
            "dcp": lambda: load_adapter(checkpoint, UNET_CONFIG),
            "previewer": lambda: load_previewer(checkpoint, UNET_CONFIG, RESAMPLER),
            "aggregator": lambda: load_aggregator(checkpoint, UNET_CONFIG),
        }[part]()
        loaded = {f"learns.{key}": t for key, t in module.state_dict().items()}
    assert loaded.keys() == learnt.keys()
    assert all(torch.equal(loaded[key], learnt[key]) for key in learnt)


@pytest.mark.parametrize(
    "name", ["dr-encoder", "adaptor", "instantir-dcp", "instantir-previewer", "instantir-aggregator"]
)
def test_a_stage_learns_in_mixed_precision(name, built, demo_model):
    changes = {"supir": "", "dr_encoder": str(demo_model.files[1]), "ramp": 9} if name == "adaptor" else {}
    stage, samples = built(name, precision="bf16", steps=1, **changes)
    learn(stage, samples.batch)
    assert {parameter.dtype for parameter in stage.parameters()} == {torch.float32}
    assert all(torch.isfinite(parameter).all() for parameter in stage.parameters())


def test_two_points_of_one_path_have_no_distance():
    """The teacher's step keeps a picture whose noise it knows on its path."""
    z, noise = torch.randn(2, 1, 4, 8, 8)
    (x, sigma), (y, lower) = (noised(z, torch.tensor([index]), noise) for index in (500, 480))
    stepped = solver_step(x, noise, sigma, lower)
    assert torch.allclose(stepped, y, atol=1e-6)
    assert consistency_loss(stepped, stepped).item() == 0


def test_rows_of_a_batch_do_not_depend_on_each_other(built):
    stage, samples = built("adaptor")
    one, two = (samples.batch(number) for number in (0, 1))
    both = Samples(replace(samples.config, batch=2), stage.words).batch(0)
    with torch.no_grad():
        mean = (stage(one) + stage(two)) / 2
        assert torch.allclose(stage(both), mean, rtol=1e-5)
