"""Captioners of a few thousand random weights, with tokenizers made on the spot, in folders as the hub has them."""

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextImageProcessor,
    LlavaNextProcessor,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLImageProcessor,
    Qwen2VLProcessor,
    Qwen2VLVideoProcessor,
)

WORDS = [
    "describe",
    "this",
    "image",
    "and",
    "its",
    "style",
    "in",
    "a",
    "very",
    "detailed",
    "manner",
    "boat",
    "harbour",
    "sky",
    "sea",
    "red",
    "green",
    "blue",
    "grey",
    "dog",
    "cat",
    "bird",
    "house",
    "street",
    "tree",
    "hill",
    "cloud",
    "lamp",
    "window",
    "door",
    "old",
    "young",
    "man",
    "woman",
    "child",
    "stands",
    "lies",
    "runs",
    "near",
    "under",
    "above",
    "with",
    "of",
]
IMAGE = "<image>"
LLAVA_TEMPLATE = (
    "{% for m in messages %}USER: {% for c in m['content'] %}{% if c['type'] == 'image' %}<image>\n{% else %}"
    "{{ c['text'] }}{% endif %}{% endfor %}{% endfor %} ASSISTANT:"
)
QWEN_TEMPLATE = (
    "{% for m in messages %}<s>{% for c in m['content'] %}{% if c['type'] == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ c['text'] }}{% endif %}{% endfor %}</s>{% endfor %}"
)
QWEN_TOKENS = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")


def make_tokenizer(*special):
    """A word is a token."""
    names = ["<unk>", "<pad>", "<s>", "</s>", *special, *WORDS]
    tokenizer = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        additional_special_tokens=list(special),
        model_input_names=["input_ids", "attention_mask"],
    )


def text_sizes(tokenizer, **more):
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": 64,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "max_position_embeddings": 2048,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "initializer_range": 0.3,
        **more,
    }


def make_llava(folder, **sizes):
    """LLaVA 1.5; sizes of the language model decide how much memory it takes."""
    torch.manual_seed(0)
    tokenizer = make_tokenizer(IMAGE)
    config = LlavaConfig(
        vision_config=clip_sizes(),
        text_config=LlamaConfig(**text_sizes(tokenizer, **sizes)),
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE),
        image_seq_length=4,
    )
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    image_processor = CLIPImageProcessor(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})
    LlavaProcessor(image_processor, tokenizer, **llava_options()).save_pretrained(folder)
    return folder


def make_llava_next(folder):
    """LLaVA 1.6: larger pictures are seen in parts, so prompts have several lengths."""
    torch.manual_seed(0)
    tokenizer = make_tokenizer(IMAGE)
    grid = [[28, 56], [56, 28], [56, 56]]
    config = LlavaNextConfig(
        vision_config=clip_sizes(),
        text_config=LlamaConfig(**text_sizes(tokenizer)),
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE),
        image_seq_length=4,
        image_grid_pinpoints=grid,
    )
    LlavaNextForConditionalGeneration(config).save_pretrained(folder)
    image_processor = LlavaNextImageProcessor(
        size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}, image_grid_pinpoints=grid
    )
    LlavaNextProcessor(image_processor, tokenizer, **llava_options()).save_pretrained(folder)
    return folder


def clip_sizes():
    return CLIPVisionConfig(
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=28,
        patch_size=14,
        initializer_range=0.3,
    )


def llava_options():
    return {
        "patch_size": 14,
        "vision_feature_select_strategy": "default",
        "num_additional_image_tokens": 1,
        "chat_template": LLAVA_TEMPLATE,
    }


def make_qwen(folder):
    """Qwen2-VL, another family: as many tokens as the picture has patches."""
    torch.manual_seed(0)
    tokenizer = make_tokenizer(*QWEN_TOKENS)
    start, end, image, video = tokenizer.convert_tokens_to_ids(list(QWEN_TOKENS))
    rope = {"type": "mrope", "rope_type": "default", "mrope_section": [4, 6, 6], "rope_theta": 10000.0}
    config = Qwen2VLConfig(
        text_config=text_sizes(tokenizer, rope_parameters=rope),
        vision_config={"depth": 2, "embed_dim": 64, "hidden_size": 64, "num_heads": 2, "patch_size": 14},
        image_token_id=image,
        video_token_id=video,
        vision_start_token_id=start,
        vision_end_token_id=end,
    )
    Qwen2VLForConditionalGeneration(config).save_pretrained(folder)
    pixels = {"min_pixels": 28 * 28, "max_pixels": 4 * 28 * 28}
    Qwen2VLProcessor(
        Qwen2VLImageProcessor(**pixels), tokenizer, Qwen2VLVideoProcessor(), chat_template=QWEN_TEMPLATE
    ).save_pretrained(folder)
    return folder


MAKERS = {"llava": make_llava, "llava_next": make_llava_next, "qwen": make_qwen}
