"""The text encoders against CLIP written out here, straight from the checkpoint's tensors."""

import logging

import pytest
import torch
import torch.nn.functional as F

from supir_core.files.checkpoint import open_checkpoint
from supir_core.restoration.prompts import full_prompt
from supir_core.sdxl.blocks import timestep_embedding
from supir_core.sdxl.conditioning import SIZE_CONDITION
from supir_core.sdxl.text import CLIP_G, CLIP_L, TokenizerNotFoundError, load_tokenizer

TEXTS = ["a photo of a boat, 32k", "blur"]


@pytest.fixture(scope="module")
def tensors(demo_model):
    checkpoint = open_checkpoint(demo_model.files[0])
    keys = [key for key in checkpoint.shapes if key.startswith("conditioner.")]
    return checkpoint.tensors(keys, torch.float32)


def transformer(x, layers, activation):
    """Pre-norm blocks with a causal mask; gives the output of each."""
    mask = torch.full((x.shape[1], x.shape[1]), float("-inf")).triu(1)
    outputs = [x]
    for layer in layers:
        h = F.layer_norm(x, x.shape[-1:], *layer["norm1"])
        q, k, v = (F.linear(h, weight, bias) for weight, bias in layer["qkv"])
        heads = [t.unflatten(-1, (x.shape[-1] // 64, 64)).transpose(1, 2) for t in (q, k, v)]
        h = F.scaled_dot_product_attention(*heads, attn_mask=mask).transpose(1, 2).flatten(2)
        x = x + F.linear(h, *layer["out"])
        h = activation(F.linear(F.layer_norm(x, x.shape[-1:], *layer["norm2"]), *layer["fc1"]))
        x = x + F.linear(h, *layer["fc2"])
        outputs.append(x)
    return outputs


def pair(tensors, name):
    return tensors[name + ".weight"], tensors[name + ".bias"]


def clip_l(tensors, tokens):
    layers = []
    for i in range(2):
        at = f"{CLIP_L}encoder.layers.{i}."
        layers.append(
            {
                "qkv": [pair(tensors, f"{at}self_attn.{n}_proj") for n in "qkv"],
                "out": pair(tensors, at + "self_attn.out_proj"),
                "norm1": pair(tensors, at + "layer_norm1"),
                "norm2": pair(tensors, at + "layer_norm2"),
                "fc1": pair(tensors, at + "mlp.fc1"),
                "fc2": pair(tensors, at + "mlp.fc2"),
            }
        )
    x = tensors[CLIP_L + "embeddings.token_embedding.weight"][tokens]
    x = x + tensors[CLIP_L + "embeddings.position_embedding.weight"]
    return transformer(x, layers, lambda t: t * torch.sigmoid(1.702 * t))[-2]


def clip_g(tensors, tokens, ends):
    layers = []
    for i in range(2):
        at = f"{CLIP_G}transformer.resblocks.{i}."
        joint = (tensors[at + "attn.in_proj_weight"].chunk(3), tensors[at + "attn.in_proj_bias"].chunk(3))
        layers.append(
            {
                "qkv": list(zip(*joint, strict=True)),
                "out": pair(tensors, at + "attn.out_proj"),
                "norm1": pair(tensors, at + "ln_1"),
                "norm2": pair(tensors, at + "ln_2"),
                "fc1": pair(tensors, at + "mlp.c_fc"),
                "fc2": pair(tensors, at + "mlp.c_proj"),
            }
        )
    x = tensors[CLIP_G + "token_embedding.weight"][tokens] + tensors[CLIP_G + "positional_embedding"]
    outputs = transformer(x, layers, F.gelu)
    last = F.layer_norm(outputs[-1], x.shape[-1:], *pair(tensors, CLIP_G + "ln_final"))
    return outputs[-2], last[torch.arange(len(tokens)), ends] @ tensors[CLIP_G + "text_projection"]


def test_context_and_pooled_text_are_clips(demo_model, tensors):
    tokenizer = demo_model.text.tokenizer
    ids = [tokenizer(text).input_ids for text in TEXTS]
    ends = torch.tensor([len(row) - 1 for row in ids])
    padded_l = torch.tensor([row + [tokenizer.eos_token_id] * (77 - len(row)) for row in ids])
    padded_g = torch.tensor([row + [0] * (77 - len(row)) for row in ids])
    context_g, pooled = clip_g(tensors, padded_g, ends)
    encoded = demo_model.text.encode(TEXTS)
    assert torch.allclose(encoded.context, torch.cat([clip_l(tensors, padded_l), context_g], -1), atol=1e-4)
    width = pooled.shape[1]
    assert torch.allclose(encoded.vector[:, :width], pooled, atol=1e-4)
    sizes = timestep_embedding(torch.tensor(SIZE_CONDITION), 256).flatten()
    assert torch.equal(encoded.vector[1, width:], sizes)


def test_a_batch_of_prompts_equals_them_one_by_one(demo_model):
    both = demo_model.text.encode(TEXTS)
    for i, text in enumerate(TEXTS):
        assert torch.allclose(both.context[i], demo_model.text.encode([text]).context[0], atol=1e-5)


def test_a_prompt_that_is_too_long_is_cut_with_a_warning(demo_model, caplog):
    with caplog.at_level(logging.WARNING):
        encoded = demo_model.text.encode(["photo " * 100])
    assert encoded.context.shape[1] == 77
    assert "the last 25 are cut" in caplog.text


def test_a_missing_tokenizer_says_what_to_download(tmp_path):
    with pytest.raises(TokenizerNotFoundError, match="expected a folder"):
        load_tokenizer(tmp_path / "nowhere")


def test_quality_words_follow_the_caption():
    assert full_prompt("A boat.", "sharp") == "A boat. sharp"
    assert full_prompt(" ", "sharp") == "sharp"
    assert full_prompt("A boat.", "") == "A boat."
