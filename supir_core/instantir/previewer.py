"""The previewer: the same UNet with a low-rank branch beside its layers, and one step to a clean picture.

Huang et al. 2024. The branch is added while the network runs and never merged into its weights, which others
may share.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..sdxl.blocks import Upsample
from ..sdxl.config import UNetConfig
from ..sdxl.schedule import denoised
from ..sdxl.unet import UNet
from .image_attention import ImageAdapter
from .resampler import ResamplerConfig

RANK = 64

UNET_UNTOUCHED = ("input_blocks.0.", "out.", "time_embed.", "label_emb.")
RESAMPLER_TOUCHED = ("proj_in", "proj_out", "to_q", "to_kv", "to_out")

TIMESTEP_SCALING, SIGMA_DATA = 10.0, 0.5
"""Of the consistency model's boundary conditions (Luo et al. 2023, LCM)."""


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

    def added_to(self, weight: Tensor) -> Tensor:
        """The layer's weight plus the branch's product, a new tensor: the same layer and branch in one."""
        product = torch.addmm(
            weight.flatten(1), self.up.weight.flatten(1), self.down.weight.flatten(1), alpha=1 / self.rank
        )
        return product.view_as(weight)

    def cheaper_added(self, weight: Tensor, positions: int) -> bool:
        """Whether adding the product to the weight takes fewer operations than the branch at so many positions.

        With K taps in, N channels out and P positions, r K N against r (K + N) P. In bfloat16 the sum would lose what
        is small beside the weight, so there the branch stays one.
        """
        taps, channels = weight[0].numel(), len(weight)
        few = taps * channels < (taps + channels) * positions
        return few and weight.dtype in (torch.float32, torch.float16)


class LoraLayers(nn.Module):
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
    def applied_to(self, network: nn.Module) -> Iterator[None]:
        """Add the branches to the layers of ``network`` for as long as the body runs; it is then as it was.

        Nothing of it may run elsewhere meanwhile: the layers' ``forward`` is replaced, their weights are not touched.
        """
        replaced: list[nn.Module] = []
        try:
            for path, branch in self.by_path.items():
                layer, add = network.get_submodule(path), _with_branch
                owner = network.get_submodule(path.rpartition(".")[0])
                if isinstance(owner, Upsample):  # which does not call its convolution in every case
                    layer, add = owner, _with_enlarged_branch
                layer.forward = partial(add, layer, layer.forward, branch)
                replaced.append(layer)
            yield
        finally:
            for layer in replaced:
                del layer.forward


class PreviewerLora(nn.Module):
    """The previewer's low-rank branches beside UNet and adapter (release: ``previewer_lora_weights.bin``).

    Args:
        config: sizes of the UNet.
        resampler: sizes of the resampler.
        rank: of all branches, released 64.
        operations: where the layers come from, ``torch.nn`` or the host's namespace of the same form.
    """

    def __init__(self, config: UNetConfig, resampler: ResamplerConfig, rank: int = RANK, operations: Any = nn):
        super().__init__()
        with torch.device("meta"):
            unet, adapter = UNet(config), ImageAdapter(config, resampler)
        self.unet = LoraLayers(lora_targets_unet(unet), rank, operations)
        self.adapter = LoraLayers(lora_targets_adapter(adapter), rank, operations)

    @contextmanager
    def applied_to(self, unet: nn.Module | None = None, adapter: nn.Module | None = None) -> Iterator[None]:
        """Add the branches to a UNet in the layout of single-file checkpoints, an ImageAdapter, or both."""
        with ExitStack() as stack:
            for branches, network in ((self.unet, unet), (self.adapter, adapter)):
                if network is not None:
                    stack.enter_context(branches.applied_to(network))
            yield


def lora_targets_unet(unet: nn.Module) -> dict[str, nn.Module]:
    """The layers of a UNet that have a branch: all but its ends, the embeddings and what reads the text."""
    return {
        path: layer
        for path, layer in unet.named_modules()
        if isinstance(layer, (nn.Linear, nn.Conv2d))
        and not path.startswith(UNET_UNTOUCHED)
        and not path.endswith(("attn2.to_k", "attn2.to_v"))
    }


def lora_targets_adapter(adapter: nn.Module) -> dict[str, nn.Module]:
    """The layers of an adapter that have a branch: all but the resampler's feed-forward layers."""
    return {
        path: layer
        for path, layer in adapter.named_modules()
        if isinstance(layer, nn.Linear) and (path.startswith("ip_adapter.") or path.endswith(RESAMPLER_TOUCHED))
    }


def one_step_preview(eps: Tensor, z: Tensor, sigma: Tensor, timesteps: Tensor) -> Tensor:
    """The previewer's picture from its noise prediction, in one consistency step (Luo et al. 2023, LCM).

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
    return scaled / squares.sqrt() * denoised(z, eps, sigma) + SIGMA_DATA**2 / squares * z


def _put(module: nn.Module, path: str, leaf: nn.Module) -> None:
    """Register ``leaf`` under a dotted path."""
    first, _, rest = path.partition(".")
    if not rest:
        module.add_module(first, leaf)
        return
    if first not in dict(module.named_children()):
        module.add_module(first, nn.Module())
    _put(module.get_submodule(first), rest, leaf)


def _with_branch(layer: nn.Module, forward: Callable[[Tensor], Tensor], branch: LowRank, x: Tensor) -> Tensor:
    """Layer plus branch, in the cheaper order where the layer is PyTorch's own."""
    if type(layer) is nn.Linear and branch.cheaper_added(layer.weight, x.shape[:-1].numel()):
        return F.linear(x, branch.added_to(layer.weight), layer.bias)
    if type(layer) is nn.Conv2d:
        positions = len(x) * x.shape[2] * x.shape[3] // math.prod(layer.stride)
        if branch.cheaper_added(layer.weight, positions):
            weight = branch.added_to(layer.weight)
            return F.conv2d(x, weight, layer.bias, layer.stride, layer.padding)  # type: ignore[arg-type]
    return forward(x) + branch(x)


def _with_enlarged_branch(
    _: nn.Module, forward: Callable[..., Tensor], branch: LowRank, x: Tensor, size: tuple[int, int]
) -> Tensor:
    return forward(x, size) + branch(F.interpolate(x, size=size, mode="nearest"))
