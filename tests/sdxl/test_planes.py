"""Feature maps are kept where there is room: on the device, in main memory, in files."""

import logging
import shutil
from collections import namedtuple

import pytest
import torch

from supir_core.sdxl import large_vae, planes
from supir_core.sdxl.config import VAEConfig
from supir_core.sdxl.memory import MemoryFullError
from supir_core.sdxl.planes import FilePlane, HostPlane, Room, StoredPlane
from supir_core.sdxl.vae import VAE

from ..simulated_gpu import simulated_gpu

GIB = 2**30
CONFIG = VAEConfig(widths=(32, 64, 64), blocks=1, latent_channels=4, stem=32)
ON_GPU, ON_CPU = {"cuda": 99 * GIB, "cpu": 99 * GIB}, {"cuda": 0, "cpu": 99 * GIB}
NOWHERE = {"cuda": 0, "cpu": 0}


@pytest.fixture(scope="module")
def vae():
    torch.manual_seed(0)
    return VAE(CONFIG).eval().requires_grad_(False)


def room(free):
    return Room(work=1, free=lambda device: free[device.type])


@pytest.mark.parametrize(("free", "kind"), [(ON_GPU, StoredPlane), (ON_CPU, HostPlane), (NOWHERE, FilePlane)])
def test_a_plane_goes_where_there_is_room(free, kind):
    with simulated_gpu():
        like = torch.rand(1, 32, 4, 5).to("cuda")
        plane = room(free).plane((1, 32, 8, 5), like)
        assert type(plane) is kind
        plane.write(0, like)
        plane.write(4, like * 2)
        plane.ahead(2, 6)
        assert torch.equal(plane.read(2, 6).cpu(), torch.cat([like[:, :, 2:], like[:, :, :2] * 2], dim=2).cpu())


@pytest.mark.parametrize("free", [ON_GPU, ON_CPU, NOWHERE])
def test_bands_on_a_gpu_give_what_the_cpu_gives(vae, free):
    image = torch.rand(2, 3, 48, 40) * 2 - 1
    whole, picture = vae.encoder(image), vae.decoder(vae.post_quant_conv(vae.encode(image)))
    latent = vae.post_quant_conv(vae.encode(image))
    with simulated_gpu() as gpu:
        there = VAE(CONFIG).requires_grad_(False)
        there.load_state_dict(vae.state_dict())
        there.to("cuda")
        count = {"free": lambda device: free[device.type]}
        image, latent = image.to("cuda"), latent.to("cuda")
        gpu.waits.clear()
        encoded = large_vae.run_encoder(there.encoder, image, 16, **count)
        decoded = large_vae.run_decoder(there.decoder, latent, 16, **count)
        if free is ON_GPU:
            assert sum(gpu.waits.values()) == 0, gpu.waits
        encoded, decoded = encoded.cpu(), decoded.cpu()
    assert torch.allclose(encoded, whole, atol=1e-5 * whole.abs().max())
    assert torch.allclose(decoded, picture, atol=2e-5 * picture.abs().max())


def test_no_room_anywhere_is_said_before_anything_is_written(monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: namedtuple("Usage", "total used free")(9, 9, 0))
    with pytest.raises(MemoryFullError, match="set TMPDIR to a folder on a disk with room"):
        Room(1, free=lambda device: 0).plane((1, 32, 8, 8), torch.rand(1, 32, 8, 8))


def test_one_piece_that_does_not_fit_after_all_goes_on_in_bands(vae, monkeypatch, caplog):
    image = torch.rand(1, 3, 48, 40) * 2 - 1
    whole = vae.encoder(image)

    class Full(torch.nn.Module):
        def __getattr__(self, name):
            return getattr(vae.encoder, name)

        def forward(self, x):
            raise torch.OutOfMemoryError("CUDA out of memory")

    with caplog.at_level(logging.WARNING):
        encoded = large_vae.run_encoder(Full(), image, free=lambda device: 99 * GIB)
    assert torch.allclose(encoded, whole, atol=1e-5 * whole.abs().max())
    assert "goes on in bands" in caplog.text


def test_other_errors_are_not_taken_for_a_full_memory(vae):
    with pytest.raises(RuntimeError, match="expected input"):
        large_vae.run_encoder(vae.encoder, torch.rand(1, 5, 48, 40), free=lambda device: 99 * GIB)
    assert planes.HOST_RESERVE
