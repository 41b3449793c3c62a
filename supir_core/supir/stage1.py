"""Stage 1: what the degradation-robust VAE alone makes of the damaged picture (Yu et al. 2024, section 3.2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from ..restoration.finite import require_finite

Pass = Callable[[Tensor], Tensor]
"""A pass of a VAE: pictures ``(B, 3, H, W)`` in [0, 1] to latents or back, the library's or a host's."""


class Stage1(NamedTuple):
    """The low-quality latent, the picture ``(B, 3, H, W)`` in [0, 1] that it decodes to, and the latent of that picture."""

    z_lq: Tensor
    picture: Tensor
    z_center: Tensor | None


def encode_stage1(picture: Tensor, read: Pass, decode: Pass, encode: Pass | None) -> Stage1:
    """Read the damaged picture.

    Args:
        picture: ``(B, 3, H, W)`` in [0, 1], sides multiples of 8.
        read: the degradation-robust encoder.
        decode: the VAE's decoder.
        encode: the VAE's own encoder; ``None`` where restoration guidance is off and nobody needs ``z_center``.

    Raises:
        NotFiniteError: the VAE gives values that are not finite.
    """
    z_lq = read(picture)
    stage1 = require_finite(decode(z_lq), "stage 1")
    return Stage1(z_lq, stage1, encode(stage1) if encode else None)
