"""What is drawn for training, and what is said of folders and files that do not serve."""

import shutil
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from supir_core.command import cli
from supir_core.command.demo import SUPIR_FILE, WEIGHTS
from supir_core.evaluation.degradation import SETTINGS, degrade, enlarged
from supir_core.files.checkpoint import open_checkpoint
from supir_core.files.errors import UnsupportedCheckpointError
from supir_core.files.kinds import DR_ENCODER, SUPIR
from supir_core.files.pictures import UnreadablePictureError
from supir_core.training.config import as_toml, read_config
from supir_core.training.data import LIGHTER, Samples
from supir_core.training.loop import ahead
from supir_core.training.run import STAGES, train

WORDS = STAGES["adaptor"].words


def samples(config, **changes):
    return Samples(config("adaptor", **changes), WORDS)


def test_a_sample_follows_from_its_number(config):
    first, second = (samples(config, crop_most=1.2) for _ in range(2))
    one, two = first.sample(5), second.sample(5)
    assert all(torch.equal(one.tensors[name], two.tensors[name]) for name in ("clean", "damaged"))
    assert torch.equal(one.noise, two.noise)
    assert (one.texts, one.index, one.seen) == (two.texts, two.index, two.seen)
    assert not torch.equal(one.tensors["damaged"], first.sample(7).tensors["damaged"])


def test_two_processes_share_the_samples_of_one(config):
    one = samples(config, batch=2)
    two = [Samples(config("adaptor"), WORDS, process, 2) for process in (0, 1)]
    noise = torch.cat([half.batch(3).noise for half in two])
    assert torch.equal(one.batch(3).noise, noise)


def test_every_round_shows_every_picture(config):
    drawn = samples(config, negative_share=0.0, drop_text=0.0, drop_caption=0.0)
    for round_ in range(3):
        assert {drawn.sample(2 * round_ + place).texts.partition(".")[0] for place in (0, 1)} == {
            "A coffee",
            "A rocket",
        }


def test_text_is_dropped_as_often_as_asked(config):
    random, drawn = np.random.default_rng(0), samples(config, drop_text=0.2, drop_caption=0.3)
    texts = [drawn._text("A cat.", negative, random) for negative in (False, True) for _ in range(1000)]
    shares = [texts.count(text) / 2000 for text in ("", WORDS.positive, WORDS.negative)]
    assert shares == pytest.approx([0.2, 0.15, 0.4], abs=0.02)
    assert all(text.endswith(WORDS.positive) for text in texts if text.startswith("A cat."))


def test_a_negative_row_learns_what_is_damaged(config):
    sample = samples(config, negative_share=1.0).sample(0)
    assert torch.equal(sample.tensors["clean"], sample.tensors["damaged"])


def test_lighter_damage_is_that_of_the_papers_other_tests(config):
    drawn = samples(config, lighter_share=1.0, negative_share=0.0)
    quiet = {name: SETTINGS[name] for name in ("sr4", "sr8", "blur_sr4")}
    seen = Counter()
    for number in range(40):
        clean, damaged = (drawn.sample(number).tensors[name][None] for name in ("clean", "damaged"))
        exact = [name for name in quiet if torch.equal(enlarged(degrade(clean, quiet[name]), clean.shape[2:]), damaged)]
        seen[exact[0] if exact else "sr4_noise"] += 1
    assert set(seen) == set(LIGHTER)
    assert min(seen.values()) >= 4, seen


def test_a_negative_row_learns_a_bad_picture_where_there_are_some(config, tmp_path):
    Image.new("RGB", (64, 64), (255, 0, 0)).save(tmp_path / "bad.png")
    sample = samples(config, negative_share=1.0, negatives=str(tmp_path)).sample(0)
    assert torch.equal(sample.tensors["clean"][:, 0, 0], torch.tensor([1.0, 0, 0]))


def test_the_cache_gives_what_the_encoder_makes(built, tmp_path):
    changes = {"cache": str(tmp_path / "cache"), "variants": 2}
    stage, drawn = built("adaptor", **changes)
    live = drawn.batch(1)
    said = []
    drawn.fill(stage, torch.device("cpu"), said.append)
    kept = drawn.batch(1)
    with torch.no_grad():
        expected = stage.encode(live.tensors)
    assert all(torch.equal(kept.tensors[name], expected[name]) for name in expected)
    assert "encoding 8 of 8" in said[0]
    said.clear()
    again = Samples(drawn.config, WORDS)
    again.fill(stage, torch.device("cpu"), said.append)
    assert not said
    assert Samples(replace(drawn.config, precision="bf16"), WORDS)._cache("a") != drawn._cache("a")
    for file in (tmp_path / "cache").rglob("*.safetensors"):
        file.write_bytes(b"cut")
    with pytest.raises(OSError, match=r"damaged .*; remove it, and the same command makes it anew"):
        again.batch(1)


def test_what_is_made_ahead_comes_in_order_and_with_its_errors():
    def make(number):
        if number == 3:
            raise ValueError("three")
        return number

    made = ahead(make, range(5), 2)
    assert [next(made) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match=r"^three$"):
        next(made)
    assert list(ahead(make, range(3), 5)) == [0, 1, 2]


# --- what is said


def test_a_folder_that_is_not_there_is_named(config, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere: expected a folder of pictures, but it is not there"):
        samples(config, pictures=str(tmp_path / "nowhere"))


def test_missing_captions_are_counted(config, pictures, tmp_path):
    shutil.copytree(pictures, tmp_path / "p")
    (tmp_path / "p" / "rocket.txt").unlink()
    with pytest.raises(ValueError, match=r"1 of 2 have none, such as rocket\.png"):
        samples(config, pictures=str(tmp_path / "p"))
    samples(config, pictures=str(tmp_path / "p"), captions="optional")


def test_shards_are_to_be_unpacked(config, tmp_path):
    (shard := tmp_path / "0000.tar").write_bytes(b"shard")
    with pytest.raises(
        FileNotFoundError, match=r"0000\.tar: expected a folder .* a file; name its folder, or unpack an archive to one"
    ):
        samples(config, pictures=str(shard))
    with pytest.raises(FileNotFoundError, match=r"there are only \.tar \(unpack it to a folder first\): 1"):
        samples(config, pictures=str(tmp_path))


def test_a_small_picture_is_refused_by_name(config):
    with pytest.raises(ValueError, match=r"png: 96x80 pixels, but squares of at least 128"):
        samples(config, side=128, crop_most=2.0).sample(0)


def test_a_cut_picture_ends_the_run_in_one_line_and_checkpoints_stay(config, pictures, tmp_path, capsys):
    shutil.copytree(pictures, tmp_path / "p")
    settings = config("adaptor", pictures=str(tmp_path / "p"), steps=2, checkpoint_every=1)
    file = tmp_path / "run.toml"
    file.write_text(as_toml(settings))
    assert cli.main(["train", "adaptor", "--config", str(file)]) == 0
    for name in ("coffee", "rocket"):
        path = tmp_path / "p" / f"{name}.png"
        path.write_bytes(path.read_bytes()[:3000])
    file.write_text(as_toml(replace(settings, steps=9)))
    capsys.readouterr()
    assert cli.main(["train", "adaptor", "--config", str(file)]) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert ".png: not a picture that can be read, or a damaged one" in line
    assert (tmp_path / "out" / "checkpoints" / "step_2").is_dir()
    with pytest.raises(UnreadablePictureError):
        samples(config, pictures=str(tmp_path / "p")).sample(0)


def test_a_full_memory_says_what_of_the_training_makes_it_smaller(config, tmp_path, monkeypatch, capsys):
    def full(*given):
        raise MemoryError

    monkeypatch.setattr(Samples, "batch", full)
    (tmp_path / "run.toml").write_text(as_toml(config("adaptor", steps=1)))
    assert cli.main(["train", "adaptor", "--config", str(tmp_path / "run.toml")]) == 1
    assert "the memory is full. Set checkpointing = true" in capsys.readouterr().err


def test_a_config_is_read_back_as_it_was_written(config, tmp_path):
    settings = config("adaptor", rate=3e-6)
    (tmp_path / "a.toml").write_text(as_toml(settings))
    assert read_config("adaptor", tmp_path / "a.toml") == settings
    (tmp_path / "b.yaml").write_text("output: o\npictures: p\nrate: 3e-6\n")
    assert read_config("adaptor", tmp_path / "b.yaml").rate == 3e-6


@pytest.mark.parametrize(("stage", "file"), [("dr-encoder", "dr_encoder.toml"), ("adaptor", "adaptor.toml")])
def test_the_demos_configs_build_their_stages(stage, file):
    settings = read_config(stage, WEIGHTS / file)
    assert STAGES[stage].build(settings).config is settings


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("stepz = 3", 'no setting is called "stepz"'),
        ("steps = 0", "steps must be within 1 to"),
        ('steps = "many"', "steps must be within"),
        ("crop_least = 0.0", r"crop_least must be within 0\.1 to 100"),
        ("crop_least = 3.0", r"expected crop_least <= crop_most, got 3\.0 and 2\.0"),
        ("factor = 100", "factor must be within 1 to 64"),
        ('held_out = "p/held"', "held_out lies in pictures, where every picture is read"),
        ('held_out = "."', "pictures lies in held_out"),
        ('held_out = "o/held_out"', "held_out of output, for contact sheets, lies in held_out"),
        ('negatives = "./p"', "negatives lies in pictures"),
        (
            "hardest_share = 0.8\nlighter_share = 0.4",
            r"hardest_share and lighter_share to be at most 1 together, got 1\.2",
        ),
        ("skip = 1000", "skip must be within 1 to 999"),
        ("output = ", "expected TOML"),
        ("", 'expected output = "FOLDER"'),
        ('output = "o"', 'expected pictures = "FOLDER"'),
    ],
)
def test_a_config_that_cannot_work_is_refused(text, said, tmp_path):
    (tmp_path / "a.toml").write_text(text if "output" in text or not text else f'output = "o"\npictures = "p"\n{text}')
    with pytest.raises(ValueError, match=said):
        read_config("adaptor", tmp_path / "a.toml")


@pytest.mark.parametrize(
    ("stage", "said"),
    [
        ("adaptor", "this stage needs a degradation-robust encoder or SUPIR weights; name it as dr_encoder"),
        ("instantir-previewer", "this stage needs an InstantIR adapter; name it as adapter"),
        ("dr-encoder", "this stage needs an SDXL checkpoint"),
    ],
)
def test_weights_that_a_stage_needs_are_asked_for(stage, said, config):
    missing = {"supir": "", "adapter": "", "sdxl": "" if stage == "dr-encoder" else config(stage).sdxl}
    with pytest.raises(ValueError, match=said):
        STAGES[stage].build(config(stage, **missing))


def test_an_encoder_alone_is_known_and_serves_as_dr_encoder(config, tmp_path):
    alone = train("dr-encoder", config("dr-encoder", supir="", steps=1, ema=0.0), lambda line: None)
    assert open_checkpoint(alone).kind == DR_ENCODER
    with pytest.raises(UnsupportedCheckpointError, match="Name it as dr_encoder of `supir train adaptor`"):
        open_checkpoint(alone, SUPIR)
    stage = STAGES["adaptor"].build(config("adaptor", supir="", dr_encoder=str(alone)))
    whole = STAGES["adaptor"].build(config("adaptor", supir="", dr_encoder=str(WEIGHTS / SUPIR_FILE)))
    keys = stage.networks.dr_encoder.state_dict().keys()
    assert keys == whole.networks.dr_encoder.state_dict().keys()
