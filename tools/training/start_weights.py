"""Where the demo's networks begin their training."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from supir_core.sdxl.starts import zero
from supir_core.sdxl.unet import UNet
from supir_core.sdxl.vae import VAE, ResnetBlock

BALLAST = 3.0


@torch.no_grad()
def start_vae(vae: VAE) -> None:
    """Begin as a codec of 8 by 8 block means, which carries colours from the first step on.

    Channels 0, 3 and 6 carry red, green and blue along the skips, past branches that begin with nothing. Before each of
    the two last norms they share their group with a constant and its negative, which make the norm nearly linear.
    """
    for half in (vae.encoder, vae.decoder):
        nn.init.zeros_(half.mid.attn_1.proj_out.weight)  # windows are small: attention must earn its say
        for block in [m for m in half.modules() if isinstance(m, ResnetBlock)]:
            nn.init.zeros_(block.conv2.weight)
            if hasattr(block, "nin_shortcut"):
                carry(block.nin_shortcut)
        last = half.mid.block_2 if half is vae.encoder else half.up[0].block[-1]
        last.conv2.bias[1::3], last.conv2.bias[2::3] = BALLAST, -BALLAST
    for level in vae.encoder.down[:-1]:
        carry(level.downsample.conv, slice(0, 2), 0.25)
    for level in vae.decoder.up[1:]:
        carry(level.upsample.conv)
    gain = 2 * BALLAST * (2 / 3) ** 0.5  # of SiLU about 0, and of the norm
    carry(vae.encoder.conv_in, source=(0, 1, 2))
    carry(vae.encoder.conv_out, value=gain, target=(0, 1, 2))
    carry(vae.quant_conv, target=(0, 1, 2), source=(0, 1, 2))
    carry(vae.post_quant_conv, target=(0, 1, 2), source=(0, 1, 2))
    carry(vae.decoder.conv_in, source=(0, 1, 2))
    carry(vae.decoder.conv_out, value=gain, target=(0, 1, 2))


def carry(
    layer: nn.Conv2d,
    taps: slice | None = None,
    value: float = 1.0,
    target: tuple[int, ...] = (0, 3, 6),
    source: tuple[int, ...] = (0, 3, 6),
) -> None:
    """Let a convolution pass three channels on, at its centre or at some taps; the rest stays random."""
    centre = layer.kernel_size[0] // 2
    taps = taps or slice(centre, centre + 1)
    for out, into in zip(target, source, strict=True):
        layer.weight[out] = 0
        layer.bias[out] = 0
        layer.weight[out, into, taps, taps] = value


@torch.no_grad()
def scale_latents(vae: VAE, pictures: Tensor) -> None:
    """Fold a factor into the quantisation layers, so that scaled latents have unit deviation."""
    factor = 1 / torch.cat([vae.encode(part) for part in pictures.split(8)]).std()
    vae.quant_conv.weight *= factor
    vae.quant_conv.bias *= factor
    vae.post_quant_conv.weight /= factor


@torch.no_grad()
def start_unet(unet: UNet) -> None:
    """Begin with the input as the predicted noise, which is right at high noise levels.

    Each latent channel goes along the outermost skip as a pair of itself and its negative. A GroupNorm of such pairs
    keeps their mean, which it would take away from a channel alone, and SiLU(a) - SiLU(-a) = a.
    """
    last, (_, _, head) = unet.output_blocks[-1][0], unet.out
    skip = last.skip_connection.in_channels - last.skip_connection.out_channels
    zero(last.out_layers[-1], head)
    for channel in range(head.out_channels):
        pair = (2 * channel, 2 * channel + 1)
        _pair(unet.input_blocks[0][0], channel, pair)
        carry(last.skip_connection, target=pair, source=tuple(skip + at for at in pair))
        head.weight[channel, pair, 1, 1] = torch.tensor([1.0, -1.0])


def _pair(layer: nn.Conv2d, source: int, target: tuple[int, int]) -> None:
    """Let a convolution carry a channel as a pair of itself and its negative."""
    for out, sign in zip(target, (1.0, -1.0), strict=True):
        carry(layer, value=sign, target=(out,), source=(source,))
