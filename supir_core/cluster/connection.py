"""The cluster that Ray makes of machines, and what each worker gets of it."""

from __future__ import annotations

import logging
import math
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

LOCAL = "local"
"""The address that stands for a cluster of this machine alone, which is started and ended."""

MESSAGES = 2**28
"""Bytes that this machine keeps for messages between its workers. Pictures do not travel in them."""


class Share(NamedTuple):
    """How many workers there are, and CPU cores and GPUs for each."""

    workers: int
    cpus: int
    gpus: float

    def __str__(self) -> str:
        return f"{self.workers}, each with {self.cpus} CPU cores and {self.gpus:g} GPUs"


def import_ray() -> Any:
    """Ray.

    Raises:
        RuntimeError: it is not installed.
    """
    try:
        import ray
    except ImportError as error:
        raise RuntimeError('--ray needs the package ray, which is not installed: pip install -e ".[ray]"') from error
    return ray


@contextmanager
def connected(address: str, workers: int | None, quiet: bool) -> Iterator[None]:
    """Connect to a cluster, or start one of this machine.

    Args:
        address: of the cluster's head, ``LOCAL``, or "auto" for the one that runs on this machine.
        workers: that are to find room on this machine, where the cluster is of it alone.
        quiet: do not pass on what workers write to stderr.

    Raises:
        RuntimeError: Ray is not installed.
        ConnectionError: there is no cluster at the address.
        ValueError: the address is a file: an input that stands behind ``--ray``.
    """
    ray = import_ray()
    if address != LOCAL and Path(address).exists():
        raise ValueError(
            f"--ray took {address} for the address of a cluster; name the pictures first, or write --ray=local"
        )
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    given: dict[str, Any] = {"log_to_driver": not quiet, "logging_level": logging.ERROR}
    if address == LOCAL:
        given |= {"num_cpus": max(os.cpu_count() or 1, workers or 1), "object_store_memory": MESSAGES}
    handler = signal.getsignal(signal.SIGTERM)
    ray.init(address, **given)
    if signal.getsignal(signal.SIGTERM) is not handler:  # Ray's own knows nothing of whole files
        signal.signal(signal.SIGTERM, handler)
    try:
        yield
    finally:
        ray.shutdown()


def share_out(workers: int | None, gpus: float | None) -> Share:
    """What each worker gets of the cluster to which this process is connected; see ``share_of``."""
    return share_of(_nodes(), workers, gpus)


def share_cores(workers: int | None) -> Share:
    """A core for each worker, where more would be of no use; by default as many workers as there are cores."""
    return Share(workers or sum(int(cpus) for cpus, _ in _nodes()), 1, 0)


def _nodes() -> list[tuple[float, float]]:
    """CPU cores and GPUs of each node."""
    nodes = [node["Resources"] for node in import_ray().nodes() if node["Alive"]]
    return [(node.get("CPU", 0), node.get("GPU", 0)) for node in nodes]


def share_of(nodes: Sequence[tuple[float, float]], workers: int | None, gpus: float | None) -> Share:
    """What each worker gets.

    Args:
        nodes: CPU cores and GPUs of each.
        workers: how many; by default as many as the GPUs allow, or one a node where there are none.
        gpus: for each worker; by default one, where there are any.

    Raises:
        ValueError: GPUs are asked for, and there are none, or the number is none.
    """
    if gpus is not None and not 0 <= gpus < math.inf:
        raise ValueError(f"--gpus-per-worker: expected a number from 0, got {gpus:g}")
    if gpus is None:
        gpus = float(any(node_gpus for _, node_gpus in nodes))
    places = sum(int(node_gpus // gpus) for _, node_gpus in nodes) if gpus else len(nodes)
    if not places:
        raise ValueError(f"no node of the cluster has {gpus:g} GPUs; name fewer with --gpus-per-worker, 0 for the CPU")
    workers = workers or places
    together = math.ceil(workers / len(nodes))
    cores = 1 if gpus else int(min(cpus for cpus, _ in nodes)) // together
    return Share(workers, max(cores, 1), gpus)
