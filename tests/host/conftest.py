"""ComfyUI for the tests: found, imported once in this process, with the pack loaded by ComfyUI's own loader."""

import asyncio
import os
import re
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
import torch

from .server import ComfyServer, add_placeholders, find_comfyui, make_base

ROOT = Path(__file__).parents[2]
COMFYUI = find_comfyui()


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(item.fspath).parent == Path(__file__).parent:
            item.add_marker(pytest.mark.host)


@pytest.fixture(autouse=True)
def inference():
    """As ComfyUI's executor runs nodes."""
    with torch.inference_mode():
        yield


def why_not() -> str | None:
    """Why ComfyUI cannot run here, if it cannot."""
    if COMFYUI is None:
        return "no ComfyUI: set COMFYUI_PATH to its folder, or put it into ~/ComfyUI"
    required = (COMFYUI / "requirements.txt").read_text(encoding="utf-8")
    names = re.findall(r"^([\w-]+)", required, re.MULTILINE)
    missing = [name for name in names if not installed(name)]
    if missing:
        return (
            f"ComfyUI is in {COMFYUI}, but this Python lacks {', '.join(missing[:3])}"
            f"{' and others' if len(missing) > 3 else ''}: install its requirements.txt (make test does)"
        )
    return None


def installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


@pytest.fixture(scope="session")
def comfyui():
    """The folder of ComfyUI; where it cannot run the tests are skipped, but in CI that is a failure."""
    message = why_not()
    if message and os.environ.get("CI") == "true":
        pytest.fail(message)
    if message:
        pytest.skip(message)
    return COMFYUI


@pytest.fixture(scope="session")
def host(comfyui, tmp_path_factory):
    """ComfyUI's modules in this process, on the CPU, with a base folder of its own."""
    base = tmp_path_factory.mktemp("comfy_base")
    arguments, path = sys.argv, sys.path[:]
    sys.argv = ["main.py", "--cpu", "--base-directory", str(base)]
    # our own nodes/ would shadow ComfyUI's nodes.py
    sys.path = [str(comfyui)] + [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT] + [str(ROOT)]
    import comfy.options

    comfy.options.enable_args_parsing()
    import comfy.cli_args

    import nodes  # noqa: F401

    sys.argv = arguments
    yield base
    sys.path = path


@pytest.fixture(scope="session")
def pack(host):
    """The pack as ComfyUI loads it: node classes by id."""
    import nodes

    assert asyncio.run(nodes.load_custom_node(str(ROOT), module_parent="custom_nodes"))
    return {name: node for name, node in nodes.NODE_CLASS_MAPPINGS.items() if name.startswith(("Supir", "InstantIR"))}


@pytest.fixture(scope="session")
def run(pack):
    """Run a node as ComfyUI's executor does: its outputs as a tuple."""

    def run(node, *args, **given):
        with torch.inference_mode():
            return pack[node].EXECUTE_NORMALIZED(**given).result

    return run


@pytest.fixture(scope="session")
def server(comfyui, tmp_path_factory):
    """ComfyUI as users start it, in a process of its own, with this pack and with empty files as weights."""
    base = tmp_path_factory.mktemp("server") / "base"
    make_base(base, comfyui)
    add_placeholders(base)
    with ComfyServer(comfyui, base) as server:
        lines = [line for line in server.log.splitlines() if "supir" in line.lower()]
        assert [line for line in lines if " seconds: " not in line] == [], server.log
        yield server
