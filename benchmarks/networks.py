"""What the benchmarks run: networks of random weights and full size, the demo's small ones, and photographs.

Full-size weights are made in the precision that they are to have, tensor by tensor. On ``meta`` they are none, so that
operations can be counted without computing anything.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import measure
import torch
from torch import Tensor, nn

from supir_core.command.demo import UNET_CONFIG
from supir_core.files.convert import as_tensor
from supir_core.restoration.denoiser import LinearSchedule
from supir_core.restoration.noise import seeded_noise, start_latent
from supir_core.restoration.tiling import TilePlan, tile_denoiser
from supir_core.sdxl.conditioning import Conditioning
from supir_core.sdxl.unet import UNet
from supir_core.supir.adaptor import Adaptor
from supir_core.supir.denoiser import GuidedDenoiser
from supir_core.supir.sampling import ddpm_sigmas, sample_restore_edm

FULL_KEYS = measure.ROOT / "tests" / "data" / "full_keys.json"
UNET_KEYS = "model.diffusion_model."
CONNECTOR_KEYS = UNET_KEYS + "project_modules."
CONTROL_KEYS = "model.control_model."
META = torch.device("meta")
CFG, STRENGTH = LinearSchedule(4.0, 4.0), LinearSchedule(1.0, 1.0)
TOKENS, INDEX = 77, 958

PHOTOGRAPHS = {"astronaut": "A woman in uniform.", "chelsea": "A cat."}
"""Captions of the photographs of scikit-image that the demo weights never saw."""

Network = TypeVar("Network", bound=nn.Module)


def photograph(name: str) -> Tensor:
    """A photograph as ``(1, 3, H, W)`` in [0, 1]."""
    from skimage import data

    return as_tensor(getattr(data, name)())[0]


def full_shapes(prefix: str = "") -> dict[str, tuple[int, ...]]:
    """Shapes of the published full-size tensors under a prefix, by their key without it."""
    shapes = json.loads(FULL_KEYS.read_text(encoding="utf-8"))
    return {key.removeprefix(prefix): tuple(shape) for key, shape in shapes.items() if key.startswith(prefix)}


def random_tensor(shape: Sequence[int], dtype: torch.dtype, device: torch.device | str = "cpu") -> Tensor:
    """A weight of such a size that features neither grow nor vanish."""
    tensor = torch.empty(tuple(shape), dtype=dtype, device=device)
    if len(shape) < 2:
        return tensor.fill_(0.5)
    return tensor.normal_(std=0.5 * math.prod(shape[1:]) ** -0.5)


def random_state_dict(
    shapes: Mapping[str, Sequence[int]], dtype: torch.dtype, device: torch.device | str = "cpu"
) -> dict[str, Tensor]:
    """Random weights of these shapes."""
    return {key: random_tensor(shape, dtype, device) for key, shape in shapes.items()}


def random_network(make: Callable[[], Network], dtype: torch.dtype, device: torch.device) -> Network:
    """A network of random weights."""
    with META:
        network = make().to(dtype)
    shapes = {key: tensor.shape for key, tensor in network.state_dict().items()}
    network.load_state_dict(random_state_dict(shapes, dtype, device), assign=True)
    return network.eval().requires_grad_(False)


class Inputs(NamedTuple):
    """Of one picture: latents ``(1, 4, side, side)`` in float32, the prompts against and for, and what a network gets of them.

    ``rows`` are two, as under guidance, in the network's precision: z_lq, x, index, context, vector.
    """

    z_lq: Tensor
    x: Tensor
    prompts: tuple[Conditioning, Conditioning]
    rows: tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


def random_inputs(unet: UNet, side: int) -> Inputs:
    """Random inputs for square latents."""
    device = next(unet.parameters()).device
    z_lq, x = torch.randn(2, 1, 4, side, side, device=device)
    context = torch.randn(2, TOKENS, unet.config.context_width, device=device)
    y = torch.randn(2, unet.config.vector_width, device=device)
    negative, positive = (Conditioning(context[[row]], y[[row]]) for row in range(2))
    z2, x2, context, y = (
        tensor.to(unet.dtype) for tensor in (z_lq.repeat(2, 1, 1, 1), x.repeat(2, 1, 1, 1), context, y)
    )
    index = torch.full((2,), INDEX, device=device)
    return Inputs(z_lq, x, (negative, positive), (z2, x2, index, context, y))


class SmallSampling:
    """Sampling in tiles with the demo's networks, untrained."""

    def __init__(self, device: torch.device):
        torch.manual_seed(0)
        self.unet, self.adaptor = UNet(UNET_CONFIG).to(device).eval(), Adaptor(UNET_CONFIG).to(device).eval()
        context = torch.randn(1, TOKENS, UNET_CONFIG.context_width, device=device)
        self.row = Conditioning(context, torch.randn(1, UNET_CONFIG.vector_width, device=device))

    @torch.no_grad()
    def run(self, z_lq: Tensor, plan: TilePlan, steps: int, **how: Any) -> Tensor:
        """Sample some steps in the tiles of a plan, ``how`` as ``tile_denoiser`` knows it."""
        denoiser = GuidedDenoiser(self.unet, self.adaptor, z_lq, [self.row], self.row, CFG, STRENGTH)
        noise, sigmas = seeded_noise([0]), ddpm_sigmas(steps)
        x = start_latent(noise(z_lq), sigmas)
        return sample_restore_edm(tile_denoiser(denoiser, plan, **how), x, sigmas, noise, s_churn=5.0)
