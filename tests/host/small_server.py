"""A base folder with small weights of both methods and a small captioner, and the bundled workflows made to run in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..small_instantir import FEATURES, small_networks, write_files
from ..tiny_captioners import make_llava
from ..tiny_upscaler import save_upscaler
from .demo_prompt import with_demo_weights
from .server import make_base

CAPTIONER = "tiny"

TINY_DINO = f"""
import comfy.clip_vision
import comfy.utils


class TinyDino:
    INPUT_TYPES = classmethod(lambda cls: {{"required": {{"clip_name": ("STRING", {{}})}}}})
    RETURN_TYPES, FUNCTION, CATEGORY = ("CLIP_VISION",), "load", "test"

    def load(self, clip_name):
        sizes = {{"model_type": "dinov2", "hidden_size": {FEATURES}, "num_hidden_layers": 2, "num_attention_heads": 3}}
        model = comfy.clip_vision.ClipVisionModel(
            {{**sizes, "layer_norm_eps": 1e-6, "use_swiglu_ffn": False, "image_size": 518}}
        )
        model.load_sd(comfy.utils.load_torch_file(clip_name))
        return (model,)


NODE_CLASS_MAPPINGS = {{"TinyDino": TinyDino}}
"""
"""ComfyUI recognises DINOv2 by its full size only."""


def make_small_base(base: Path, comfyui: Path) -> None:
    """Lay out a base folder with InstantIR's files, an upscaler, a captioner, and a node that loads the small DINOv2."""
    make_base(base, comfyui)
    for folder in ("model_patches", "upscale_models"):
        (base / "models" / folder).mkdir(parents=True)
    write_files(base / "models" / "model_patches", small_networks())
    save_upscaler(base / "models" / "upscale_models" / "RealESRGAN_x4plus.pth")
    make_llava(base / "models" / "LLM" / CAPTIONER)
    (base / "custom_nodes" / "tiny_dino.py").write_text(TINY_DINO)


def with_small_weights(
    prompt: Mapping[str, Any], base: Path, changes: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, Any]:
    """The prompt with the demo's weights and photograph, and the small files of a base folder; see ``with_demo_weights``."""
    dino = base / "models" / "model_patches" / "dino" / "model.safetensors"
    small = {
        "CLIPVisionLoader": {"clip_name": str(dino)},
        "UpscaleModelLoader": {"model_name": "RealESRGAN_x4plus.pth"},
        "SupirCaptioner": {"model": CAPTIONER, "precision": "auto"},
        "SupirCaption": {"max_tokens": 8},
        "SupirCaptionTiles": {"max_tokens": 8},
    }
    nodes = with_demo_weights(prompt, {**small, **(changes or {})})
    for node in nodes.values():
        if node["class_type"] == "CLIPVisionLoader":
            node["class_type"] = "TinyDino"
    return nodes
