"""Feature maps that are read and written by rows, each kept where there is room."""

from __future__ import annotations

import logging
import math
import shutil
import tempfile
from typing import Any, Protocol

import torch
from einops import rearrange
from torch import Tensor, nn

from .memory import GIB, Free, MemoryFullError, free_bytes, is_out_of_memory

log = logging.getLogger(__name__)

HOST_RESERVE = 2 * GIB
"""Bytes of the main memory that are left to all else."""


class Plane(Protocol):
    """A feature map that is read by rows."""

    @property
    def shape(self) -> tuple[int, ...]:
        """``(B, C, H, W)``."""
        ...

    def read(self, top: int, bottom: int) -> Tensor:
        """Rows ``top`` to ``bottom``, ``(B, C, bottom - top, W)``, on the device that computes."""
        ...

    def ahead(self, top: int, bottom: int) -> None:
        """Begin to fetch the rows that are read next, where that takes time."""
        ...


class GivenPlane:
    """A plane that is there already: the picture or the latent itself."""

    def __init__(self, tensor: Tensor):
        self.tensor = tensor
        self.shape = tensor.shape

    def read(self, top: int, bottom: int) -> Tensor:
        """See Plane."""
        return self.tensor[:, :, top:bottom]

    def ahead(self, top: int, bottom: int) -> None:
        """Nothing to fetch."""


class StoredPlane:
    """A new plane, on the device that computes, that keeps the moments of what is written."""

    def __init__(self, shape: tuple[int, ...], like: Tensor, device: torch.device | None = None):
        self.shape = shape
        self.device = like.device
        self.moments = Moments()
        device = device or like.device
        pinned = device.type == "cpu" and like.is_cuda
        self.rows = torch.empty(shape, dtype=like.dtype, device=device, pin_memory=pinned)

    def read(self, top: int, bottom: int) -> Tensor:
        """See Plane."""
        return self.rows[:, :, top:bottom]

    def ahead(self, top: int, bottom: int) -> None:
        """Nothing to fetch."""

    def write(self, top: int, rows: Tensor) -> None:
        """Put down the rows from ``top`` on; each row is written once."""
        self.moments.add(rows)
        self.rows[:, :, top : top + rows.shape[2]] = rows

    def normalise(self, norm: nn.Module, rows: Tensor) -> Tensor:
        """Apply the GroupNorm ``norm`` to ``rows`` with the statistics of the whole plane."""
        scale, shift = self.moments.affine(norm, rows)
        return torch.addcmul(shift, rows.float(), scale).to(rows.dtype)


class HostPlane(StoredPlane):
    """A plane in pinned main memory. Its copies have a stream of their own, so that they run beside the GPU's work."""

    def __init__(self, shape: tuple[int, ...], like: Tensor):
        super().__init__(shape, like, torch.device("cpu"))
        self._stream = torch.cuda.Stream(like.device) if like.is_cuda else None
        self._read: tuple[tuple[int, int], Tensor] | None = None

    def ahead(self, top: int, bottom: int) -> None:
        """See Plane."""
        rows = self.rows[:, :, top:bottom]
        if self._stream is None:
            self._read = (top, bottom), rows.to(self.device)
            return
        with torch.cuda.stream(self._stream):  # after the writes, which are in the same stream
            self._read = (top, bottom), rows.to(self.device, non_blocking=True)

    def read(self, top: int, bottom: int) -> Tensor:
        """See Plane."""
        if self._read is None or self._read[0] != (top, bottom):
            self.ahead(top, bottom)
        assert self._read is not None
        rows, self._read = self._read[1], None
        if self._stream:
            current = torch.cuda.current_stream(self.device)
            current.wait_stream(self._stream)
            rows.record_stream(current)
        return rows

    def write(self, top: int, rows: Tensor) -> None:
        """See StoredPlane."""
        self.moments.add(rows)
        part = self.rows[:, :, top : top + rows.shape[2]]
        if self._stream is None:
            part.copy_(rows)
            return
        self._stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self._stream):
            part.copy_(rows, non_blocking=True)
        rows.record_stream(self._stream)


class FilePlane(StoredPlane):
    """A plane in a temporary file, row by row."""

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
        """See StoredPlane."""
        self.moments.add(rows)
        stored = rows.permute(2, 0, 1, 3).contiguous().cpu()
        self._file.seek(top * self._row_bytes)
        self._file.write(stored.view(torch.uint8).numpy().data)


class Room:
    """Where new planes go: to the device that computes, else to the main memory, else to files.

    Args:
        work: bytes that a band of rows takes on the device while it is computed.
        free: counts what is free.
    """

    def __init__(self, work: int, free: Free = free_bytes):
        self.work = work
        self.free = free

    def plane(self, shape: tuple[int, ...], like: Tensor) -> StoredPlane:
        """A new plane of a shape for rows such as ``like``.

        Raises:
            MemoryFullError: there is no room anywhere.
        """
        size = math.prod(shape) * like.element_size()
        host = torch.device("cpu")
        places = [(like.device, StoredPlane, self.work)]
        if like.device.type != "cpu":
            places.append((host, HostPlane, HOST_RESERVE))
        for device, kind, reserve in places:
            if size + reserve <= self.free(device):
                try:
                    return kind(shape, like)
                except (RuntimeError, MemoryError) as error:
                    if not is_out_of_memory(error):
                        raise
                    log.warning("no room for %.1f GiB on %s after all (%s)", size / GIB, device, error)
        folder = tempfile.gettempdir()
        left = shutil.disk_usage(folder).free
        if size > left:
            raise MemoryFullError(
                f"a feature map of the VAE has {size / GIB:.1f} GiB, and there is no room for it: "
                f"{self.free(like.device) / GIB:.1f} GiB are free on {like.device}, {self.free(host) / GIB:.1f} in main memory, "
                f"{left / GIB:.1f} in {folder}. Close other programs, restore at a smaller size, or set TMPDIR to a "
                "folder on a disk with room"
            )
        log.warning("memory is short: %.1f GiB of the VAE's feature maps go to %s, which is slow", size / GIB, folder)
        return FilePlane(shape, like)


class Moments:
    """Mean and variance of 32 groups of channels, merged band by band on the device (Chan et al. 1979)."""

    def __init__(self) -> None:
        self.count = 0
        self.mean = self.spread = torch.zeros(())

    def add(self, rows: Tensor) -> None:
        """Take in a band ``(B, C, h, W)``; a plane whose channels do not divide into groups is never normalised."""
        if rows.shape[1] % 32:
            return
        groups = rearrange(rows.float(), "b (g c) h w -> b g (c h w)", g=32)
        mean = groups.mean(-1, keepdim=True)
        precise = torch.float32 if rows.device.type == "mps" else torch.float64
        variance = (groups - mean).square_().mean(-1).to(precise)  # faster than torch.var_mean
        mean = mean[..., 0].to(precise)
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
        probe = torch.ones(1, norm.num_channels, 1, 2, dtype=like.dtype, device=like.device)
        probe[..., 1] = -1
        above, below = norm(probe)[0, :, 0].to(self.mean.dtype).unbind(-1)
        weight, bias = (above - below) / 2 * (1 + norm.eps) ** 0.5, (above + below) / 2
        deviation = (self.spread / self.count + norm.eps).sqrt()
        per_group = norm.num_channels // 32
        mean, deviation = (t.repeat_interleave(per_group, dim=1) for t in (self.mean, deviation))
        scale = weight / deviation
        shift = bias - mean * scale
        return tuple(t[:, :, None, None].float() for t in (scale, shift))  # type: ignore
