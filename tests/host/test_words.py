"""A prompt means the same to ComfyUI's text encoders, through our nodes, and to the library's."""

import pytest
import torch

from supir_core.restoration.prompts import full_prompt
from supir_core.sdxl.text import CLIP_G, CLIP_L, TextEncoders, load_tokenizer, text_state_dict
from supir_core.supir.settings import NEGATIVE_PROMPT, POSITIVE_PROMPT

from ..weights import recipe_state_dict

CLOSE = 1e-5
"""Largest difference of context and pooled text, in float32."""

WIDTH, INNER, LAYERS, VOCABULARY = 64, 128, 3, 49408
PROMPTS = {
    "plain": "a photo of a boat",
    "empty": "",
    "brackets": "(a boat:1.4), ((sharp)) [old] {red|blue} \\(left\\) back\\slash \\\\(",
    "quotes": "\u201cHello\u201d, said the sailor\u2019s dog \u2026 it&#39;s &quot;fine&quot; &amp;amp; \ufb01ne",
    "emoji": "\U0001f600 a boat \u26f5\ufe0f in \u6771\u4eac, Stra\u00dfe \u00c5land e\u0301t\u00e9",
    "mojibake": "l\u00c3\u00a9on \u00e2\u20ac\u0153quoted\u00e2\u20ac\u009d",
    "control tokens": "a sign that says <|endoftext|> and <|startoftext|> twice",
    "an embedding": "embedding:nowhere a boat embedding:nothing, red",
    "lines": " a boat,\n\n  a dog\t and   a tree ",
    "75 tokens": "boat " * 75,
    "76 tokens": "boat " * 76,
    "200 tokens": "a boat (old), a dog; " * 25,
    "a word over the end of a chunk": "boat " * 73 + "pneumonoultramicroscopicsilicovolcanoconiosis " * 3,
}


@pytest.fixture(scope="module")
def weights():
    shapes = {
        f"{CLIP_L}embeddings.token_embedding.weight": (VOCABULARY, WIDTH),
        f"{CLIP_L}embeddings.position_embedding.weight": (77, WIDTH),
        **norm(f"{CLIP_L}final_layer_norm"),
        f"{CLIP_G}token_embedding.weight": (VOCABULARY, WIDTH),
        f"{CLIP_G}positional_embedding": (77, WIDTH),
        f"{CLIP_G}text_projection": (WIDTH, WIDTH),
        **norm(f"{CLIP_G}ln_final"),
    }
    for i in range(LAYERS):
        at = f"{CLIP_L}encoder.layers.{i}."
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes |= linear(f"{at}self_attn.{name}", WIDTH, WIDTH)
        shapes |= linear(f"{at}mlp.fc1", INNER, WIDTH) | linear(f"{at}mlp.fc2", WIDTH, INNER)
        shapes |= norm(f"{at}layer_norm1") | norm(f"{at}layer_norm2")
        at = f"{CLIP_G}transformer.resblocks.{i}."
        shapes |= {f"{at}attn.in_proj_weight": (3 * WIDTH, WIDTH), f"{at}attn.in_proj_bias": (3 * WIDTH,)}
        shapes |= linear(f"{at}attn.out_proj", WIDTH, WIDTH)
        shapes |= linear(f"{at}mlp.c_fc", INNER, WIDTH) | linear(f"{at}mlp.c_proj", WIDTH, INNER)
        shapes |= norm(f"{at}ln_1") | norm(f"{at}ln_2")
    return recipe_state_dict(shapes)


def linear(name, out, into):
    return {f"{name}.weight": (out, into), f"{name}.bias": (out,)}


def norm(name):
    return {f"{name}.weight": (WIDTH,), f"{name}.bias": (WIDTH,)}


@pytest.fixture(scope="module")
def library(weights, comfyui):
    shapes = {key: tuple(tensor.shape) for key, tensor in weights.items()}
    text = TextEncoders(shapes, load_tokenizer(comfyui / "comfy" / "sd1_tokenizer")).eval()
    text.load_state_dict(text_state_dict(weights, text))
    return text


@pytest.fixture(scope="module")
def clip(weights, pack):
    """ComfyUI's CLIP of an SDXL checkpoint, of the small sizes."""
    import comfy.sd
    import comfy.supported_models

    sizes = {
        "hidden_size": WIDTH,
        "intermediate_size": INNER,
        "num_attention_heads": 1,
        "num_hidden_layers": LAYERS,
        "projection_dim": WIDTH,
    }
    config = comfy.supported_models.SDXL({})
    options = {"dtype": torch.float32, "clip_l_model_config": sizes, "clip_g_model_config": sizes}
    clip = comfy.sd.CLIP(config.clip_target(), model_options=options)
    missing, unexpected = clip.load_sd(config.process_clip_state_dict(dict(weights)), full_model=True)
    assert not unexpected
    unused = ("logit_scale", "clip_l.transformer.text_projection.weight")
    assert [key for key in missing if not key.endswith(unused)] == []
    return clip


def conditions(run, clip, caption, **more):
    words = {"positive_words": POSITIVE_PROMPT, "negative_words": NEGATIVE_PROMPT, "line_per_tile": False}
    return run("SupirConditioning", clip=clip, caption=caption, **words | more)


def difference(conditioning, encoded):
    ((context, extras),) = conditioning
    assert context.shape == encoded.context.shape
    pooled = encoded.vector[:, :WIDTH]
    return max((context - encoded.context).abs().max().item(), (extras["pooled_output"] - pooled).abs().max().item())


@pytest.mark.parametrize("caption", PROMPTS.values(), ids=PROMPTS)
@pytest.mark.parametrize("words", [POSITIVE_PROMPT, ""], ids=["with quality words", "alone"])
def test_a_caption_means_the_same_in_the_node_and_in_the_library(run, clip, library, caption, words):
    positive, negative = conditions(run, clip, caption, positive_words=words)
    ours = library.encode([full_prompt(caption, words), NEGATIVE_PROMPT])
    assert difference(positive, ours[0]) < CLOSE
    assert difference(negative, ours[1]) < CLOSE


def test_weights_act_where_they_are_asked_for(run, clip, library):
    text = "a (boat:1.4) in the harbour"
    (plain,) = library.encode([full_prompt("a boat in the harbour", POSITIVE_PROMPT)])
    positive, _ = conditions(run, clip, text, prompt_weights=True)
    weighed = difference(positive, plain)
    assert weighed > 1e-2
    unweighed, _ = conditions(run, clip, "a (boat:1.0) in the harbour", prompt_weights=True, positive_words="")
    assert difference(unweighed, library.encode(["a boat in the harbour"])[0]) < CLOSE


def test_text_is_mended_with_weights_too(run, clip, library):
    positive, _ = conditions(run, clip, "\u201cboat\u201d &amp; dog", prompt_weights=True, positive_words="")
    assert difference(positive, library.encode(['"boat" & dog'])[0]) < CLOSE
