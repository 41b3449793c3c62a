"""Floating-point operations of the full-size networks against the size of what they are given; nothing is computed.

They grow with the pixels, and with their square where attention looks at all of them: ``a * pixels + b * pixels**2`` is
fitted through the smallest and the largest square and checked against the middle one. The settings of both methods have
``a`` and ``b`` of their call, by latent pixels (``cost``), and ``supir_core/command/costs.py`` those of the VAE.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import guided_call
import instantir
import measure
import torch
from networks import META

from supir_core.command import demo
from supir_core.sdxl.config import LATENT_PIXELS
from supir_core.sdxl.vae import VAE, Encoder
from tests.full_size import VAE_CONFIG

SIDES = (512, 768, 1024)


def vae_passes(quick: bool, side: int) -> dict[str, float]:
    """Of what a picture takes of the VAE: encoded by the degradation-robust encoder, decoded, encoded again, decoded."""
    config = demo.VAE_CONFIG if quick else VAE_CONFIG
    with META:
        vae, encoder = VAE(config).eval(), Encoder(config).eval()
        picture = torch.empty(1, 3, side, side)

    def passes() -> None:
        vae.decode(vae.encode(picture, encoder))
        vae.decode(vae.encode(picture))

    return measure.operations({"four passes": passes})


METHODS = {
    "SUPIR": lambda quick, side: guided_call.count_operations(quick, side // LATENT_PIXELS),
    "InstantIR": lambda quick, side: instantir.count_operations(quick, side // LATENT_PIXELS),
    "VAE": vae_passes,
}


def row(name: str, counts: Sequence[float]) -> dict[str, Any]:
    """A line of the table: what was counted, the fit by pixels and by latent pixels, and how well it meets the middle."""
    pixels = [side**2 for side in SIDES]
    small, _, large = (count / size for count, size in zip(counts, pixels, strict=True))
    b = (large - small) / (pixels[2] - pixels[0])
    a = small - b * pixels[0]
    sides = {f"TFLOP at {side}": f"{tflop:.4f}" for side, tflop in zip(SIDES, counts, strict=True)}
    fit = {"a": a, "b": b, "a, latent": a * LATENT_PIXELS**2, "b, latent": b * LATENT_PIXELS**4}
    check = (a + b * pixels[1]) * pixels[1] / counts[1]
    return {"of": name} | sides | {key: f"{value:.5g}" for key, value in fit.items()} | {"at the middle": check}


def main() -> None:
    """Count, and write the table."""
    options = measure.arguments(__doc__, device=False).parse_args()
    rows = []
    for method, counted in METHODS.items():
        counts = [counted(options.quick, side) for side in SIDES]
        rows += [row(f"{method}, {what}", [count[what] for count in counts]) for what in counts[0]]
    measure.print_table("Operations of two rows, or of a picture", rows)
    measure.write_results("operations", {"rows": rows}, options)


if __name__ == "__main__":
    main()
