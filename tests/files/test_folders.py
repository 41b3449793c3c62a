"""Folders in the layout of diffusers."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from supir_core.command import cli
from supir_core.command.demo import WEIGHTS
from supir_core.files.checkpoint import UnsupportedCheckpointError, open_checkpoint, weight_files
from supir_core.files.kinds import SDXL
from supir_core.files.metadata import read_label

from .folders import diffusers_folder
from .variants import assert_equal


@pytest.mark.parametrize("form", ["safetensors", "fp16", "bin", "shards"])
def test_a_folder_in_diffusers_layout_loads(form, sdxl, tmp_path):
    folder = diffusers_folder(sdxl, tmp_path / "model", form)
    assert_equal(folder, SDXL, sdxl, tmp_path)
    assert len(weight_files(folder)) == (5 if form == "shards" else 4)


def test_a_folder_without_a_part_or_a_shard_says_so(sdxl, tmp_path):
    folder = diffusers_folder(sdxl, tmp_path / "model", "shards")
    next((folder / "unet").glob("*00002-of*")).unlink()
    with pytest.raises(FileNotFoundError, match=r"00002-of-00002\.safetensors: expected .* but it is not there"):
        open_checkpoint(folder, SDXL)
    (folder / "text_encoder_2" / "model.safetensors").unlink()
    with pytest.raises(UnsupportedCheckpointError, match="without weights in text_encoder_2; expected unet, vae"):
        open_checkpoint(folder, SDXL)


def test_a_folder_of_another_prediction_is_refused_by_name(sdxl, tmp_path):
    folder = diffusers_folder(sdxl, tmp_path / "model")
    (folder / "scheduler").mkdir()
    config = folder / "scheduler" / "scheduler_config.json"
    config.write_text('{"prediction_type": "epsilon"}')
    assert_equal(folder, SDXL, sdxl, tmp_path)
    config.write_text('{"prediction_type": "v_prediction"}')
    with pytest.raises(UnsupportedCheckpointError, match="a model that predicts v_prediction"):
        open_checkpoint(folder, SDXL)
    for damaged in ("", "[]", "<html>"):
        config.write_text(damaged)
        with pytest.raises(
            UnsupportedCheckpointError, match=r"scheduler_config\.json: expected JSON with a prediction_type"
        ):
            open_checkpoint(folder, SDXL)


@pytest.mark.parametrize("change", [lambda _: None, lambda q: q[:, :1].clone(), torch.sum])
def test_query_key_and_value_that_do_not_belong_together_are_refused(sdxl, tmp_path, change):
    folder = diffusers_folder(sdxl, tmp_path / "model")
    file = folder / "text_encoder_2" / "model.safetensors"
    tensors = load_file(file)
    name = next(key for key in tensors if key.endswith("q_proj.weight"))
    changed = change(tensors.pop(name))
    save_file(tensors if changed is None else tensors | {name: changed}, file)
    with pytest.raises(
        UnsupportedCheckpointError, match=r"model\.safetensors: expected query, key and value of one size"
    ):
        open_checkpoint(folder, SDXL)


def test_the_part_that_is_no_file_of_weights_is_named(sdxl, tmp_path):
    folder = diffusers_folder(sdxl, tmp_path / "model")
    (folder / "text_encoder_2" / "model.safetensors").write_bytes(b"")
    with pytest.raises(
        UnsupportedCheckpointError, match="expected the weights of text_encoder_2, this is an empty file"
    ):
        open_checkpoint(folder, SDXL)


def test_the_command_takes_a_folder_and_a_vae(sdxl, tmp_path, capsys):
    folder = diffusers_folder(sdxl, tmp_path / "model")
    for file in (folder / "vae").iterdir():
        file.rename(tmp_path / "vae.safetensors")
    pictures = [str(WEIGHTS / "damaged.png"), "-o", str(tmp_path / "out.png")]
    models = f"--sdxl {folder} --supir {WEIGHTS}/demo_supir.safetensors --tokenizer {WEIGHTS}/tokenizer"
    how = "--preset demo --size 64x64 --min-side 64 --steps 1 --device cpu"
    given = [*pictures, *models.split(), *how.split()]
    assert cli.main(["restore", *given]) == 1
    assert "there is no VAE in it" in capsys.readouterr().err
    assert cli.main(["restore", *given, "--vae", str(tmp_path / "vae.safetensors")]) == 0
    models = json.loads(read_label(tmp_path / "out.png")["supir.models"])
    assert {"model/unet/diffusion_pytorch_model.safetensors", "vae.safetensors"} <= models.keys()
    assert cli.main(["restore", *pictures, "--demo", "--vae", str(tmp_path / "vae.safetensors")]) == 1
    assert "leave out --vae" in capsys.readouterr().err
