"""The models that ``supir download`` fetches: where each file is on the hub, and where it goes."""

from __future__ import annotations

from typing import NamedTuple

NON_COMMERCIAL = "for non-commercial use only, under the terms of its authors"

TOKENIZER_FOLDER, DINO_FOLDER = "tokenizer", "dinov2-large"
"""Folders that ``supir restore`` finds by itself where they lie beside the weights."""


class Source(NamedTuple):
    """Files of a repository, and where they go: below a place that is empty or ends in / under their own names.

    Attributes:
        repository: on the hub.
        pattern: of the files in it; ``*`` stays within a folder.
        place: in a folder of one's own.
        comfyui: in the ``models`` folder of ComfyUI; ``None`` where ComfyUI brings it itself.
    """

    repository: str
    pattern: str
    place: str
    comfyui: str | None


class Model(NamedTuple):
    """What it is for, its files, and a word on its licence where it forbids something."""

    text: str
    sources: tuple[Source, ...]
    licence: str = ""


def _supir(letter: str, damage: str) -> Model:
    file = f"SUPIR-v0{letter}_fp16.safetensors"
    source = Source("Kijai/SUPIR_pruned", file, "", "model_patches/")
    return Model(f"SUPIR-v0{letter}, for {damage} damage", (source,), NON_COMMERCIAL)


MODELS = {
    "sdxl": Model(
        "SDXL 1.0, which SUPIR and InstantIR work with",
        (
            Source("stabilityai/stable-diffusion-xl-base-1.0", "sd_xl_base_1.0_0.9vae.safetensors", "", "checkpoints/"),
            Source("openai/clip-vit-large-patch14", "vocab.json", f"{TOKENIZER_FOLDER}/", None),
            Source("openai/clip-vit-large-patch14", "merges.txt", f"{TOKENIZER_FOLDER}/", None),
        ),
    ),
    "supir-v0q": _supir("Q", "heavy"),
    "supir-v0f": _supir("F", "light"),
    "instantir": Model(
        "InstantIR; it needs dinov2 too",
        tuple(
            # ComfyUI offers no .bin for download, so the workflows name it .pt
            Source("InstantX/InstantIR", f"models/{name}", "", f"model_patches/{name.replace('.bin', '.pt')}")
            for name in ("adapter.pt", "aggregator.pt", "previewer_lora_weights.bin")
        ),
    ),
    "dinov2": Model(
        "DINOv2-L, by which InstantIR sees the picture",
        (
            Source("facebook/dinov2-large", "config.json", f"{DINO_FOLDER}/", None),
            Source(
                "facebook/dinov2-large",
                "model.safetensors",
                f"{DINO_FOLDER}/",
                "clip_vision/model.safetensors",
            ),
        ),
    ),
    "llava": Model(
        "LLaVA 1.5 13B, which writes captions",
        tuple(
            Source("llava-hf/llava-1.5-13b-hf", pattern, "llava-1.5-13b-hf/", "LLM/llava-1.5-13b-hf/")
            for pattern in ("*.safetensors", "*.json", "*.model", "*.jinja")
        ),
    ),
}
"""By the names that people type."""
