"""VAE passes over pictures of any size: in one piece where memory allows, else by bands of rows, with the same result.

In bands, a layer at a time, a band of rows at a time: every feature map is a plane (``planes``), a convolution reads its
band with the rows around it, and the statistics of each GroupNorm are gathered from the whole map as it is written.
So nothing is computed twice but those few rows, and no seam can arise. Attention runs over the whole picture too.

The functions ask of a module only LDM's attribute names (``down[i].block[j].conv1``, ...), so a host's VAE serves.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .attention import online_attention, spans, whole_attention
from .config import LATENT_PIXELS
from .memory import GIB, Free, free_bytes, is_out_of_memory, memory_for
from .planes import GivenPlane, Plane, Room, StoredPlane

log = logging.getLogger(__name__)

FINEST_WIDTH = 128
"""Channels of SDXL's finest level; a band may hold tile * tile * 128 numbers."""

BAND_SIDE = 512
"""Side of the square of pixels whose memory a band may use, unless told otherwise."""

PIECE_WIDTHS, PLANE_WIDTHS, BAND_WIDTHS = 6, 4, 6
"""Feature maps of the finest level and width that are held at the peak of a pass in one piece, in planes, in a band."""


memory_for_vae = partial(memory_for, smaller="Set vae_memory smaller, such as 256, restore at a smaller size")

WHOLE = -1
"""In place of the largest side: one piece, always."""


def vae_wishes(pixels: int, side: int | None, width: int, itemsize: int) -> list[int]:
    """Bytes that a pass would like to have, the dearest first: in one piece, its feature maps at hand, only a band.

    Args:
        pixels: of the picture.
        side: as in ``run_encoder``.
        width: channels of the finest level.
        itemsize: bytes of a number.
    """
    feature_map = pixels * width * itemsize
    band = BAND_WIDTHS * (side or BAND_SIDE) ** 2 * FINEST_WIDTH * itemsize
    if side and pixels <= side * side:
        return [PIECE_WIDTHS * feature_map]
    planes = [PLANE_WIDTHS * feature_map + band, band]
    return planes if side else [PIECE_WIDTHS * feature_map, *planes]


def run_encoder(encoder: Any, image: Tensor, side: int | None = None, free: Free = free_bytes) -> Tensor:
    """The moments that ``encoder(image)`` gives, ``(B, 8, H/8, W/8)``.

    Args:
        encoder: with LDM's attribute names.
        image: ``(B, 3, H, W)`` in [-1, 1].
        side: largest picture, as the side of a square in pixels, that goes through in one piece; larger ones go in
            bands of as much memory. ``None``: one piece where it fits the free memory. ``WHOLE``: one piece and all
            rows together, whatever the memory, so that gradients flow.
        free: counts what is free.
    """
    if side == WHOLE:
        return encoder(image)
    width = encoder.conv_in.out_channels

    def run(part: Tensor) -> Tensor:
        pixels = part.shape[2] * part.shape[3]
        return _run(encoder, encode_in_bands, part, pixels * width, pixels, side, free)

    return torch.cat([run(part) for part in image.split(1)])


def run_decoder(decoder: Any, z: Tensor, side: int | None = None, free: Free = free_bytes) -> Tensor:
    """The picture that ``decoder(z)`` gives, ``(B, 3, 8h, 8w)``; arguments as in ``run_encoder``."""
    if side == WHOLE:
        return decoder(z)
    width = decoder.conv_out.in_channels

    def run(part: Tensor) -> Tensor:
        pixels = part.shape[2] * part.shape[3] * LATENT_PIXELS**2
        return _run(decoder, decode_in_bands, part, pixels * width, pixels, side, free)

    return torch.cat([run(part) for part in z.split(1)])


def _run(
    net: Any, bands: Callable[..., Tensor], x: Tensor, numbers: int, pixels: int, side: int | None, free: Free
) -> Tensor:
    """In one piece if it fits, else in bands; ``numbers`` are those of a feature map of the finest level."""
    needed = PIECE_WIDTHS * numbers * x.element_size()
    if pixels <= side * side if side else needed <= free(x.device):
        try:
            return net(x)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            log.warning("the VAE's %.1f GiB did not fit in one piece after all; it goes on in bands", needed / GIB)
    return bands(net, x, side or BAND_SIDE, free)


def encode_in_bands(encoder: Any, image: Tensor, side: int, free: Free = free_bytes) -> Tensor:
    """The moments that ``encoder(image)`` gives, ``(B, 8, H/8, W/8)``, in the memory of a square of ``side``."""
    run = _Bands(side, image, free)
    x = run.store(run.same_size(encoder.conv_in, GivenPlane(image)))
    for level in encoder.down:
        for block in level.block:
            x = run.residual(block, x)
        if hasattr(level, "downsample"):
            x = run.downsample(level.downsample.conv, x)
    return run.finish(encoder, run.middle(encoder.mid, x))


def decode_in_bands(decoder: Any, z: Tensor, side: int, free: Free = free_bytes) -> Tensor:
    """The picture that ``decoder(z)`` gives, ``(B, 3, 8h, 8w)``, in the memory of a square of ``side``."""
    run = _Bands(side, z, free)
    x = run.middle(decoder.mid, run.store(run.same_size(decoder.conv_in, GivenPlane(z))))
    for level in reversed(decoder.up):
        for block in level.block:
            x = run.residual(block, x)
        if hasattr(level, "upsample"):
            x = run.upsample(level.upsample.conv, x)
    return run.finish(decoder, x)


class Pieces(NamedTuple):
    """The bands of a new plane of ``height`` rows, each with its first row, as they are computed."""

    height: int
    bands: Iterator[tuple[int, Tensor]]


def _join(pieces: Pieces) -> Tensor:
    """Compute the bands into memory."""
    _, rows = next(pieces.bands)
    batch, channels, first, width = rows.shape
    out = rows.new_empty(batch, channels, pieces.height, width)
    out[:, :, :first] = rows
    for top, rows in pieces.bands:
        out[:, :, top : top + rows.shape[2]] = rows
    return out


class _Bands:
    """The layers of the VAE, each a pass over planes that gives a new one."""

    def __init__(self, side: int, like: Tensor, free: Free):
        self.budget = side * side * FINEST_WIDTH
        self.room = Room(BAND_WIDTHS * self.budget * like.element_size(), free)

    def store(self, pieces: Pieces) -> StoredPlane:
        """Compute the bands into a new plane."""
        top, rows = next(pieces.bands)
        batch, channels, _, width = rows.shape
        plane = self.room.plane((batch, channels, pieces.height, width), rows)
        plane.write(top, rows)
        for top, rows in pieces.bands:
            plane.write(top, rows)
        return plane

    def residual(self, block: Any, x: StoredPlane) -> StoredPlane:
        """A ResnetBlock: the second norm needs the whole of the first half."""
        narrow = hasattr(block, "nin_shortcut")
        h = self.store(self.same_size(lambda rows: block.conv1(F.silu(x.normalise(block.norm1, rows))), x))

        def second(h_rows: Tensor, x_rows: Tensor) -> Tensor:
            shortcut = block.nin_shortcut(x_rows) if narrow else x_rows
            return shortcut + block.conv2(F.silu(h.normalise(block.norm2, h_rows)))

        return self.store(self.same_size(second, h, x))

    def downsample(self, conv: nn.Module, x: StoredPlane) -> StoredPlane:
        """A convolution of stride 2, padded at the right and the bottom only."""
        height = x.shape[2]

        def band(top: int, bottom: int, rows: Tensor) -> Tensor:
            return conv(F.pad(rows, (0, 1, 0, 2 * (bottom - top) + 1 - rows.shape[2])))

        return self.store(self._bands(band, lambda t, b: (2 * t, min(2 * b + 1, height)), height // 2, x))

    def upsample(self, conv: nn.Module, x: StoredPlane) -> StoredPlane:
        """Nearest-neighbour enlargement by two, then a convolution."""
        height = x.shape[2]

        def reach(top: int, bottom: int) -> tuple[int, int]:
            return max((top - 1) // 2, 0), min((bottom + 2) // 2, height)

        def band(top: int, bottom: int, rows: Tensor) -> Tensor:
            first, _ = reach(top, bottom)
            out = conv(F.interpolate(rows, scale_factor=2.0, mode="nearest"))
            return out[:, :, top - 2 * first : bottom - 2 * first]

        return self.store(self._bands(band, reach, 2 * height, x))

    def middle(self, mid: Any, x: StoredPlane) -> StoredPlane:
        """Residual, attention, residual."""
        return self.residual(mid.block_2, self.attend(mid.attn_1, self.residual(mid.block_1, x)))

    def attend(self, block: Any, x: StoredPlane) -> StoredPlane:
        """Attention of every pixel over every pixel, by the online softmax."""
        k, v = (
            self.store(self.same_size(lambda rows, layer=layer: layer(x.normalise(block.norm, rows)), x))
            for layer in (block.k, block.v)
        )
        # the scores of a band of queries over a band of keys are to fit the budget too
        rows_at_once = max(1, math.isqrt(self.budget) // x.shape[3])
        height = x.shape[2]
        at_hand = type(k) is type(v) is StoredPlane and k.device.type != "cpu"

        def attended(q: Tensor) -> Tensor:
            if at_hand:
                return whole_attention(q, k.rows, v.rows)
            return online_attention(q, ((k.read(*span), v.read(*span)) for span in spans(height, rows_at_once)))

        def band(top: int, bottom: int, rows: Tensor) -> Tensor:
            queries = (block.q(x.normalise(block.norm, part)) for part in rows.split(rows_at_once, dim=2))
            return rows + block.proj_out(torch.cat([attended(q) for q in queries], dim=2))

        return self.store(self._bands(band, lambda top, bottom: (top, bottom), height, x))

    def finish(self, net: Any, x: StoredPlane) -> Tensor:
        """Norm, SiLU and the last convolution, into memory."""
        return _join(self.same_size(lambda rows: net.conv_out(F.silu(x.normalise(net.norm_out, rows))), x))

    def same_size(self, function: Callable[..., Tensor], *sources: Plane) -> Pieces:
        """A pass that keeps the size; ``function`` gets the rows with one more on either side."""
        height = sources[0].shape[2]

        def reach(top: int, bottom: int) -> tuple[int, int]:
            return max(top - 1, 0), min(bottom + 1, height)

        def band(top: int, bottom: int, *rows: Tensor) -> Tensor:
            first, _ = reach(top, bottom)
            return function(*rows)[:, :, top - first : bottom - first]

        return self._bands(band, reach, height, *sources)

    def _bands(
        self,
        band: Callable[..., Tensor],
        reach: Callable[[int, int], tuple[int, int]],
        height: int,
        *sources: Plane,
    ) -> Pieces:
        """The bands that cover ``height`` rows, as high as the budget allows.

        ``band(top, bottom, *rows)`` computes one of the sources' rows within its ``reach``.
        """
        batch, channels, source_height, width = sources[0].shape
        # a residual block may have twice its input's channels, an Upsample has four times its input's pixels
        row = 2 * batch * max(channels, 32) * width * height // source_height
        parts = spans(height, max(1, self.budget // row))

        def computed() -> Iterator[tuple[int, Tensor]]:
            for number, span in enumerate(parts):
                rows = [source.read(*reach(*span)) for source in sources]
                if number + 1 < len(parts):
                    for source in sources:
                        source.ahead(*reach(*parts[number + 1]))
                yield span[0], band(*span, *rows)

        return Pieces(height, computed())
