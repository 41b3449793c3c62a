"""ComfyUI's modules imported into a process, and the pack as ComfyUI's own loader loads it."""

import asyncio
import sys
from collections.abc import Iterable
from pathlib import Path

import torch

from .server import ROOT


def import_comfyui(comfyui: Path, base: Path, flags: Iterable[str]) -> None:
    """Import it as if it were started with a base folder and flags. ``sys.path`` begins with its folder from then on."""
    arguments = sys.argv
    sys.argv = ["main.py", "--base-directory", str(base), *flags]
    # our own nodes/ would shadow ComfyUI's nodes.py
    sys.path = [str(comfyui)] + [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT] + [str(ROOT)]
    import comfy.options

    comfy.options.enable_args_parsing()
    import comfy.cli_args

    import nodes  # noqa: F401

    sys.argv = arguments


def load_pack():
    """The pack's node classes by id."""
    import nodes

    assert asyncio.run(nodes.load_custom_node(str(ROOT), module_parent="custom_nodes"))
    return {name: node for name, node in nodes.NODE_CLASS_MAPPINGS.items() if name.startswith(("Supir", "InstantIR"))}


def runner(pack):
    """Runs a node as ComfyUI's executor does: its outputs as a tuple."""

    def run(node, *args, **given):
        with torch.inference_mode():
            return pack[node].PREPARE_CLASS_CLONE(None).EXECUTE_NORMALIZED(**given).result

    return run
