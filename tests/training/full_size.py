"""Memory and operations of training at full size, counted tensor by tensor; no weight has a value.

python -m tests.training.full_size      # the tables of docs/training.md
"""

from __future__ import annotations

import sys
import weakref
from typing import NamedTuple

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only
from torch.utils.flop_counter import FlopCounterMode

from supir_core.sdxl.conditioning import Conditioning
from supir_core.sdxl.memory import GIB
from supir_core.sdxl.model import UNET
from supir_core.sdxl.unet import UNet
from supir_core.sdxl.vae import VAE, Encoder
from supir_core.supir.adaptor import Adaptor
from supir_core.training.config import TrainingConfig
from supir_core.training.data import Batch
from supir_core.training.stages import AdaptorStage

from ..full_size import VAE_CONFIG, unet_config

DEVICE = "cpu"
"""Of tensors without values, as gradients need a device that is there. Its autocast leaves norms in bfloat16."""
TEXT = 817_000_000 * 2 / GIB
"""Of the text encoders in bfloat16, which run before the rest and need little room."""

EIGHT_BIT, FULL = 2 * (1 + 4 / 256), 8
"""Bytes of AdamW's state for each weight: two numbers of 8 bits with a scale for each 256 of them, or of float32."""


class Fused(torch.autograd.Function):
    """Attention as fused kernels do it: no scores are kept, but a number for each query."""

    @staticmethod
    def forward(ctx, q, k, v, heads):
        out = torch.empty_like(q)
        ctx.save_for_backward(q, k, v, out, q.new_empty(len(q), heads, q.shape[1], dtype=torch.float32))
        return out

    @staticmethod
    def backward(ctx, grad):
        return *(torch.empty_like(tensor) for tensor in ctx.saved_tensors[:3]), None


class Counter(TorchDispatchMode):
    """Bytes of all tensors on the device that live, and the most of them so far."""

    def __init__(self):
        super().__init__()
        self.now = self.peak = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        tree_map_only(torch.Tensor, self.count, result)
        return result

    def count(self, tensor):
        storage = tensor.untyped_storage()
        if tensor.device.type == DEVICE and getattr(storage, "counted", None) is not self:
            storage.counted = self
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self.free, storage.nbytes())

    def free(self, size):
        self.now -= size


class Texts(torch.nn.Module):
    """In place of the text encoders."""

    def encode(self, texts):
        row = Conditioning(torch.empty(1, 77, 2048, device=DEVICE), torch.empty(1, 2816, device=DEVICE))
        return [row] * len(texts)


class Memory(NamedTuple):
    """GiB of what does not learn, of what learns, of its gradients, and of feature maps at the peak; how many learn."""

    frozen: float
    weights: float
    gradients: float
    work: float
    learnt: int

    def peak(self, state=EIGHT_BIT, processes=1):
        """The most at once on each of some GPUs, over which what learns is spread."""
        learning = self.weights + self.gradients + self.learnt * state / GIB
        gathered = self.weights / 2 if processes > 1 else 0.0  # all weights in bfloat16 while they work
        return self.frozen + learning / processes + gathered + self.work


def attention(q, k, v, heads):
    return Fused.apply(q, k, v, heads)


def adaptor_step(side, checkpointing=True):
    """Memory of a step with one picture, in bfloat16, and its operations."""
    with FakeTensorMode(allow_non_fake_inputs=True), Counter() as counter:
        with torch.device(DEVICE):
            torch.set_default_dtype(torch.bfloat16)
            try:
                unet = UNet(unet_config(UNET), attention=attention)
                vae, encoder = (kind(VAE_CONFIG, attention=attention) for kind in (VAE, Encoder))
            finally:
                torch.set_default_dtype(torch.float32)
            frozen = counter.now
            adaptor = Adaptor(unet_config("model.control_model."), attention=attention)
        weights = counter.now - frozen
        config = TrainingConfig(side=side, precision="bf16", checkpointing=checkpointing)
        stage = AdaptorStage(config, adaptor=adaptor, unet=unet, vae=vae, dr_encoder=encoder, text=Texts())
        for network in (unet, vae, encoder):
            network.requires_grad_(False)
        _step(stage, side)
        gradients = counter.now - frozen - weights
        counter.peak = counter.now
        with FlopCounterMode(display=False) as operations:
            _step(stage, side)
        work = counter.peak - counter.now
        learnt = sum(parameter.numel() for parameter in stage.parameters())
        sizes = (size / GIB for size in (frozen, weights, gradients, work))
        memory = Memory(*sizes, learnt)
        return memory._replace(frozen=memory.frozen + TEXT), operations.get_total_flops()


def _step(stage, side):
    pictures = {name: torch.empty(1, 3, side, side, device=DEVICE) for name in ("clean", "damaged")}
    index, seen = torch.zeros(1, dtype=torch.long, device=DEVICE), torch.ones(1, dtype=torch.bool, device=DEVICE)
    torch.set_autocast_enabled(DEVICE, True)
    torch.set_autocast_dtype(DEVICE, torch.bfloat16)
    torch.set_autocast_cache_enabled(False)
    try:
        loss = stage(Batch(pictures, [""], torch.empty(1, 4, side // 8, side // 8, device=DEVICE), index, seen, step=1))
    finally:
        torch.set_autocast_enabled(DEVICE, False)
        torch.set_autocast_cache_enabled(True)
    loss.backward()


def main():
    for side in (512, 1024):
        for checkpointing in (True, False):
            memory, operations = adaptor_step(side, checkpointing)
            sharded = " ".join(f"{memory.peak(processes=count):.1f}" for count in (2, 4, 8))
            sys.stdout.write(
                f"{side} checkpointing {checkpointing}: {memory}; 8 bit {memory.peak():.1f}, "
                f"full {memory.peak(FULL):.1f}, FSDP over 2, 4, 8 {sharded}; {operations / 1e12:.1f} TFLOP\n"
            )
            sys.stdout.flush()


if __name__ == "__main__":
    main()
