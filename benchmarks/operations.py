"""Floating-point operations of the full-size networks against the size of what they are given; nothing is computed.

Both grow with the pixels, and with their square where attention looks at all of them: ``a * pixels + b * pixels**2`` is
fitted through the two largest squares and checked against the smallest. ``supir_core/command/costs.py`` has the numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

import measure
import torch
from guided_call import build_networks, prepare
from torch.utils.flop_counter import FlopCounterMode

from supir_core.sdxl.config import LATENT_PIXELS, VAEConfig
from supir_core.sdxl.vae import VAE, Encoder

SIDES = (512, 768, 1024)
VAE_CONFIG = VAEConfig(widths=(128, 256, 512, 512), blocks=2, latent_channels=4, stem=128)


def guided_call(side: int) -> int:
    """Of a guided call on a square of so many pixels a side, the text being read before."""
    meta = torch.device("meta")
    bench = prepare(build_networks(False, torch.float32, meta), side // LATENT_PIXELS, torch.float32, meta)
    z_lq, x, index, _, y = bench.rows
    bench.text_kept()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        bench.unet(x, index, bench.text, y, bench.adaptor(z_lq, x, index, bench.text, y, strength=1.0))
    return counter.get_total_flops()


def vae_passes(side: int) -> int:
    """Of what a picture takes of the VAE: encoded by the degradation-robust encoder, decoded, encoded again, decoded."""
    with torch.device("meta"):
        vae, encoder = VAE(VAE_CONFIG).eval(), Encoder(VAE_CONFIG).eval()
        picture = torch.empty(1, 3, side, side)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        vae.decode(vae.encode(picture, encoder))
        vae.decode(vae.encode(picture))
    return counter.get_total_flops()


def fit(counts: Sequence[int]) -> tuple[float, float, float]:
    """``a``, ``b``, and what they say of the smallest square, of what was counted there."""
    pixels = [side**2 for side in SIDES]
    _, middle, last = (count / size for count, size in zip(counts, pixels, strict=True))
    square = (last - middle) / (pixels[2] - pixels[1])
    linear = last - square * pixels[2]
    return linear, square, (linear + square * pixels[0]) * pixels[0] / counts[0]


def main() -> None:
    """Count, and write the table."""
    rows = []
    for name, count in {"guided call, two rows": guided_call, "VAE, four passes": vae_passes}.items():
        counts = [count(side) for side in SIDES]
        linear, square, check = fit(counts)
        sides = {f"TFLOP at {side}": flop / 1e12 for side, flop in zip(SIDES, counts, strict=True)}
        rows.append({"of": name, **sides, "a": linear / 1e12, "b": square / 1e12, "at the smallest": check})
    measure.print_table("operations", rows)
    measure.write_results("operations", {"rows": rows}, torch.device("cpu"))


if __name__ == "__main__":
    main()
