"""The command with a stub in place of the networks, in processes of its own that a test may kill."""

import multiprocessing
import time

import torch

from supir_core.command import cli, weights
from supir_core.restoration.canvas import Restored, resize

CONTEXT = multiprocessing.get_context("fork") if "fork" in multiprocessing.get_all_start_methods() else None


def stub(picture, settings, *, size, caption, callback):
    """In place of ``restore``: enlarges, in its time."""
    time.sleep(0.05)
    image = resize(picture, size)
    return Restored(image, image)


def _run(arguments):
    torch.set_num_threads(1)
    weights.Weights.restorer = lambda self: stub
    weights.Weights.hashes = {"weights": "0"}
    raise SystemExit(cli.main([str(argument) for argument in arguments]))


def start(*arguments):
    """Start the command on the stub; gives the process."""
    process = CONTEXT.Process(target=_run, args=(arguments,))
    process.start()
    return process
