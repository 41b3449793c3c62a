"""What a run is said to cost is what is counted on the full-size networks."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from supir_core.command.costs import Load, cost_of
from supir_core.instantir.settings import InstantSettings
from supir_core.restoration.denoiser import LinearSchedule
from supir_core.sdxl.blocks import TextContext
from supir_core.sdxl.config import LATENT_PIXELS
from supir_core.sdxl.model import UNET
from supir_core.sdxl.unet import UNet
from supir_core.sdxl.vae import VAE, Encoder
from supir_core.supir.adaptor import Adaptor
from supir_core.supir.settings import preset

from ..full_size import VAE_CONFIG, unet_config

SIDE = 640  # none of the sizes to which the formula was fitted


def counted(work):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        work()
    return counter.get_total_flops() / 1e12


def guided_call():
    with torch.device("meta"):
        unet, adaptor = UNet(unet_config(UNET)), Adaptor(unet_config("model.control_model."))
        latent = torch.empty(2, 4, SIDE // LATENT_PIXELS, SIDE // LATENT_PIXELS)
        index, y = torch.empty(2, dtype=torch.long), torch.empty(2, unet.config.vector_width)
        text = TextContext(torch.empty(2, 77, unet.config.context_width))

    def work():
        unet(latent, index, text, y, adaptor(latent, latent, index, text, y, strength=1.0))

    work()  # reads the text
    return counted(work)


def vae_passes():
    with torch.device("meta"):
        vae, encoder = VAE(VAE_CONFIG).eval(), Encoder(VAE_CONFIG).eval()
        picture = torch.empty(1, 3, SIDE, SIDE)
    return counted(lambda: (vae.decode(vae.encode(picture, encoder)), vae.decode(vae.encode(picture))))


def test_operations_are_those_that_are_counted():
    cost = cost_of([Load((SIDE, SIDE), 3, 10, 20.0)] * 2, preset("quality"))
    assert cost.sampling == pytest.approx(6 * guided_call(), rel=1e-3)
    assert cost.vae == pytest.approx(2 * vae_passes(), rel=1e-3)
    assert (cost.read, cost.written) == (20, 40.0)
    assert cost.hours("A100") == pytest.approx((cost.sampling + cost.vae) / 312 / 0.4 / 3600)


def test_tiles_are_counted_by_their_own_size_and_without_cfg_half():
    large, calls = preset("quality", tile=512), 7
    tiled = cost_of([Load((1024, 2048), calls, 0, 0)], large)
    assert tiled.sampling == pytest.approx(cost_of([Load((512, 512), calls, 0, 0)], large).sampling)
    plain = cost_of([Load((512, 512), calls, 0, 0)], preset("quality", cfg=LinearSchedule(1.0, 1.0)))
    assert plain.sampling == pytest.approx(tiled.sampling / 2)


def test_a_step_of_instantir_is_what_was_counted_of_it():
    cost = cost_of([Load((1024, 1024), 1, 0, 0)], InstantSettings())
    assert cost.sampling == pytest.approx(39.14, rel=2e-3)  # benchmarks/README.md
