"""InstantIR at its full size, without weights: keys, shapes and operations."""

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from supir_core.instantir.aggregator import Aggregator, ResidualFusion
from supir_core.instantir.denoiser import attentions
from supir_core.instantir.image_attention import (
    ImageAdapter,
    TextAndImage,
    adapter_site,
    attention_sites,
    modulate,
)
from supir_core.instantir.keys import diffusers_path, lora_name
from supir_core.instantir.previewer import PreviewerLora
from supir_core.instantir.resampler import ResamplerConfig
from supir_core.instantir.sizes import unet_config
from supir_core.sdxl.blocks import TextContext
from supir_core.sdxl.config import UNetConfig, without_prefix
from supir_core.sdxl.unet import UNet

DATA = Path(__file__).parents[1] / "data"
RELEASED = ResamplerConfig(1280, 4, 64, 1024, 2048, 1280, 5120)


@pytest.fixture(scope="module")
def full():
    shapes = json.loads((DATA / "full_keys.json").read_text())
    config = UNetConfig.from_shapes(without_prefix(shapes, "model.diffusion_model."))
    with torch.device("meta"):
        modules = UNet(config), ImageAdapter(config, RELEASED), Aggregator(config)
        previewer = PreviewerLora(config, RELEASED)
    for module in (*modules, previewer):
        module.requires_grad_(False)
    return *modules, previewer


def shapes_of(module, name=lambda key: key):
    return {name(key): list(tensor.shape) for key, tensor in module.state_dict().items()}


@pytest.fixture(scope="module")
def published():
    return json.loads((DATA / "instantir_keys.json").read_text())


def test_the_adapters_keys_are_those_of_the_release(full, published):
    adapter = full[1]
    assert shapes_of(adapter) == published["adapter"]
    shapes = {key: tuple(shape) for key, shape in published["adapter"].items()}
    assert ResamplerConfig.from_shapes(without_prefix(shapes, "image_proj.")) == RELEASED


def test_the_files_tell_which_unet_they_belong_to(full, published):
    aggregator = {key: shape for key, (_, shape) in published["aggregator"].items()}
    branches = (names[0] for names in published["previewer"].values())
    assert unet_config(published["adapter"], aggregator, branches) == full[0].config


def test_the_adapter_counts_the_layers_as_the_release_does(full, published):
    config = full[0].config
    assert len(attention_sites(config)) == len(published["places"])
    for index, (path, (kind, number, depth), width) in published["places"].items():
        place = adapter_site(int(index), config)
        assert (place.path, *place) == (path, kind, number, depth)
        assert full[1].ip_adapter[index].to_k_ip.out_features == width


def test_the_aggregators_keys_are_those_of_the_release(full, published):
    expected = {key: shape for key, (_, shape) in published["aggregator"].items()}
    assert shapes_of(full[2], diffusers_path) == expected
    for theirs, (ours, _) in published["aggregator"].items():
        if not theirs.startswith(("ref_conv_in", "controlnet_")):
            assert diffusers_path(ours) == theirs


def test_the_previewers_keys_are_those_of_the_release(full, published):
    ends = (".lora.down", ".lora_A", ".lora.up", ".lora_B")
    expected = {}
    for down, down_shape, up, up_shape in published["previewer"].values():
        for key, shape, half in ((down, down_shape, "down"), (up, up_shape, "up")):
            stem = key.removesuffix(".weight")
            end = next(end for end in ends if stem.endswith(end))
            expected[f"{stem.removesuffix(end)}.{half}.weight"] = shape
    assert shapes_of(full[3], lambda key: lora_name(key, full[0].config)) == expected
    targets = {f"unet.{t[5:]}" for t in published["previewer"] if t.startswith("unet:")}
    assert {f"unet.{path}" for path in full[3].unet.by_path} == targets


def test_a_step_takes_at_most_2_9_times_the_operations_of_plain_sdxl(full, monkeypatch):
    """At 1024x1024 with guidance, of SDXL as published: its enlargements convolve the doubled pixels."""
    unet, adapter, aggregator, previewer = full
    config = unet.config
    with torch.device("meta"):
        x, t, y = torch.empty(2, 4, 128, 128), torch.empty(2).long(), torch.empty(2, config.vector_width)
        tokens, features = torch.empty(2, 77, config.context_width), torch.empty(2, 257, 1024)
    image = modulate(adapter.read(features), adapter.modulations(unet.embed(t, y)))
    both = TextAndImage(TextContext(tokens), dict(zip(attentions(unet), image, strict=True)))
    unet(x, t, both, y)  # reads the text, once for all steps

    def step():
        with previewer.applied_to(unet):
            preview = unet(x, t, both, y)
        unet(x, t, both, y, ResidualFusion(aggregator(x, preview, t, y)))

    def doubled_pixels(x, weight, bias):
        return F.conv2d(F.interpolate(x, scale_factor=2), weight, bias, padding=1)

    operations = count(step)
    monkeypatch.setattr("supir_core.sdxl.blocks.doubled_conv", doubled_pixels)
    assert operations <= 2.9 * count(lambda: unet(x, t, tokens, y))  # counted: 2.894


def count(function):
    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()
