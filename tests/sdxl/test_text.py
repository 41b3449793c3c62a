"""The text encoders against CLIP written out here, straight from the checkpoint's tensors."""

import copy
import sys

import pytest
import torch
import torch.nn.functional as F

from supir_core.files.checkpoint import UnsupportedCheckpointError, open_checkpoint
from supir_core.restoration.prompts import full_prompt
from supir_core.sdxl import tokens
from supir_core.sdxl.blocks import TextContext, timestep_embedding
from supir_core.sdxl.conditioning import SIZE_CONDITION, Conditioning
from supir_core.sdxl.model import load_text
from supir_core.sdxl.text import CLIP_G, CLIP_L, TokenizerNotFoundError, load_tokenizer
from supir_core.sdxl.tokens import mend, token_chunks

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
    encoded = Conditioning.concatenate(demo_model.text.encode(TEXTS))
    assert torch.allclose(encoded.context, torch.cat([clip_l(tensors, padded_l), context_g], -1), atol=1e-4)
    width = pooled.shape[1]
    assert torch.allclose(encoded.vector[:, :width], pooled, atol=1e-4)
    sizes = timestep_embedding(torch.tensor(SIZE_CONDITION), 256).flatten()
    assert torch.equal(encoded.vector[1, width:], sizes)


def test_a_batch_of_prompts_equals_them_one_by_one(demo_model):
    both = demo_model.text.encode([*TEXTS, "photo " * 100])
    for one, text in zip(both, TEXTS, strict=False):
        (alone,) = demo_model.text.encode([text])
        assert torch.allclose(one.context, alone.context, atol=1e-5)
        assert torch.allclose(one.vector, alone.vector, atol=1e-5)


def test_a_long_prompt_is_read_in_chunks_the_first_of_which_is_pooled(demo_model):
    """As if the chunks were prompts of their own."""
    words = [f"{color} photo" for color in ("high", "low", "old", "ultra")] * 20
    ids = demo_model.text.tokenizer(" ".join(words), add_special_tokens=False).input_ids
    texts = [demo_model.text.tokenizer.decode(ids[start : start + 75]) for start in (0, 75, 150)]
    (whole,) = demo_model.text.encode([" ".join(words)])
    parts = demo_model.text.encode(texts)
    assert len(ids) == 160
    assert torch.allclose(whole.context, torch.cat([part.context for part in parts], dim=1), atol=1e-5)
    assert torch.allclose(whole.vector, parts[0].vector, atol=1e-5)


@pytest.mark.parametrize(("count", "chunks"), [(0, 1), (1, 1), (75, 1), (76, 2), (150, 2), (151, 3)])
def test_a_chunk_has_75_tokens(demo_model, count, chunks):
    (encoded,) = demo_model.text.encode(["photo " * count])
    assert encoded.context.shape[1] == 77 * chunks


def test_conditions_of_different_lengths_go_together(demo_model):
    """What attention takes from a text is the same when the text is repeated."""
    model = demo_model
    short, long = model.encode_texts(["a boat", "photo " * 100])
    x, index = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(0)), torch.tensor([500, 500])
    both = Conditioning.concatenate([short, long])
    with torch.no_grad():
        together = model.unet(x, index, TextContext(both.context), both.vector)
        alone = [
            model.unet(x[[i]], index[[i]], TextContext(one.context), one.vector) for i, one in enumerate((short, long))
        ]
    assert (together - torch.cat(alone)).abs().max() < 1e-5 * together.abs().max()


@pytest.mark.parametrize(
    ("text", "mended"),
    [
        ("\u201cHello\u201d \u2018you\u2019", "\"Hello\" 'you'"),
        ("\ufb01ne co\ufb00ee", "fine coffee"),
        ("Tom &amp; Jerry &lt;3", "Tom & Jerry <3"),
        ("Tom &amp;amp; Jerry", "Tom & Jerry"),
        ("l\u00c3\u00a9on", "l\u00e9on"),
        ("  a\n\tred \u00a0 boat ", "a red boat"),
        ("Stra\u00dfe \U0001f600 \u5c71", "Stra\u00dfe \U0001f600 \u5c71"),
        ("(a [photo:1.2]) embedding:x", "(a [photo:1.2]) embedding:x"),
    ],
)
def test_damaged_text_is_mended(text, mended):
    assert mend(text) == mended


@pytest.mark.parametrize("name", ["endoftext", "startoftext", "ENDOFTEXT"])
def test_the_name_of_a_control_token_is_text(demo_model, name):
    tokenizer = demo_model.text.tokenizer
    (chunk,) = token_chunks(tokenizer, f"a photo <|{name}|> of &lt;|{name}|&gt; a sky")
    spelled = tokenizer(f"a photo <| {name} |> of <| {name} |> a sky", add_special_tokens=False).input_ids
    assert chunk[1:-1] == spelled
    assert not {tokenizer.bos_token_id, tokenizer.eos_token_id} & set(spelled)


def test_without_ftfy_text_stays_and_the_log_says_so_once(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "ftfy", None)
    tokens._tell_that_ftfy_is_missing.cache_clear()
    assert [mend("\u201ca  boat\u201d"), mend("&amp;")] == ["\u201ca boat\u201d", "&"]
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_a_missing_tokenizer_says_what_to_download(tmp_path):
    with pytest.raises(TokenizerNotFoundError, match="expected a folder"):
        load_tokenizer(tmp_path / "nowhere")
    with pytest.raises(TokenizerNotFoundError, match="expected a folder"):
        load_tokenizer(tmp_path)  # transformers makes a tokenizer without words of it


def test_a_tokenizer_of_more_tokens_than_the_encoders_know_is_refused(demo_model):
    tokenizer = copy.deepcopy(demo_model.text.tokenizer)
    tokenizer.add_tokens(["harbour-at-dusk"])
    with pytest.raises(UnsupportedCheckpointError, match="know 856 tokens, but the tokenizer has 857"):
        load_text(open_checkpoint(demo_model.files[0]), tokenizer)


def test_quality_words_follow_the_caption():
    assert full_prompt("A boat.", "sharp") == "A boat. sharp"
    assert full_prompt(" ", "sharp") == "sharp"
    assert full_prompt("A boat.", "") == "A boat."
