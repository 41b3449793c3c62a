"""Checkpoints as people have them: each loads with equal weights, or is refused with a sentence that helps."""

import json
import logging
import os
import re
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from supir_core.command import cli
from supir_core.command.demo import WEIGHTS
from supir_core.files.checkpoint import UnsupportedCheckpointError, open_checkpoint, weight_files
from supir_core.files.kinds import SDXL, SUPIR, VAE
from supir_core.instantir.keys import diffusers_path
from supir_core.sdxl.model import load_text, load_unet, load_vae, open_vae
from supir_core.sdxl.text import load_tokenizer
from supir_core.supir.model import load_adaptor, load_dr_encoder

from .pickles import save_with_training_state, trap

CLIP_G, UNET = "conditioner.embedders.1.model.", "model.diffusion_model."
FIRST_STAGE, DR = "first_stage_model.", "first_stage_model.denoise_encoder."


@pytest.fixture(scope="module")
def sdxl():
    return load_file(WEIGHTS / "demo_sdxl.safetensors")


@pytest.fixture(scope="module")
def supir():
    return load_file(WEIGHTS / "demo_supir.safetensors")


def prefixed(prefix):
    return lambda t: {prefix + key: value for key, value in t.items()}


def renamed(old, new):
    return lambda t: {new + key[len(old) :] if key.startswith(old) else key: value for key, value in t.items()}


def without(prefix):
    return lambda t: {key: value for key, value in t.items() if not key.startswith(prefix)}


def extra(*keys, of=None):
    return lambda t: t | {key: torch.ones(2, 2) if of is None else of.clone() for key in keys}


def linear_attention(t):
    return {key: v[:, :, 0, 0].contiguous() if "attn_1" in key and v.ndim == 4 else v for key, v in t.items()}


def layer_projection(t):
    """As converters write it: the weight of a layer, (out, in)."""
    rest = dict(t)
    rest[CLIP_G + "text_projection.weight"] = rest.pop(CLIP_G + "text_projection").T.contiguous()
    return rest


def quantised(old_names):
    """Eight bits and a scale, for matrices; the weights are such that nothing is lost."""

    def change(t):
        result = dict(t)
        for key, value in t.items():
            if key.startswith((UNET, "model.control_model.")) and key.endswith(".weight") and value.ndim > 1:
                stem = key.removesuffix("weight")
                result[key] = (value.float() / 0.25).to(torch.float8_e4m3fn)
                result[stem + ("scale_weight" if old_names else "weight_scale")] = torch.tensor(0.25)
                if old_names:
                    result[stem + "scale_input"] = torch.tensor(1.0)
                else:
                    marked = json.dumps({"format": "float8_e4m3fn"}).encode()
                    result[stem + "comfy_quant"] = torch.tensor(list(marked), dtype=torch.uint8)
        if old_names:
            result[UNET + "scaled_fp8"] = torch.zeros(2, dtype=torch.float8_e4m3fn)
        return result

    return change


def representable(t):
    """Weights that eight bits hold exactly under a scale of a quarter."""
    change = (UNET, "model.control_model.")
    return {
        key: (v.float() / 0.25).to(torch.float8_e4m3fn).float().mul(0.25).half()
        if key.startswith(change) and key.endswith(".weight") and v.ndim > 1
        else v
        for key, v in t.items()
    }


def loaded(path, kind, vae=None):
    """All the weights that are built of a file."""
    checkpoint = open_checkpoint(path, kind)
    if kind == SUPIR:
        modules = [load_adaptor(checkpoint), load_dr_encoder(checkpoint)]
    else:
        text = load_text(checkpoint, load_tokenizer(WEIGHTS / "tokenizer"))
        modules = [load_unet(checkpoint), load_vae(open_vae(vae, checkpoint)), text]
    return [tensor for module in modules for tensor in module.state_dict().values()]


def assert_equal(path, kind, expected, tmp_path, vae=None):
    save_file({k: v.contiguous() for k, v in expected.items()}, tmp_path / "expected.safetensors")
    pairs = zip(loaded(path, kind, vae), loaded(tmp_path / "expected.safetensors", kind), strict=True)
    assert all(torch.equal(ours, theirs) for ours, theirs in pairs)


LOADS = {
    "module prefix": (SUPIR, prefixed("module.")),
    "model.model prefix": (SUPIR, lambda t: {re.sub(r"^model\.", "model.model.", key): v for key, v in t.items()}),
    "compiled": (SUPIR, prefixed("_orig_mod.")),
    "module prefix of SDXL": (SDXL, prefixed("module.")),
    "a second encoder": (
        SUPIR,
        lambda t: t | renamed(DR, FIRST_STAGE + "denoise_encoder_s1.")({k: v.clone() for k, v in t.items()}),
    ),
    "mask_LQ": (SUPIR, extra("model.control_model.mask_LQ")),
    "SUPIR with a discriminator": (SUPIR, extra("first_stage_model.loss.discriminator.main.0.weight")),
    "SUPIR's VAE attention as layers": (SUPIR, linear_attention),
    "discriminator": (
        SDXL,
        extra("first_stage_model.loss.discriminator.main.0.weight", "first_stage_model.loss.logvar"),
    ),
    "averaged weights": (
        SDXL,
        extra("model_ema.decay", "model_ema.num_updates", "model_ema.diffusion_modelout0weight"),
    ),
    "attention mask": (SDXL, extra(CLIP_G + "attn_mask")),
    "position ids": (
        SDXL,
        extra("conditioner.embedders.0.transformer.text_model.embeddings.position_ids", of=torch.arange(77)[None]),
    ),
    "leftover of a LoRA": (
        SDXL,
        extra("lora_unet_down_blocks_1_attentions_0_proj_in.lora_down.weight", UNET + "lora_up.weight"),
    ),
    "conditioner's extras": (SDXL, extra("conditioner.embedders.2.x", CLIP_G + "visual.conv1.weight")),
    "noise schedule": (SDXL, extra("betas", "alphas_cumprod", "denoiser.sigmas", of=torch.arange(9))),
    "UNet of bare names": (SDXL, renamed(UNET, "")),
    "UNet under diffusion_model": (SDXL, renamed(UNET, "diffusion_model.")),
    "VAE's attention as layers": (SDXL, linear_attention),
    "projection of converters": (SDXL, layer_projection),
}


@pytest.mark.parametrize("variant", LOADS)
def test_it_loads_with_equal_weights(variant, sdxl, supir, tmp_path):
    kind, change = LOADS[variant]
    plain = supir if kind == SUPIR else sdxl
    save_file(change(plain), tmp_path / "variant.safetensors")
    assert_equal(tmp_path / "variant.safetensors", kind, plain, tmp_path)


@pytest.mark.parametrize("kind", [SDXL, SUPIR])
def test_both_in_one_file_serve_as_either(kind, sdxl, supir, tmp_path):
    save_file(sdxl | supir, tmp_path / "both.safetensors")
    assert_equal(tmp_path / "both.safetensors", kind, sdxl if kind == SDXL else supir, tmp_path)


@pytest.mark.parametrize("kind", [SDXL, SUPIR])
@pytest.mark.parametrize("old_names", [True, False])
def test_scaled_weights_of_eight_bits_are_dequantised(kind, old_names, sdxl, supir, tmp_path):
    plain = representable(supir if kind == SUPIR else sdxl)
    save_file(quantised(old_names)(plain), tmp_path / "fp8.safetensors")
    assert_equal(tmp_path / "fp8.safetensors", kind, plain, tmp_path)


def test_what_is_not_used_is_named_in_one_line(sdxl, tmp_path, caplog):
    keys = ("model_ema.a", "model_ema.b", "first_stage_model.loss.logvar", "lora_te1_x.alpha", CLIP_G + "logit_scale")
    save_file(extra(*keys)(sdxl), tmp_path / "more.safetensors")
    with caplog.at_level(logging.WARNING):
        open_checkpoint(tmp_path / "more.safetensors", SDXL)
    (line,) = caplog.messages
    assert line.endswith("left alone: first_stage_model.loss (1), lora (1), model_ema (2)")


def test_the_demo_files_have_nothing_to_tell(caplog):
    with caplog.at_level(logging.WARNING):
        open_checkpoint(WEIGHTS / "demo_sdxl.safetensors", SDXL)
    assert not caplog.messages


@pytest.mark.parametrize("form", ["VAE", "checkpoint", "diffusers"])
def test_a_vae_of_its_own_serves(form, sdxl, tmp_path):
    save_file(without(FIRST_STAGE)(sdxl), tmp_path / "bare.safetensors")
    vae = {key.removeprefix(FIRST_STAGE): v for key, v in sdxl.items() if key.startswith(FIRST_STAGE)}
    content = {"VAE": vae, "checkpoint": sdxl, "diffusers": diffusers_vae(vae)}[form]
    save_file(content, tmp_path / "vae.safetensors")
    assert_equal(tmp_path / "bare.safetensors", SDXL, sdxl, tmp_path, vae=tmp_path / "vae.safetensors")


def test_a_named_vae_replaces_the_one_in_the_checkpoint(sdxl, tmp_path):
    other = {key: value * 2 for key, value in sdxl.items() if key.startswith(FIRST_STAGE)}
    save_file(other, tmp_path / "vae.safetensors")
    opened = open_vae(tmp_path / "vae.safetensors", open_checkpoint(WEIGHTS / "demo_sdxl.safetensors", SDXL))
    assert torch.equal(load_vae(opened).quant_conv.weight, sdxl[FIRST_STAGE + "quant_conv.weight"] * 2)


def diffusers_vae(vae):
    """The VAE's names as diffusers has them, with its attention as layers."""
    names = (
        ("decoder.mid.block_", "decoder.mid_block.resnets."),
        ("encoder.mid.block_", "encoder.mid_block.resnets."),
        ("mid.attn_1.", "mid_block.attentions.0."),
        ("norm_out", "conv_norm_out"),
        ("nin_shortcut", "conv_shortcut"),
    )
    result = {}
    for key, value in vae.items():
        for old, new in names:
            key = key.replace(old, new)
        key = re.sub(r"resnets\.(\d)", lambda m: f"resnets.{int(m[1]) - 1}", key)
        key = re.sub(r"down\.(\d)\.block\.", r"down_blocks.\1.resnets.", key)
        key = re.sub(r"down\.(\d)\.downsample\.", r"down_blocks.\1.downsamplers.0.", key)
        key = re.sub(r"up\.(\d)\.block\.", lambda m: f"up_blocks.{3 - int(m[1])}.resnets.", key)
        key = re.sub(r"up\.(\d)\.upsample\.", lambda m: f"up_blocks.{3 - int(m[1])}.upsamplers.0.", key)
        if "attentions" in key:
            for old, new in (("0.norm", "0.group_norm"), ("0.proj_out", "0.to_out.0")):
                key = key.replace(old, new)
            key = re.sub(r"\.0\.([qkv])\.", r".0.to_\1.", key)
            value = value[:, :, 0, 0].contiguous() if value.ndim == 4 else value
        result[key] = value
    return result


def transformers_text(t):
    """OpenCLIP's encoder as transformers has it."""
    names = (
        (r"^token_embedding\.", "text_model.embeddings.token_embedding."),
        (r"^positional_embedding$", "text_model.embeddings.position_embedding.weight"),
        (r"^ln_final\.", "text_model.final_layer_norm."),
        (r"^transformer\.resblocks\.", "text_model.encoder.layers."),
        (r"\.attn\.", ".self_attn."),
        (r"\.ln_(\d)\.", r".layer_norm\1."),
        (r"\.c_fc\.", ".fc1."),
        (r"\.c_proj\.", ".fc2."),
    )
    result = {}
    for key, value in t.items():
        if key == "text_projection":
            result["text_projection.weight"] = value.T.contiguous()
        elif "in_proj" in key:
            for part, piece in zip("qkv", value.chunk(3), strict=True):
                new = re.sub(r"attn\.in_proj_", f"self_attn.{part}_proj.", key)
                result[new.replace("transformer.resblocks", "text_model.encoder.layers")] = piece.contiguous()
        elif key != "logit_scale":
            for old, new in names:
                key = re.sub(old, new, key)
            result[key] = value
    return result


def under(t, prefix):
    return {key[len(prefix) :]: value for key, value in t.items() if key.startswith(prefix)}


def unet_names(t):
    named = {diffusers_path(key): value for key, value in t.items()}
    assert "conv_norm_out.weight" in named
    return named


def diffusers_folder(sdxl, folder, form="safetensors"):
    parts = {
        "unet/diffusion_pytorch_model": unet_names(under(sdxl, UNET)),
        "vae/diffusion_pytorch_model": diffusers_vae(under(sdxl, FIRST_STAGE)),
        "text_encoder/model": under(sdxl, "conditioner.embedders.0.transformer."),
        "text_encoder_2/model": transformers_text(under(sdxl, CLIP_G)),
    }
    for name, tensors in parts.items():
        path = folder / name
        path.parent.mkdir(parents=True)
        if form == "bin":
            torch.save(
                tensors,
                path.with_name(
                    path.name.replace("model", "pytorch_model", 1).replace("pytorch_pytorch", "pytorch") + ".bin"
                ),
            )
        elif form == "shards" and "unet" in name:
            shards = [f"{path.name}-0000{i}-of-00002.safetensors" for i in (1, 2)]
            keys = sorted(tensors)
            halves = [keys[: len(keys) // 2], keys[len(keys) // 2 :]]
            for shard, some in zip(shards, halves, strict=True):
                save_file({key: tensors[key] for key in some}, path.with_name(shard))
            index = {key: shard for shard, some in zip(shards, halves, strict=True) for key in some}
            path.with_name(path.name + ".safetensors.index.json").write_text(json.dumps({"weight_map": index}))
        else:
            save_file(tensors, path.with_name(path.name + (".fp16" if form == "fp16" else "") + ".safetensors"))
    (folder / "text_encoder" / "openvino_model.bin").write_bytes(b"of another program")
    return folder


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


def test_the_command_takes_a_folder_and_a_vae(sdxl, tmp_path, capsys):
    folder = diffusers_folder(sdxl, tmp_path / "model")
    for file in (folder / "vae").iterdir():
        file.rename(tmp_path / "vae.safetensors")
    given = [
        str(WEIGHTS / "damaged.png"),
        "-o",
        str(tmp_path / "out.png"),
        "--preset",
        "demo",
        "--scale",
        "1",
        "--size",
        "64x64",
    ]
    given = [*given[:5], "--size", "64x64", "--min-side", "64", "--steps", "1", "--sdxl", str(folder)]
    given += [
        "--supir",
        str(WEIGHTS / "demo_supir.safetensors"),
        "--tokenizer",
        str(WEIGHTS / "tokenizer"),
        "--device",
        "cpu",
    ]
    assert cli.main(["restore", *given]) == 1
    assert "there is no VAE in it" in capsys.readouterr().err
    assert cli.main(["restore", *given, "--vae", str(tmp_path / "vae.safetensors")]) == 0
    from supir_core.files.metadata import read_label

    models = json.loads(read_label(tmp_path / "out.png")["supir.models"])
    assert {"model/unet/diffusion_pytorch_model.safetensors", "vae.safetensors"} <= models.keys()
    assert cli.main(["restore", *given[:3], "--demo", "--vae", str(tmp_path / "vae.safetensors")]) == 1
    assert "leave out --vae" in capsys.readouterr().err


def changed(key, make):
    return lambda t: t | {key: make(t[key])}


def tail_of_zeros(t):
    """As a download leaves that broke off in a file of full length."""
    keys = sorted(t)
    return {key: torch.zeros_like(t[key]) if i > len(keys) // 2 else t[key] for i, key in enumerate(keys)}


def half_of_zeros(value):
    value = value.clone()
    value[len(value) // 2 :] = 0
    return value


def one_nan(value):
    value = value.clone()
    value.view(-1)[value.numel() // 2] = float("nan")
    return value


CONV = UNET + "input_blocks.1.0.in_layers.2.weight"
BIAS = UNET + "input_blocks.1.0.in_layers.2.bias"
REFUSED = {
    "no encoder": (
        SUPIR,
        without(DR),
        "SUPIR weights without denoise_encoder, the encoder that reads the damaged picture. Take",
    ),
    "no connectors": (
        SUPIR,
        without(UNET),
        "this is SUPIR's adaptor without its connectors .project_modules.. Take SUPIR-v0Q",
    ),
    "no VAE": (SDXL, without(FIRST_STAGE), "no VAE in it .* --vae FILE .vae= in Python."),
    "inpainting": (
        SDXL,
        changed(UNET + "input_blocks.0.0.weight", lambda v: v[:, :1].repeat(1, 9, 1, 1)),
        "takes 9 channels, expected 4. This is an inpainting model: use the plain SDXL model",
    ),
    "editing": (
        SDXL,
        changed(UNET + "input_blocks.0.0.weight", lambda v: v.repeat(1, 2, 1, 1)),
        "takes 8 channels.*an editing model",
    ),
    "refiner": (
        SDXL,
        lambda t: renamed(CLIP_G, "conditioner.embedders.0.model.")(without("conditioner.embedders.0.")(t)),
        "this is an SDXL refiner. Take the SDXL base",
    ),
    "UNet alone": (
        SDXL,
        lambda t: under(t, UNET),
        "SDXL UNet without its text encoders. Take the whole checkpoint, or the folder",
    ),
    "UNet of diffusers": (
        SDXL,
        lambda t: unet_names(under(t, UNET)),
        "diffusers' layout, not.* Take the whole checkpoint",
    ),
    "VAE for a checkpoint": (SDXL, lambda t: under(t, FIRST_STAGE), "this is a VAE. Name it with --vae"),
    "two of one name": (SDXL, lambda t: t | {BIAS.removeprefix("model."): t[BIAS].clone()}, "are one tensor by name"),
    "whole numbers": (
        SDXL,
        changed(CONV, lambda v: v.to(torch.int16)),
        f"{CONV} is of whole numbers .int16., expected floats",
    ),
    "yes and no": (SDXL, changed(CONV, lambda v: v > 0), "is of whole numbers .bool."),
    "complex": (SDXL, changed(CONV, lambda v: v.to(torch.complex64)), "is of no use .complex64."),
    "NaN": (SDXL, changed(CONV, one_nan), f"{CONV} holds numbers that are not finite"),
    "infinity": (SDXL, changed(BIAS, lambda v: v / 0), f"{BIAS} holds numbers that are not finite"),
    "NaN in SUPIR": (
        SUPIR,
        changed("model.control_model.time_embed.0.bias", one_nan),
        "time_embed.0.bias holds numbers that",
    ),
    "half a tensor": (SDXL, changed(CONV, half_of_zeros), f"{CONV} is zeros over 25%"),
    "half a file": (SDXL, tail_of_zeros, "% of the weights are zeros, .* the first of them.*Download it again"),
    "half a file of SUPIR": (SUPIR, tail_of_zeros, "% of the weights are zeros, "),
    "scale without a weight": (
        SDXL,
        extra(UNET + "nowhere.scale_weight"),
        "nowhere.scale_weight scales a weight that is not there",
    ),
    "quantised in another way": (
        SDXL,
        lambda t: t | {UNET + "out.2.comfy_quant": torch.tensor(list(b'{"format": "nvfp4"}'), dtype=torch.uint8)},
        "quantised for ComfyUI as nvfp4, which only its own loaders read; take the file in",
    ),
    "a number for a size": (
        SDXL,
        changed(UNET + "label_emb.0.0.weight", lambda v: v[0, 0].clone()),
        "sizes that no network has",
    ),
    "a layer of a huge number": (
        SDXL,
        lambda t: t | {FIRST_STAGE + "encoder.down.0.block.987654321.conv1.weight": torch.ones(2)},
        "sizes that no network has .a layer of the number 987654321",
    ),
    "an empty tensor": (SDXL, changed(BIAS, lambda v: v[:0].clone()), "is empty, .0,."),
}


@pytest.mark.parametrize("variant", REFUSED)
def test_it_is_refused_with_a_sentence_that_helps(variant, sdxl, supir, tmp_path):
    kind, change, said = REFUSED[variant]
    save_file(
        {k: v.contiguous() for k, v in change(dict(supir if kind == SUPIR else sdxl)).items()},
        tmp_path / "a.safetensors",
    )
    with pytest.raises(UnsupportedCheckpointError, match=said) as refusal:
        loaded(tmp_path / "a.safetensors", kind)
    assert "ownload it again" not in str(refusal.value) or "half" in variant


def test_a_vae_of_another_family_is_refused(sdxl, tmp_path):
    vae = under(sdxl, FIRST_STAGE) | {"decoder.conv_in.weight": torch.ones(96, 16, 3, 3)}
    save_file(vae, tmp_path / "flux.safetensors")
    with pytest.raises(UnsupportedCheckpointError, match=r"latents of 4 channels, got \(96, 16, 3, 3\).*sdxl_vae"):
        open_vae(tmp_path / "flux.safetensors", None)


def test_a_pickle_from_training_loads(supir, tmp_path):
    save_with_training_state(supir, tmp_path / "last.ckpt")
    assert b"ModelCheckpoint" in (tmp_path / "last.ckpt").read_bytes()
    assert_equal(tmp_path / "last.ckpt", SUPIR, supir, tmp_path)


def zipped_anew(tensors, path, how):
    torch.save(tensors, path.with_suffix(".old"))
    with zipfile.ZipFile(path.with_suffix(".old")) as old, zipfile.ZipFile(path, "w", how) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry))


def test_a_zip_without_compression_loads(supir, tmp_path):
    zipped_anew(supir, tmp_path / "again.ckpt", zipfile.ZIP_STORED)
    assert_equal(tmp_path / "again.ckpt", SUPIR, supir, tmp_path)


def itself():
    content = {"state_dict": None, "a": torch.ones(1)}
    content["state_dict"] = content
    return content


def of_quantised(t):
    key = "model.control_model.time_embed.0.weight"
    return t | {key: torch.quantize_per_tensor(t[key].float(), 0.1, 0, torch.qint8)}


PICKLES = {
    "compressed": (
        lambda t, p: zipped_anew(t, p, zipfile.ZIP_DEFLATED),
        r"zipped anew, with compression.*Unpack it and zip it without compression \(zip -0 -r\)",
    ),
    "code": (
        lambda t, p: torch.save({"state_dict": t, "x": trap(p)}, p),
        r"asks for code to be run, which was refused \(posix.mkdir\)",
    ),
    "whole module": (
        lambda t, p: torch.save(torch.nn.Linear(2, 2), p),
        r"code .* refused \(torch.nn.modules.linear.Linear\)",
    ),
    "damaged pickle": (lambda t, p: flipped(t, p), "a damaged torch file"),
    "a zip of something else": (lambda t, p: zipfile.ZipFile(p, "w").writestr("a.txt", "b"), "a damaged torch file"),
    "holds itself": (lambda t, p: torch.save(itself(), p), "this is a file of unknown content"),
    "numbers for names": (lambda t, p: torch.save(dict(enumerate(t.values())), p), "but one is called 0"),
    "quantised": (lambda t, p: torch.save(of_quantised(t), p), r"time_embed.0.weight is quantised \(qint8\)"),
    "sparse": (lambda t, p: torch.save(t | {"x": torch.eye(3).to_sparse()}, p), "x is no plain tensor"),
    "expanded": (
        lambda t, p: torch.save(t | {"model.control_model.time_embed.0.bias": torch.ones(1).expand(1 << 40)}, p),
        "time_embed.0.bias claims to be .1099511627776,., more numbers than the file has of it",
    ),
    "a list": (lambda t, p: torch.save([1, 2], p), "this is a pickled list"),
    "empty": (lambda t, p: p.write_bytes(b""), "an empty file"),
    "zeros": (lambda t, p: p.write_bytes(bytes(4096)), "a file of zeros, which a download that broke off leaves"),
    "GGUF": (lambda t, p: p.write_bytes(b"GGUF" + bytes(99)), "a GGUF file, quantised for other programs"),
}


def flipped(tensors, path):
    torch.save(tensors, path)
    content = bytearray(path.read_bytes())
    at = content.index(b"model.control_model")
    content[at - 5 : at] = b"\xff" * 5
    path.write_bytes(content)


@pytest.mark.parametrize("variant", PICKLES)
def test_a_pickle_is_refused_in_one_line(variant, supir, tmp_path):
    write, said = PICKLES[variant]
    write(supir, tmp_path / "a.ckpt")
    with pytest.raises(UnsupportedCheckpointError, match=said) as refusal:
        loaded(tmp_path / "a.ckpt", SUPIR)
    assert "\x1b" not in str(refusal.value) and "\n" not in str(refusal.value)
    assert not (tmp_path / "sprung").exists()


def test_what_is_no_file_is_said(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, said in (
        (tmp_path / "pipe", "a device or a pipe"),
        ("/dev/zero", "a device or a pipe"),
        (tmp_path, "a folder"),
    ):
        with pytest.raises(FileNotFoundError, match=f"but it is {said}"):
            open_checkpoint(path)


def test_inspect_names_a_vae(sdxl, tmp_path, capsys):
    save_file(under(sdxl, FIRST_STAGE), tmp_path / "vae.safetensors")
    assert open_checkpoint(tmp_path / "vae.safetensors").kind == VAE
    assert cli.main(["inspect", str(tmp_path / "vae.safetensors")]) == 0
    assert "a VAE, " in capsys.readouterr().out


def test_numpy_is_not_asked(tmp_path):
    """What stands for numpy's number makes none."""
    torch.save({"state_dict": {"a": torch.ones(1)}, "score": np.float64(0.5)}, tmp_path / "a.ckpt")
    assert open_checkpoint(tmp_path / "a.ckpt").shapes == {"a": (1,)}
