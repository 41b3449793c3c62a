"""Properties of UNet, adaptor and connectors."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from supir_core.command.demo import UNET_CONFIG
from supir_core.sdxl.blocks import attention
from supir_core.sdxl.config import UNetConfig, VAEConfig, without_prefix
from supir_core.sdxl.unet import UNet
from supir_core.sdxl.vae import VAE, Encoder
from supir_core.supir.adaptor import Adaptor
from supir_core.supir.connectors import ZeroCrossAttn, ZeroSFT

FULL_KEYS = Path(__file__).parents[1] / "data" / "full_keys.json"


@pytest.fixture(scope="module")
def networks():
    torch.manual_seed(0)
    return UNet(UNET_CONFIG).eval(), Adaptor(UNET_CONFIG).eval()


def inputs(height=16, width=16, rows=2):
    return (
        torch.randn(rows, 4, height, width),
        torch.randint(1000, (rows,)),
        torch.randn(rows, 77, UNET_CONFIG.context_width),
        torch.randn(rows, UNET_CONFIG.vector_width),
    )


@torch.no_grad()
def test_strength_zero_is_the_plain_unet(networks):
    unet, adaptor = networks
    x, t, context, y = inputs()
    fusion = adaptor(torch.randn_like(x), x, t, context, y, 0.0)
    # lerp at 0 is exact, so nothing but the connectors' path may differ
    assert torch.equal(unet(x, t, context, y, fusion), unet(x, t, context, y))


@torch.no_grad()
def test_the_adaptor_changes_the_prediction(networks):
    unet, adaptor = networks
    x, t, context, y = inputs()
    plain = unet(x, t, context, y)
    for strength in (0.5, 1.0):
        fusion = adaptor(torch.randn_like(x), x, t, context, y, strength)
        assert (unet(x, t, context, y, fusion) - plain).abs().mean() > 0.1 * plain.abs().mean()


@torch.no_grad()
@pytest.mark.parametrize("size", [(17, 19), (8, 30), (1, 5)])
def test_any_latent_size_goes_through(networks, size):
    unet, adaptor = networks
    x, t, context, y = inputs(*size)
    fusion = adaptor(torch.randn_like(x), x, t, context, y, 1.0)
    assert unet(x, t, context, y, fusion).shape == x.shape


@torch.no_grad()
def test_a_zeroed_sft_is_its_group_norm():
    sft = ZeroSFT(32, 32, 64)
    for module in (sft.zero_conv, sft.zero_mul, sft.zero_add):
        torch.nn.init.zeros_(module.weight)
        torch.nn.init.zeros_(module.bias)
    control, skip, decoder = (torch.randn(1, c, 6, 6) for c in (32, 32, 64))
    joined = torch.cat([decoder, skip], dim=1)
    assert torch.allclose(sft(control, skip, decoder, 1.0), sft.param_free_norm(joined))


@torch.no_grad()
def test_cross_attention_reads_a_context_of_another_size():
    cross = ZeroCrossAttn(64, 32)
    assert cross(torch.randn(1, 64, 8, 8), torch.randn(1, 32, 4, 4), 0.5).shape == (1, 64, 8, 8)


@torch.no_grad()
def test_an_adaptor_trimmed_to_half_its_blocks_fits_the_same_unet(networks):
    unet, _ = networks
    trimmed = replace(UNET_CONFIG, input_depths=(0, 0, 0, 0, 0, 1, 0, 0, 1), middle_depth=1)
    adaptor = Adaptor(trimmed)
    shapes = {k: tuple(v.shape) for k, v in adaptor.control_model.state_dict().items()}
    assert UNetConfig.from_shapes(shapes) == replace(trimmed, output_depths=())
    x, t, context, y = inputs()
    assert unet(x, t, context, y, adaptor(x, x, t, context, y, 1.0)).shape == x.shape


def test_the_full_size_keys_are_those_of_the_release():
    shapes = {key: tuple(shape) for key, shape in json.loads(FULL_KEYS.read_text()).items()}
    unet = without_prefix(shapes, "model.diffusion_model.")
    control = without_prefix(shapes, "model.control_model.")
    first_stage = without_prefix(shapes, "first_stage_model.")
    with torch.device("meta"):
        adaptor = Adaptor(UNetConfig.from_shapes(control))
        modules = {
            "model.diffusion_model.": UNet(UNetConfig.from_shapes(unet)),
            "model.diffusion_model.project_modules.": adaptor.project_modules,
            "model.control_model.": adaptor.control_model,
            "first_stage_model.": VAE(VAEConfig.from_shapes(first_stage)),
            "first_stage_model.denoise_encoder.": Encoder(VAEConfig.from_shapes(first_stage, "denoise_encoder")),
        }
    ours = {
        prefix + key: tuple(tensor.shape)
        for prefix, module in modules.items()
        for key, tensor in module.state_dict().items()
    }
    assert ours == shapes


def test_the_seams_reach_every_layer():
    made, called = [], []

    class Operations:
        def __getattr__(self, name):
            made.append(name)
            return getattr(torch.nn, name)

    def counting(*args):
        called.append(1)
        return attention(*args)

    unet = UNet(UNET_CONFIG, Operations(), counting)
    adaptor = Adaptor(UNET_CONFIG, Operations(), counting)
    VAE(VAEConfig((32, 64), 1, 4, 32), Operations(), counting)
    layers = [
        m
        for net in (unet, adaptor)
        for m in net.modules()
        if isinstance(m, (torch.nn.Linear, torch.nn.Conv2d, torch.nn.GroupNorm, torch.nn.LayerNorm))
    ]
    assert len(made) > len(layers)
    with torch.no_grad():
        x, t, context, y = inputs()
        unet(x, t, context, y, adaptor(x, x, t, context, y, 1.0))
    assert len(called) == 2 * (5 + 3) + 2  # two a transformer block, one a ZeroCrossAttn
