"""What each stage learns: its loss falls, and it begins where it should."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from transformers import Dinov2Config, Dinov2Model

from supir_core.command.demo import SUPIR_FILE, UNET_CONFIG, WEIGHTS
from supir_core.files.checkpoint import open_checkpoint
from supir_core.files.errors import UnsupportedCheckpointError
from supir_core.files.stored import stored_label
from supir_core.files.writing import write_tensors
from supir_core.instantir.model import load_adapter, load_aggregator, load_previewer
from supir_core.instantir.starts import new_aggregator
from supir_core.sdxl.schedule import denoised, noised
from supir_core.supir.adaptor import Adaptor
from supir_core.supir.model import load_adaptor, load_dr_encoder, published_weights
from supir_core.supir.starts import new_adaptor
from supir_core.training.data import Samples
from supir_core.training.instantir_stages import InstantIRStage, consistency_loss
from supir_core.training.run import NON_COMMERCIAL, STAGES, train

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


@pytest.mark.parametrize(
    ("new", "load"),
    [
        (new_adaptor, load_adaptor),
        (new_aggregator, lambda checkpoint: load_aggregator(checkpoint, UNET_CONFIG)),
    ],
)
def test_what_has_hardly_begun_to_learn_loads(new, load, demo_model, tmp_path):
    """What begins at zeros rounds to them in half precision for a while; a broken download has zeros elsewhere too."""
    begun = {key: tensor.half() for key, tensor in new(demo_model.unet).state_dict().items()}
    encoder = demo_model.dr_encoder.state_dict() if new is new_adaptor else {}
    write_tensors(tmp_path / "w.safetensors", published_weights(begun, encoder) if encoder else begun)
    loaded = load(open_checkpoint(tmp_path / "w.safetensors")).state_dict()
    assert all(torch.equal(loaded[key], begun[key]) for key in loaded)


def test_networks_of_other_sizes_are_refused(config, instantir_files, tmp_path):
    wide = Adaptor(replace(UNET_CONFIG, context_width=64))
    encoder = load_dr_encoder(open_checkpoint(WEIGHTS / SUPIR_FILE)).state_dict()
    write_tensors(tmp_path / "wide.safetensors", published_weights(wide.state_dict(), encoder))
    with pytest.raises(UnsupportedCheckpointError, match="do not belong together: context width 128 against 64"):
        STAGES["adaptor"].build(config("adaptor", supir=str(tmp_path / "wide.safetensors")))
    other = Dinov2Config(hidden_size=24, num_hidden_layers=1, num_attention_heads=3, image_size=518, patch_size=14)
    Dinov2Model(other).save_pretrained(tmp_path / "dino")
    with pytest.raises(OSError, match="features of 48 channels, as the adapter reads them, this has 24"):
        STAGES["instantir-dcp"].build(
            config("instantir-dcp", dino=str(tmp_path / "dino"), adapter=instantir_files["adapter"])
        )


@pytest.mark.parametrize(
    ("stage", "begun", "marked"),
    [
        ("adaptor", {"supir": "published"}, True),
        ("adaptor", {"supir": "", "dr_encoder": "published"}, True),
        ("adaptor", {"supir": "", "dr_encoder": "trained on"}, True),
        ("dr-encoder", {"supir": "published"}, True),
        ("dr-encoder", {"supir": ""}, False),
        ("adaptor", {"supir": "demo"}, False),
        ("adaptor", {"supir": "demo", "dr_encoder": "torch"}, True),
        ("instantir-dcp", {"supir": "published"}, False),
    ],
)
def test_the_file_says_so_where_it_begins_from_supirs_weights(stage, begun, marked, config, tmp_path):
    """Published files have no label of a training; the demo's have one, and no licence in it."""
    weights = load_file(demo := WEIGHTS / SUPIR_FILE)
    files = {"demo": demo, "": ""} | {name: tmp_path / name for name in ("published", "trained on", "torch")}
    write_tensors(files["published"], weights)
    write_tensors(files["trained on"], weights, {"stage": "adaptor", "license": NON_COMMERCIAL})
    torch.save(weights, files["torch"])
    named = {name: str(files[value]) for name, value in begun.items()}
    path = train(stage, config(stage, steps=1, ema=0.0, **named), lambda line: None)
    assert stored_label(path).get("license") == (NON_COMMERCIAL if marked else None)


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
    path = train(name, config(name, steps=1, ema=0.0), lambda line: None)
    checkpoint = open_checkpoint(path)
    learnt = load_file(tmp_path / "out" / "checkpoints" / "step_1" / "model.safetensors")
    if name == "dr-encoder":
        loaded = {f"learns.{key}": t for key, t in load_dr_encoder(checkpoint).state_dict().items()}
        load_adaptor(checkpoint)
    elif name == "adaptor":
        loaded = {f"learns.{key}": t for key, t in load_adaptor(checkpoint).state_dict().items()}
        load_dr_encoder(checkpoint)
    else:
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
    (x, sigma), (y, _) = (noised(z, torch.tensor([index]), noise) for index in (500, 480))
    stepped, _ = noised(denoised(x, noise, sigma), torch.tensor([480]), noise)
    assert torch.allclose(stepped, y, atol=1e-6)
    assert consistency_loss(stepped, stepped).item() == 0


def test_rows_of_a_batch_do_not_depend_on_each_other(built):
    stage, samples = built("adaptor")
    one, two = (samples.batch(number) for number in (0, 1))
    both = Samples(replace(samples.config, batch=2), stage.words).batch(0)
    with torch.no_grad():
        mean = (stage(one) + stage(two)) / 2
        assert torch.allclose(stage(both), mean, rtol=1e-5)
