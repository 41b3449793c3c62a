"""Small InstantIR weights in the forms of the published files, for the demo UNet."""

import torch

from supir_core.command.demo import UNET_CONFIG
from supir_core.instantir.aggregator import Aggregator
from supir_core.instantir.denoiser import Networks
from supir_core.instantir.image_attention import ImageAdapter
from supir_core.instantir.keys import diffusers_path, lora_name
from supir_core.instantir.previewer import PreviewerLora
from supir_core.instantir.resampler import ResamplerConfig
from supir_core.sdxl.unet import UNet

from .weights import recipe_tensor

FEATURES = 48
RESAMPLER = ResamplerConfig(
    width=64,
    depth=1,
    tokens=4,
    feature_width=FEATURES,
    context_width=UNET_CONFIG.context_width,
    inner=64,
    hidden=128,
)
RANK = 4


def by_recipe(module, name):
    state = {key: recipe_tensor(f"{name}.{key}", t.shape, "small") for key, t in module.state_dict().items()}
    module.load_state_dict(state)
    return module.eval().requires_grad_(False)


def small_networks():
    return Networks(
        unet=by_recipe(UNet(UNET_CONFIG), "unet"),
        adapter=by_recipe(ImageAdapter(UNET_CONFIG, RESAMPLER), "adapter"),
        previewer=by_recipe(PreviewerLora(UNET_CONFIG, RESAMPLER, RANK), "previewer"),
        aggregator=by_recipe(Aggregator(UNET_CONFIG), "aggregator"),
    )


def published_lora(previewer):
    """The state dict of ``previewer_lora_weights.bin``: two ways to write a pair in one file."""
    published = {}
    for key, tensor in previewer.state_dict().items():
        stem, half, _ = lora_name(key, UNET_CONFIG).rsplit(".", 2)
        attention = stem.endswith(("to_q", "to_k", "to_v", "to_out.0"))
        end = f"lora.{half}" if attention else {"down": "lora_A", "up": "lora_B"}[half]
        published[f"{stem}.{end}.weight"] = tensor
    return published


def write_files(folder, networks):
    """Write adapter.pt, aggregator.pt, previewer_lora_weights.bin and a folder with DINOv2; returns their paths."""
    from transformers import Dinov2Config, Dinov2Model

    paths = [folder / name for name in ("adapter.pt", "aggregator.pt", "previewer_lora_weights.bin", "dino")]
    adapter = networks.adapter
    torch.save({part: getattr(adapter, part).state_dict() for part in ("image_proj", "ip_adapter")}, paths[0])
    aggregator = networks.aggregator.state_dict()
    torch.save({diffusers_path(key): tensor for key, tensor in aggregator.items()}, paths[1])
    torch.save(published_lora(networks.previewer), paths[2])
    config = Dinov2Config(
        hidden_size=FEATURES, num_hidden_layers=2, num_attention_heads=3, image_size=518, patch_size=14
    )
    by_recipe(Dinov2Model(config), "dino").save_pretrained(paths[3])
    return paths
