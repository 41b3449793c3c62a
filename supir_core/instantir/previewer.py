"""The previewer: the same UNet with a low-rank branch beside its layers, and one step to a clean picture.

Huang et al. 2024, section 3.2. The branch is added while the network runs and never merged into its weights, which others
may share.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..config import UNetConfig
from ..unet import UNet
from .image_attention import ImageAdapter
from .resampler import ResamplerConfig

RANK = 64

UNET_UNTOUCHED = ("input_blocks.0.", "out.", "time_embed.", "label_emb.")
RESAMPLER_TOUCHED = ("proj_in", "proj_out", "to_q", "to_kv", "to_out")

TIMESTEP_SCALING, SIGMA_DATA = 10.0, 0.5
"""Of the consistency model's boundary conditions (Luo et al. 2023, LCM, section 4.1)."""


class LowRank(nn.Module):
    """A branch beside a linear layer or a convolution: up(down(x)) / rank.

    The division is the released scale, alpha 1 over the rank.
    """

    def __init__(self, base: nn.Module, rank: int, operations: Any = nn):
        super().__init__()
        self.rank = rank
        if isinstance(base, nn.Conv2d):
            # the branch strides and pads as the layer does
            like = {"stride": base.stride, "padding": base.padding, "bias": False}
            self.down = operations.Conv2d(base.in_channels, rank, base.kernel_size, **like)
            self.up = operations.Conv2d(rank, base.out_channels, 1, bias=False)
        elif isinstance(base, nn.Linear):
            self.down = operations.Linear(base.in_features, rank, bias=False)
            self.up = operations.Linear(rank, base.out_features, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.up(self.down(x)) / self.rank


class Branches(nn.Module):
    """Low-rank branches of one network, each under the path of the layer that it stands beside."""

    def __init__(self, bases: Mapping[str, nn.Module], rank: int, operations: Any = nn):
        super().__init__()
        for path, base in bases.items():
            _put(self, path, LowRank(base, rank, operations))

    @property
    def by_path(self) -> dict[str, LowRank]:
        """The branches by the path of their layer."""
        return {path: module for path, module in self.named_modules() if isinstance(module, LowRank)}

    @contextmanager
    def beside(self, network: nn.Module) -> Iterator[None]:
        """Add the branches to the layers of ``network`` for as long as the body runs; it is then as it was."""
        layers = {path: network.get_submodule(path) for path in self.by_path}
        try:
            for path, branch in self.by_path.items():
                layers[path].forward = partial(_branched, layers[path].forward, branch)
            yield
        finally:
            for layer in layers.values():
                layer.__dict__.pop("forward", None)


class PreviewerLora(nn.Module):
    """The previewer's low-rank branches beside UNet and adapter (release: ``previewer_lora_weights.bin``).

    Args:
        config: sizes of the UNet.
        resampler: sizes of the resampler.
        rank: of all branches, released 64.
        operations: where the layers come from, ``torch.nn`` or the host's namespace of the same form.
    """

    def __init__(
        self, config: UNetConfig, resampler: ResamplerConfig, rank: int = RANK, operations: Any = nn
    ):
        super().__init__()
        with torch.device("meta"):
            unet, adapter = UNet(config), ImageAdapter(config, resampler)
        self.unet = Branches(touched_in_unet(unet), rank, operations)
        self.adapter = Branches(touched_in_adapter(adapter), rank, operations)

    @contextmanager
    def beside(self, unet: nn.Module | None = None, adapter: nn.Module | None = None) -> Iterator[None]:
        """Add the branches to a UNet in the layout of single-file checkpoints, an ImageAdapter, or both."""
        with ExitStack() as stack:
            for branches, network in ((self.unet, unet), (self.adapter, adapter)):
                if network is not None:
                    stack.enter_context(branches.beside(network))
            yield


def touched_in_unet(unet: nn.Module) -> dict[str, nn.Module]:
    """The layers of a UNet that have a branch: all but its ends, the embeddings and what reads the text."""
    return {
        path: layer
        for path, layer in unet.named_modules()
        if isinstance(layer, (nn.Linear, nn.Conv2d))
        and not path.startswith(UNET_UNTOUCHED)
        and not path.endswith(("attn2.to_k", "attn2.to_v"))
    }


def touched_in_adapter(adapter: nn.Module) -> dict[str, nn.Module]:
    """The layers of an adapter that have a branch: all but the resampler's feed-forward layers."""
    return {
        path: layer
        for path, layer in adapter.named_modules()
        if isinstance(layer, nn.Linear)
        and (path.startswith("ip_adapter.") or path.endswith(RESAMPLER_TOUCHED))
    }


def one_step_preview(eps: Tensor, z: Tensor, sigma: Tensor, timesteps: Tensor) -> Tensor:
    """The previewer's picture from its noise prediction, in one consistency step (Luo et al. 2023, LCM, Eq. 9).

    ::

        x0      = (z - sqrt(1 - abar) * eps) / sqrt(abar) = sqrt(1 + sigma^2) * z - sigma * eps
        s       = 10 * t
        preview = s / sqrt(s^2 + 0.25) * x0 + 0.25 / (s^2 + 0.25) * z

    Args:
        eps: predicted noise, ``(R, 4, h, w)``.
        z: noisy latent as the UNet gets it, of the same shape.
        sigma: noise level of each row, sqrt((1 - abar) / abar), ``(R,)``.
        timesteps: training timestep of each row, ``(R,)``.

    Returns:
        The preview, float32: the step multiplies the error of ``eps`` by sigma, so it must not be rounded.
    """
    eps, z = eps.float(), z.float()
    sigma, t = (value.float()[:, None, None, None] for value in (sigma, timesteps))
    scaled = TIMESTEP_SCALING * t
    squares = scaled**2 + SIGMA_DATA**2
    x0 = (1 + sigma**2).sqrt() * z - sigma * eps
    return scaled / squares.sqrt() * x0 + SIGMA_DATA**2 / squares * z


def _put(module: nn.Module, path: str, leaf: nn.Module) -> None:
    """Register ``leaf`` under a dotted path."""
    first, _, rest = path.partition(".")
    if not rest:
        module.add_module(first, leaf)
        return
    if first not in dict(module.named_children()):
        module.add_module(first, nn.Module())
    _put(module.get_submodule(first), rest, leaf)


def _branched(forward: Any, branch: LowRank, x: Tensor) -> Tensor:
    return forward(x) + branch(x)
