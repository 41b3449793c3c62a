"""Files that load, files that do not, and what is said about them."""

import os
import pickle
import struct
from dataclasses import replace
from functools import partial

import pytest
import torch
from safetensors.torch import load_file, save_file

from supir_core.files.checkpoint import UnsupportedCheckpointError, open_checkpoint
from supir_core.files.kinds import SDXL, SUPIR
from supir_core.instantir.model import load_instantir
from supir_core.sdxl.model import load_unet
from supir_core.supir.model import load_adaptor, load_model


@pytest.fixture(scope="module")
def files(demo_model):
    return demo_model.files


@pytest.fixture(scope="module")
def supir_tensors(files):
    return load_file(files[1])


def tokenizer_of(files):
    return files[0].parent / "tokenizer"


def weights(model):
    modules = (model.unet, model.vae, model.text, model.adaptor, model.dr_encoder)
    return [tensor for module in modules for tensor in module.state_dict().values()]


def published_ckpt(tensors, path):
    torch.save({"state_dict": tensors | {"model.control_model.mask_LQ": torch.zeros(3)}}, path)


def old_pickle(tensors, path):
    torch.save(tensors, path, _use_new_zipfile_serialization=False)


def pruned(tensors, path):
    save_file({key.removeprefix("model."): tensor for key, tensor in tensors.items()}, path)


def as_comfyui_has_it(tensors, path):
    names = {
        "model.diffusion_model.project_modules.": "project_modules.",
        "model.control_model.": "control_model.",
    }
    renamed = {}
    for key, tensor in tensors.items():
        for old, new in names.items():
            key = new + key.removeprefix(old) if key.startswith(old) else key
        renamed[key] = tensor
    save_file(renamed, path)


@pytest.mark.parametrize("write", [published_ckpt, old_pickle, pruned, as_comfyui_has_it])
def test_every_published_form_loads_the_same(write, files, supir_tensors, demo_model, tmp_path):
    path = tmp_path / "a.model.v0Q.ckpt"  # neither the suffix nor the dots decide
    write(supir_tensors, path)
    assert open_checkpoint(path).kind == SUPIR
    model = load_model(files[0], path, tokenizer_of(files))
    for ours, theirs in zip(weights(model), weights(demo_model), strict=True):
        assert torch.equal(ours, theirs)


def test_weights_stay_in_the_files_precision_unless_told_otherwise(files):
    control = open_checkpoint(files[1])
    assert {p.dtype for p in load_adaptor(control).parameters()} == {torch.float16}
    assert {p.dtype for p in load_adaptor(control, torch.bfloat16).parameters()} == {torch.bfloat16}


def test_a_trimmed_adaptor_loads(files, supir_tensors, tmp_path):
    blocks = ("input_blocks.4.1.", "input_blocks.7.1.")
    kept = {key: t for key, t in supir_tensors.items() if not any(block in key for block in blocks)}
    save_file(kept, tmp_path / "trimmed.safetensors")
    model = load_model(files[0], tmp_path / "trimmed.safetensors", tokenizer_of(files))
    assert model.adaptor.control_model.config == replace(
        model.unet.config, input_depths=(0, 0, 0, 0, 0, 1, 0, 0, 1), output_depths=()
    )


@pytest.mark.parametrize(
    ("keys", "kind"),
    [
        (
            {"model.diffusion_model.input_blocks.0.0.weight", "cond_stage_model.transformer.x"},
            "Stable Diffusion 1",
        ),
        ({"model.diffusion_model.input_blocks.0.0.weight", "cond_stage_model.model.x"}, "Stable Diffusion 2"),
        (
            {
                "model.diffusion_model.input_blocks.0.0.weight",
                "model.diffusion_model.label_emb.0.0.weight",
                "conditioner.embedders.0.model.ln_final.weight",
            },
            "SDXL refiner",
        ),
        ({"double_blocks.0.img_attn.qkv.weight", "single_blocks.0.linear1.weight"}, "a Flux model"),
        ({"lora_unet_down_blocks_0.lora_up.weight"}, "a LoRA"),
        ({"unet.down_blocks.0.attn.to_q.lora_A.weight"}, "a LoRA"),
        ({"down_blocks.0.resnets.0.conv1.weight"}, "diffusers' layout"),
        ({"decoder.conv_in.weight", "encoder.conv_in.weight"}, "a VAE"),
        ({"input_hint_block.0.weight", "zero_convs.0.0.weight"}, "a ControlNet"),
        ({"something.weight"}, "unknown content"),
    ],
)
def test_another_model_is_named(keys, kind, files, tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({key: torch.zeros(1) for key in keys}, path)
    with pytest.raises(UnsupportedCheckpointError, match=kind):
        load_model(path, files[1], tokenizer_of(files))


@pytest.mark.parametrize(
    ("key", "what"),
    [
        ("v_pred", "v-prediction"),
        ("ztsnr", "zero terminal SNR"),
        ("edm_vpred.sigma_max", "v-prediction"),
        ("edm_mean", "EDM"),
    ],
)
def test_sdxl_of_another_prediction_is_named_to_both_methods(key, what, files, tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({**load_file(files[0]), key: torch.tensor([])}, path)
    message = f"other.safetensors: expected an SDXL checkpoint, this is an SDXL checkpoint with {what} .*sd_xl_base_1.0"
    for load in (partial(load_model, path, files[1]), partial(load_instantir, path, *files, files[1])):
        with pytest.raises(UnsupportedCheckpointError, match=message):
            load(tokenizer=tokenizer_of(files))


def test_swapped_files_are_named(files):
    with pytest.raises(UnsupportedCheckpointError, match="expected an SDXL checkpoint, this is SUPIR weights"):
        load_model(files[1], files[0], tokenizer_of(files))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "an empty file"),
        (b'{"error": "not found"}\n', "a text file .*not found"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"\xef\xbb\xbf\n<!DOCTYPE html><html>\xc3", "a web page"),
        (b"\x1f\x8b\x08\x00", "an archive: unpack it"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"\x00\x01\x02garbage", "of no known kind .it starts with 00 01"),
        (struct.pack("<Q", 10**9) + b'{"a":', "damaged safetensors"),
    ],
)
def test_what_is_no_checkpoint_is_named(content, said, tmp_path):
    path = tmp_path / "SUPIR-v0Q.ckpt"
    path.write_bytes(content)
    with pytest.raises(UnsupportedCheckpointError, match=said):
        open_checkpoint(path)


@pytest.mark.parametrize("keep", [0.3, 0.9])
def test_a_truncated_file_is_named(keep, files, supir_tensors, tmp_path):
    published_ckpt(supir_tensors, tmp_path / "whole.ckpt")
    for whole, said in ((files[1], "damaged safetensors"), (tmp_path / "whole.ckpt", "damaged torch file")):
        path = tmp_path / f"cut{whole.suffix}"
        content = whole.read_bytes()
        path.write_bytes(content[: int(len(content) * keep)])
        with pytest.raises(UnsupportedCheckpointError, match=f"{said}.*download"):
            open_checkpoint(path)


class Trap:
    """Creates a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("zipped", [False, True])
def test_a_pickle_with_code_in_it_runs_nothing(zipped, tmp_path):
    path, trap = tmp_path / "evil.ckpt", tmp_path / "sprung"
    content = {"state_dict": {"model.control_model.a": torch.zeros(1)}, "trap": Trap(trap)}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(UnsupportedCheckpointError, match="asks for code to be run, which was refused"):
        open_checkpoint(path)
    assert not trap.exists()


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_plain_pickle_with_code_in_it_runs_nothing(tmp_path):
    path, trap = tmp_path / "evil.pt", tmp_path / "sprung"
    path.write_bytes(pickle.dumps(Trap(trap)))
    with pytest.raises(UnsupportedCheckpointError):
        open_checkpoint(path)
    assert not trap.exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda t: t.pop("model.control_model.middle_block.0.in_layers.2.weight"),
            "1 missing.*middle_block.0.in_layers.2",
        ),
        (lambda t: t.pop("model.control_model.input_blocks.4.0.out_layers.3.weight"), "is missing"),
        (lambda t: t.update({"model.control_model.extra.weight": torch.zeros(1)}), "1 unexpected.*extra"),
        (
            lambda t: t.update({"model.control_model.time_embed.2.bias": torch.zeros(5)}),
            r"1 of the wrong shape.*time_embed.2.bias is \(5,\), expected \(256,\)",
        ),
    ],
)
def test_tensors_that_do_not_fit_are_listed(change, said, files, supir_tensors, tmp_path):
    tensors = dict(supir_tensors)
    change(tensors)
    save_file(tensors, tmp_path / "broken.safetensors")
    with pytest.raises(UnsupportedCheckpointError, match=said):
        load_model(files[0], tmp_path / "broken.safetensors", tokenizer_of(files))


def test_an_inpainting_model_is_refused(files, tmp_path):
    tensors = load_file(files[0])
    key = "model.diffusion_model.input_blocks.0.0.weight"
    tensors[key] = torch.zeros(64, 9, 3, 3)
    tensors["model.diffusion_model.out.2.weight"] = torch.zeros(9, 64, 3, 3)
    tensors["model.diffusion_model.out.2.bias"] = torch.zeros(9)
    save_file(tensors, tmp_path / "inpaint.safetensors")
    with pytest.raises(UnsupportedCheckpointError, match=r"takes 9 channels.*inpainting"):
        load_model(tmp_path / "inpaint.safetensors", files[1], tokenizer_of(files))


def test_files_of_two_sizes_are_refused(files, tmp_path):
    tensors = load_file(files[0])
    unet = load_unet(open_checkpoint(files[0]))
    assert unet.config.vector_width == 64 + 1536
    tensors["model.diffusion_model.label_emb.0.0.weight"] = torch.ones(256, 2816)
    save_file(tensors, tmp_path / "wide.safetensors")
    with pytest.raises(UnsupportedCheckpointError, match="do not belong together: vector width 2816 against 1600"):
        load_model(tmp_path / "wide.safetensors", files[1], tokenizer_of(files))


def test_known_spare_keys_are_ignored(files, tmp_path):
    tensors = load_file(files[0])
    spare = {
        "conditioner.embedders.0.transformer.text_model.embeddings.position_ids": torch.arange(77)[None],
        "model_ema.decay": torch.zeros(1),
        "denoiser.sigmas": torch.zeros(1000),
    }
    save_file(tensors | spare, tmp_path / "spare.safetensors")
    load_model(tmp_path / "spare.safetensors", files[1], tokenizer_of(files))


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="not there"):
        open_checkpoint(tmp_path / "nothing.ckpt")
    with pytest.raises(FileNotFoundError, match="a folder: name a file"):
        open_checkpoint(tmp_path)


def test_a_checkpoint_describes_itself(files):
    assert open_checkpoint(files[0]).kind == SDXL
    line = open_checkpoint(files[1]).describe()
    assert line.startswith("SUPIR weights, ")
    assert "control_model" in line
