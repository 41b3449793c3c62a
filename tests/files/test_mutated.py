"""Hundreds of damaged, altered and hostile checkpoints: each is refused in words, or gives the weights that it had."""

import time

import pytest
import torch
from safetensors.torch import save_file

from supir_core.files.checkpoint import UnsupportedCheckpointError, open_checkpoint
from supir_core.files.kinds import SDXL, VAE
from supir_core.sdxl.config import UNetConfig, VAEConfig
from supir_core.sdxl.model import load_unet, load_vae, open_vae
from supir_core.sdxl.unet import UNet
from supir_core.sdxl.vae import VAE as VAENetwork

from .mutations import mutations

SECONDS = 5
LEAST = 250
SMALL_VAE = VAEConfig(widths=(32, 32), blocks=1, latent_channels=4, stem=32)
SMALL_UNET = UNetConfig(4, (32, 32, 32), 16, 16, (0,) * 9, 0, (0,) * 9)


def weights_of(module, prefix):
    """Random weights of a network, as trained ones are: no zeros."""
    return {prefix + key: torch.randn(value.shape).mul(0.05).half() for key, value in module.state_dict().items()}


def vae_file():
    return weights_of(VAENetwork(SMALL_VAE), "first_stage_model.")


def sdxl_file():
    text = (
        "conditioner.embedders.0.transformer.text_model.final_layer_norm.bias",
        "conditioner.embedders.1.model.ln_final.bias",
    )
    return weights_of(UNet(SMALL_UNET), "model.diffusion_model.") | {key: torch.ones(8) for key in text}


def load_base(path):
    return list(load_unet(open_checkpoint(path, SDXL)).state_dict().values())


def load_autoencoder(path):
    return list(load_vae(open_vae(path, None)).state_dict().values())


KINDS = {VAE: (vae_file, load_autoencoder), SDXL: (sdxl_file, load_base)}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
def test_a_mutated_checkpoint_is_refused_or_gives_its_weights(kind, tmp_path):
    make, load = KINDS[kind]
    tensors, path = make(), tmp_path / "file"
    save_file(tensors, path)
    expected = [value.clone() for value in load(path)]  # the file below it is written anew
    refused, accepted = [], []
    for name, content in mutations(tensors, tmp_path):
        assert len(content) < 4_000_000
        path.write_bytes(content)
        start = time.perf_counter()
        try:
            found = load(path)
        except UnsupportedCheckpointError as error:
            assert "\n" not in str(error) and "\x1b" not in str(error), (name, str(error))
            refused.append(name)
        else:
            assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True)), name
            accepted.append(name)
        assert time.perf_counter() - start < SECONDS, name
    assert not (tmp_path / "sprung").exists()
    assert len(refused) + len(accepted) >= LEAST
    assert {"more", "averaged", "wrapped", "zip whole", "old whole", "zip stored"} <= set(accepted)
