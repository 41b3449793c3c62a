"""VAE passes over pictures of any size in the memory of a small one, equal to the pass in one piece.

A layer at a time, a band of rows at a time: every feature map lies in a temporary file, a convolution reads its
band with the rows around it, and the statistics of each GroupNorm are gathered from the whole map as it is written.
So nothing is computed twice but those few rows, and no seam can arise. Attention runs over the whole picture too,
by the online softmax.

The functions ask of a module only LDM's attribute names (``down[i].block[j].conv1``, ...), so a host's VAE serves.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

FINEST_WIDTH = 128
"""Channels of SDXL's finest level; a band may hold tile * tile * 128 numbers."""

CACHED_TOKENS = 1024
"""Queries and keys at once on a CPU: their scores stay in the cache, which makes attention twice as fast."""


class Plane(Protocol):
    """A feature map that is read by rows."""

    @property
    def shape(self) -> tuple[int, ...]:
        """``(B, C, H, W)``."""
        ...

    def read(self, top: int, bottom: int) -> Tensor:
        """Rows ``top`` to ``bottom``, ``(B, C, bottom - top, W)``."""
        ...


class MemoryPlane:
    """A plane in memory: the picture or the latent itself."""

    def __init__(self, tensor: Tensor):
        self.tensor = tensor
        self.shape = tensor.shape

    def read(self, top: int, bottom: int) -> Tensor:
        """See Plane."""
        return self.tensor[:, :, top:bottom]


class FilePlane:
    """A plane in a temporary file, row by row, that keeps the moments of what is written."""

    def __init__(self, shape: tuple[int, ...], like: Tensor):
        self.shape = shape
        self.dtype, self.device = like.dtype, like.device
        self.moments = Moments()
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 (deleted with the plane)
        batch, channels, _, width = shape
        self._row_bytes = batch * channels * width * like.element_size()

    def read(self, top: int, bottom: int) -> Tensor:
        """See Plane."""
        buffer = bytearray((bottom - top) * self._row_bytes)
        self._file.seek(top * self._row_bytes)
        self._file.readinto(buffer)
        batch, channels, _, width = self.shape
        rows = torch.frombuffer(buffer, dtype=self.dtype).view(bottom - top, batch, channels, width)
        return rows.to(self.device).permute(1, 2, 0, 3).contiguous()

    def write(self, top: int, rows: Tensor) -> None:
        """Put down the rows from ``top`` on; each row is written once."""
        self.moments.add(rows)
        stored = rows.permute(2, 0, 1, 3).contiguous().cpu()
        self._file.seek(top * self._row_bytes)
        self._file.write(stored.view(torch.uint8).numpy().data)

    def normalise(self, norm: nn.Module, rows: Tensor) -> Tensor:
        """Apply the GroupNorm ``norm`` to ``rows`` with the statistics of the whole plane."""
        scale, shift = self.moments.affine(norm, rows)
        return torch.addcmul(shift, rows.float(), scale).to(rows.dtype)


class Moments:
    """Mean and variance of 32 groups of channels, merged band by band (Chan et al. 1979)."""

    def __init__(self) -> None:
        self.count = 0
        self.mean = self.spread = torch.zeros(())

    def add(self, rows: Tensor) -> None:
        """Take in a band ``(B, C, h, W)``; a plane whose channels do not divide into groups is never normalised."""
        if rows.shape[1] % 32:
            return
        groups = rearrange(rows.float(), "b (g c) h w -> b g (c h w)", g=32)
        mean = groups.mean(-1, keepdim=True)
        variance = (groups - mean).square_().mean(-1).cpu().double()  # faster than torch.var_mean
        mean = mean[..., 0].cpu().double()
        added = groups.shape[-1]
        total = self.count + added
        delta = mean - self.mean
        self.spread = self.spread + variance * added + delta**2 * (self.count * added / total)
        self.mean = self.mean + delta * (added / total)
        self.count = total

    def affine(self, norm: Any, like: Tensor) -> tuple[Tensor, Tensor]:
        """The norm as one multiplication and one addition, each ``(B, C, 1, 1)`` in float32.

        Weight and bias are asked of the layer by running it, as a host may patch or move them only then: on two
        pixels of 1 and -1, whose mean is 0 and variance 1, it gives bias + weight and bias - weight.
        """
        probe = like.new_tensor([1.0, -1.0]).expand(1, norm.num_channels, 1, 2)
        above, below = norm(probe)[0, :, 0].cpu().double().unbind(-1)
        weight, bias = (above - below) / 2 * (1 + norm.eps) ** 0.5, (above + below) / 2
        deviation = (self.spread / self.count + norm.eps).sqrt()
        per_group = norm.num_channels // 32
        mean, deviation = (t.repeat_interleave(per_group, dim=1) for t in (self.mean, deviation))
        scale = weight / deviation
        shift = bias - mean * scale
        return tuple(t[:, :, None, None].float().to(like.device) for t in (scale, shift))  # type: ignore


def encode_in_bands(encoder: Any, image: Tensor, tile: int) -> Tensor:
    """The moments that ``encoder(image)`` gives, ``(B, 8, H/8, W/8)``, in the memory of a ``tile`` squared."""
    run = _Bands(tile)
    x = _store(run.same_size(encoder.conv_in, MemoryPlane(image)))
    for level in encoder.down:
        for block in level.block:
            x = run.residual(block, x)
        if hasattr(level, "downsample"):
            x = run.downsample(level.downsample.conv, x)
    return run.finish(encoder, run.middle(encoder.mid, x))


def decode_in_bands(decoder: Any, z: Tensor, tile: int) -> Tensor:
    """The picture that ``decoder(z)`` gives, ``(B, 3, 8h, 8w)``, in the memory of a ``tile`` squared."""
    run = _Bands(tile)
    x = run.middle(decoder.mid, _store(run.same_size(decoder.conv_in, MemoryPlane(z))))
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


def _store(pieces: Pieces) -> FilePlane:
    """Compute the bands into a file."""
    top, rows = next(pieces.bands)
    batch, channels, _, width = rows.shape
    plane = FilePlane((batch, channels, pieces.height, width), rows)
    plane.write(top, rows)
    for top, rows in pieces.bands:
        plane.write(top, rows)
    return plane


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

    def __init__(self, tile: int):
        self.budget = tile * tile * FINEST_WIDTH

    def residual(self, block: Any, x: FilePlane) -> FilePlane:
        """A ResnetBlock: the second norm needs the whole of the first half."""
        narrow = hasattr(block, "nin_shortcut")
        h = _store(self.same_size(lambda rows: block.conv1(F.silu(x.normalise(block.norm1, rows))), x))

        def second(h_rows: Tensor, x_rows: Tensor) -> Tensor:
            shortcut = block.nin_shortcut(x_rows) if narrow else x_rows
            return shortcut + block.conv2(F.silu(h.normalise(block.norm2, h_rows)))

        return _store(self.same_size(second, h, x))

    def downsample(self, conv: nn.Module, x: FilePlane) -> FilePlane:
        """A convolution of stride 2, padded at the right and the bottom only."""
        height = x.shape[2]

        def band(top: int, bottom: int) -> Tensor:
            rows = x.read(2 * top, min(2 * bottom + 1, height))
            return conv(F.pad(rows, (0, 1, 0, 2 * (bottom - top) + 1 - rows.shape[2])))

        return _store(self._bands(band, height // 2, x))

    def upsample(self, conv: nn.Module, x: FilePlane) -> FilePlane:
        """Nearest-neighbour enlargement by two, then a convolution."""
        height = x.shape[2]

        def band(top: int, bottom: int) -> Tensor:
            first, last = max((top - 1) // 2, 0), min((bottom + 2) // 2, height)
            rows = conv(F.interpolate(x.read(first, last), scale_factor=2.0, mode="nearest"))
            return rows[:, :, top - 2 * first : bottom - 2 * first]

        return _store(self._bands(band, 2 * height, x))

    def middle(self, mid: Any, x: FilePlane) -> FilePlane:
        """Residual, attention, residual."""
        return self.residual(mid.block_2, self.attend(mid.attn_1, self.residual(mid.block_1, x)))

    def attend(self, block: Any, x: FilePlane) -> FilePlane:
        """Attention of every pixel over every pixel, by the online softmax."""
        k, v = (
            _store(self.same_size(lambda rows, layer=layer: layer(x.normalise(block.norm, rows)), x))
            for layer in (block.k, block.v)
        )
        # the scores of a band of queries over a band of keys are to fit the budget too
        rows_at_once = max(1, math.isqrt(self.budget) // x.shape[3])
        height = x.shape[2]

        def band(top: int, bottom: int) -> Tensor:
            rows = x.read(top, bottom)
            outs = []
            for first, last in _spans(bottom - top, rows_at_once):
                q = block.q(x.normalise(block.norm, rows[:, :, first:last]))
                keys = ((k.read(*span), v.read(*span)) for span in _spans(height, rows_at_once))
                outs.append(online_attention(q, keys))
            return rows + block.proj_out(torch.cat(outs, dim=2))

        return _store(self._bands(band, height, x))

    def finish(self, net: Any, x: FilePlane) -> Tensor:
        """Norm, SiLU and the last convolution, into memory."""
        return _join(self.same_size(lambda rows: net.conv_out(F.silu(x.normalise(net.norm_out, rows))), x))

    def same_size(self, function: Callable[..., Tensor], *sources: Plane) -> Pieces:
        """A pass that keeps the size; ``function`` gets the rows with one more on either side."""
        height = sources[0].shape[2]

        def band(top: int, bottom: int) -> Tensor:
            first, last = max(top - 1, 0), min(bottom + 1, height)
            out = function(*(source.read(first, last) for source in sources))
            return out[:, :, top - first : bottom - first]

        return self._bands(band, height, sources[0])

    def _bands(self, band: Callable[[int, int], Tensor], height: int, source: Plane) -> Pieces:
        """The bands that cover ``height`` rows, as high as the budget allows."""
        batch, channels, source_height, width = source.shape
        # a residual block may have twice its input's channels, an Upsample has four times its input's pixels
        row = 2 * batch * max(channels, 32) * width * height // source_height
        return Pieces(
            height,
            ((top, band(top, bottom)) for top, bottom in _spans(height, max(1, self.budget // row))),
        )


def online_attention(q: Tensor, pieces: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """Attention of one head, over keys and values that come in pieces (Milakov and Gimelshein 2018).

    Args:
        q: queries, ``(B, C, h, w)``.
        pieces: keys and values, each ``(B, C, h', w')``.

    Returns:
        ``(B, C, h, w)``.
    """
    queries = (rearrange(q, "b c h w -> b (h w) c") * q.shape[1] ** -0.5).float()
    highest = torch.full_like(queries[..., :1], -math.inf)
    total, out = torch.zeros_like(highest), torch.zeros_like(queries)
    block = CACHED_TOKENS if q.device.type == "cpu" else queries.shape[1]
    for k, v in pieces:
        keys, values = (rearrange(t, "b c h w -> b (h w) c").float() for t in (k, v))
        for first, last in _spans(queries.shape[1], block):
            rows = (slice(None), slice(first, last))
            for start, end in _spans(keys.shape[1], block):
                scores = queries[rows] @ keys[:, start:end].mT
                top = torch.maximum(highest[rows], scores.amax(-1, keepdim=True))
                faded = (highest[rows] - top).exp_()
                weights = scores.sub_(top).exp_()
                total[rows].mul_(faded).add_(weights.sum(-1, keepdim=True))
                out[rows].mul_(faded).baddbmm_(weights, values[:, start:end])
                highest[rows] = top
    return rearrange((out / total).to(q.dtype), "b (h w) c -> b c h w", h=q.shape[2])


def _spans(length: int, step: int) -> list[tuple[int, int]]:
    return [(start, min(start + step, length)) for start in range(0, length, step)]
