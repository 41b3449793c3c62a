"""The options that spread the pictures of a command over a cluster."""

from __future__ import annotations

import argparse

from .connection import LOCAL

WITH_RAY = ("workers", "gpus-per-worker")


def add_cluster(parser: argparse.ArgumentParser, networks: bool = True) -> None:
    """Add the options, for work with networks or without."""
    add = parser.add_argument_group("many devices, with Ray (docs/scale.md)").add_argument
    text = "hand the pictures out to workers on this machine, or on the cluster at an address ('auto': the one that runs here)"
    add("--ray", nargs="?", const=LOCAL, metavar="ADDRESS", help=text)
    each = "each with its own networks (auto: one for each GPU, or for each machine without one)"
    text = f"how many, {each if networks else 'each on a CPU core (auto: one for each)'}"
    add("--workers", type=_workers, metavar="N|auto", help=text)
    if networks:
        text = "GPUs of each worker (1 where there are any); 0.5 lets two share one"
        add("--gpus-per-worker", type=float, metavar="N", help=text)


def for_driver(options: argparse.Namespace) -> argparse.Namespace:
    """The options as the process sees them that hands the pictures out: it needs no device of its own.

    Raises:
        ValueError: workers are described without ``--ray``.
    """
    check_cluster(options)
    if options.ray is not None and not options.dry_run:
        return argparse.Namespace(**{**vars(options), "device": "cpu"})
    return options


def check_cluster(options: argparse.Namespace) -> None:
    """Refuse workers without a cluster.

    Raises:
        ValueError: workers are described without ``--ray``.
    """
    given = [f"--{name}" for name in WITH_RAY if getattr(options, name.replace("-", "_"), None) is not None]
    if given and options.ray is None:
        raise ValueError(f"{' and '.join(given)} goes with --ray; add it, or leave that out")


def _workers(text: str) -> int | None:
    """A whole number from 1, or nothing for as many as there is room for."""
    if text == "auto":
        return None
    if not (text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f'expected a whole number from 1, or auto, got "{text}"')
    return int(text)
