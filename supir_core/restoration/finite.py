"""Numbers that are none: found where a stage ends, before they become a black picture."""

from __future__ import annotations

import torch
from torch import Tensor


class NotFiniteError(RuntimeError):
    """A stage gave values that are not finite."""


def require_finite(values: Tensor, stage: str) -> Tensor:
    """Give the values of a stage back if all are finite. A GPU is waited for, so ask once a stage.

    Raises:
        NotFiniteError: some are NaN or infinite.
    """
    if not torch.isfinite(values.sum(dtype=torch.float32)):  # one that is not makes the sum so
        raise NotFiniteError(
            f"{stage} gave values that are not finite ({values.dtype} on {values.device}): either its precision is too "
            "small, so try bfloat16 or float32 (--dtype; ComfyUI's --bf16-unet, --fp32-vae), or the weights are damaged"
        )
    return values
