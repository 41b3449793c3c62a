"""The demo weights as sockets: a real restoration on any machine, without downloads."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import comfy.model_management
import comfy.model_patcher
import comfy.sd
import comfy.supported_models
import comfy.utils
import torch
from comfy_api.latest import io

from ..supir_core.command.demo import DAMAGED_FILE, SDXL_FILE, SUPIR_FILE, TOKENIZER_FOLDER, WEIGHTS
from ..supir_core.files.checkpoint import open_checkpoint
from ..supir_core.files.pictures import read_picture
from ..supir_core.sdxl.config import UNetConfig, VAEConfig, without_prefix
from ..supir_core.sdxl.model import FIRST_STAGE, UNET, load_text
from ..supir_core.sdxl.text import TextEncoders, load_tokenizer
from .host import CATEGORY, SupirModelType, to_image
from .loader import load_weights


class DemoClip:
    """The demo's text encoders where ComfyUI expects a CLIP: its own are of fixed sizes."""

    def __init__(self, text: TextEncoders):
        self.text = text

    def __getattr__(self, name: str) -> Any:
        """What a CLIP of ComfyUI has besides."""
        raise AttributeError(
            f"the demo's text encoders only encode, and have no {name}; load an SDXL checkpoint for that"
        )

    def tokenize(self, text: str, **options: Any) -> str:
        """The text without the escapes of ComfyUI's syntax, for ``encode_from_tokens_scheduled``; weights are not read."""
        return re.sub(r"\\([()])", r"\1", text)

    def encode_from_tokens_scheduled(
        self, tokens: str, add_dict: Mapping[str, Any] | None = None, **options: Any
    ) -> list[Any]:
        """A CONDITIONING."""
        (encoded,) = self.text.encode([tokens])
        pooled = encoded.vector[:, : self.text.pooled_width]
        return [[encoded.context, {"pooled_output": pooled, **(add_dict or {})}]]


def demo_model(
    state: Mapping[str, torch.Tensor],
    config: UNetConfig,
    dtype: torch.dtype = torch.float32,
    compute: torch.dtype | None = None,
) -> comfy.model_patcher.ModelPatcher:
    """A UNet of SDXL's form and any size as a MODEL; ComfyUI recognises SDXL by its full size only.

    Args:
        state: its weights.
        config: its sizes.
        dtype: of the weights.
        compute: type to compute in, where it is another.
    """
    sizes = {
        "image_size": 32,
        "in_channels": config.in_channels,
        "out_channels": config.in_channels,
        "model_channels": config.widths[0],
        "channel_mult": [width // config.widths[0] for width in config.widths],
        "num_res_blocks": [2, 2, 2],
        "transformer_depth": [config.input_depths[i] for i in (1, 2, 4, 5, 7, 8)],
        "transformer_depth_output": list(reversed(config.output_depths)),
        "transformer_depth_middle": config.middle_depth,
        "context_dim": config.context_width,
        "adm_in_channels": config.vector_width,
        "num_classes": "sequential",
        "use_linear_in_transformer": True,
        "use_spatial_transformer": True,
        "legacy": False,
        "use_temporal_attention": False,
    }
    model_config = comfy.supported_models.SDXL(sizes)
    model_config.set_inference_dtype(dtype, compute)
    device = comfy.model_management.get_torch_device()
    model = model_config.get_model({}, device=torch.device("cpu"))
    model.diffusion_model.load_state_dict(state)
    return comfy.model_patcher.ModelPatcher(
        model, load_device=device, offload_device=comfy.model_management.unet_offload_device()
    )


def demo_vae(state: Mapping[str, torch.Tensor], config: VAEConfig) -> comfy.sd.VAE:
    """The demo's VAE."""
    sizes = {
        "double_z": True,
        "z_channels": config.latent_channels,
        "resolution": 256,
        "in_channels": 3,
        "out_ch": 3,
        "ch": config.stem,
        "ch_mult": [width // config.stem for width in config.widths],
        "num_res_blocks": config.blocks,
        "attn_resolutions": [],
        "dropout": 0.0,
    }
    return comfy.sd.VAE(
        sd=dict(state),
        config={"params": {"ddconfig": sizes, "embed_dim": config.latent_channels}},
        dtype=torch.float32,
    )


class SupirDemoLoader(io.ComfyNode):
    """Load the demo weights."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SupirDemoLoader",
            display_name="SUPIR Load Demo",
            category=CATEGORY,
            description="The small weights that come with this pack, and a damaged photograph: shows in a minute, on any "
            "machine, how the nodes work together. They are far from the real weights' quality.",
            search_aliases=["supir demo", "example", "tiny model"],
            inputs=[],
            outputs=[
                io.Model.Output(display_name="model", tooltip="A small UNet of SDXL's form."),
                io.Clip.Output(display_name="clip", tooltip="Small text encoders, for SUPIR's nodes."),
                io.Vae.Output(display_name="vae", tooltip="A small VAE of SDXL's form."),
                SupirModelType.Output(display_name="supir_model", tooltip="Small SUPIR weights."),
                io.Image.Output(display_name="image", tooltip="A photograph, damaged and shrunk to a quarter."),
            ],
        )

    @classmethod
    def execute(cls) -> io.NodeOutput:
        base = open_checkpoint(WEIGHTS / SDXL_FILE)
        unet, vae = (base.under(prefix, torch.float32) for prefix in (UNET, FIRST_STAGE))
        text = load_text(base, load_tokenizer(WEIGHTS / TOKENIZER_FOLDER), torch.float32)
        return io.NodeOutput(
            demo_model(unet, UNetConfig.from_shapes(without_prefix(base.shapes, UNET))),
            DemoClip(text),
            demo_vae(vae, VAEConfig.from_shapes(without_prefix(base.shapes, FIRST_STAGE))),
            load_weights(WEIGHTS / SUPIR_FILE, "float32"),
            to_image(read_picture(WEIGHTS / DAMAGED_FILE)),
        )
