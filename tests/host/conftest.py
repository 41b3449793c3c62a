"""ComfyUI for the tests: found, imported once in this process, with the pack loaded by ComfyUI's own loader."""

import os
import re
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
import torch

import tests  # noqa: F401 (ours, before ComfyUI's folder comes into the path, which has tests too)

from .inside import import_comfyui, load_pack, runner
from .server import ComfyServer, add_placeholders, find_comfyui, make_base
from .small_server import make_small_base

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
    base, path = tmp_path_factory.mktemp("comfy_base"), sys.path[:]
    import_comfyui(comfyui, base, ["--cpu"])
    yield base
    sys.path = path


@pytest.fixture(scope="session")
def pack(host):
    """The pack as ComfyUI loads it: node classes by id."""
    return load_pack()


@pytest.fixture(scope="session")
def run(pack):
    """Run a node as ComfyUI's executor does: its outputs as a tuple."""
    return runner(pack)


@pytest.fixture(scope="module")
def demo(run):
    """The demo's networks by the names of the inputs that take them."""
    return dict(zip(("model", "clip", "vae", "supir_model"), run("SupirDemoLoader")[:4], strict=True))


def missing(what):
    """Skip where there is no browser; in CI that is a failure."""
    if os.environ.get("CI") == "true":
        pytest.fail(what)
    pytest.skip(what)


@pytest.fixture(scope="session")
def open_browser(comfyui, request):
    """Make a Browser of the server, with the arguments given."""
    try:
        from .browser import Browser, find_browser
    except ModuleNotFoundError:
        missing("no Playwright: pip install playwright")
    if find_browser() is None:
        missing("no Chromium: apt-get install chromium")
    return lambda **given: Browser(request.getfixturevalue("server").url, **given)


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


@pytest.fixture(scope="session")
def small_server(comfyui, tmp_path_factory):
    """The same with small weights, which any bundled workflow can be run with."""
    base = tmp_path_factory.mktemp("small_server") / "base"
    make_small_base(base, comfyui)
    with ComfyServer(comfyui, base) as server:
        yield server


@pytest.fixture(scope="module")
def screenshots(tmp_path_factory):
    """Where the screenshots go: to SUPIR_SCREENSHOTS, to be looked at."""
    given = os.environ.get("SUPIR_SCREENSHOTS")
    folder = Path(given) if given else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
