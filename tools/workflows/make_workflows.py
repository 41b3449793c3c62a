"""Writes the workflows that come with the pack, for the canvas, for the API and as pictures, and the texts of nodes.

python -m tools.workflows.make_workflows

Needs ComfyUI (COMFYUI_PATH) with its requirements, Playwright and Chromium: the API form is what ComfyUI's
own frontend makes of the canvas.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from tests.host.server import PACK, ROOT, ComfyServer, add_placeholders, find_comfyui, make_base

from .blueprints import blueprints
from .graph import Graph, ObjectInfo
from .instantir import INSTANTIR_DESCRIPTIONS
from .parts import custom_sampling, easycache, lightning, per_tile_prompts, restore_4k_captioned, step_by_step
from .quick import contact_sheet, demo, large_scan, restore, restore_4k_tiles, restore_captioned
from .regions import REGION_DESCRIPTIONS
from .texts import to_text, write_texts
from .thumbnails import QUALITY, before_after
from .video import restore_video

if TYPE_CHECKING:
    from tests.host.browser import Browser

WORKFLOWS = ROOT / "workflows"
API = WORKFLOWS / "api"
SUBGRAPHS = ROOT / "subgraphs"
QUICK_START = ROOT / "docs" / "quick_start.png"
THUMBNAIL_WIDTH, QUICK_START_WIDTH = 400, 1200


DESCRIPTIONS: tuple[Callable[[Graph], None], ...] = (
    restore,
    demo,
    restore_captioned,
    *REGION_DESCRIPTIONS,
    restore_4k_tiles,
    large_scan,
    contact_sheet,
    restore_4k_captioned,
    restore_video,
    step_by_step,
    lightning,
    per_tile_prompts,
    custom_sampling,
    easycache,
    *INSTANTIR_DESCRIPTIONS,
)
"""By importance."""


def describe(info: ObjectInfo) -> list[Graph]:
    """All workflows."""
    graphs = [Graph(given.__name__, info, PACK, number) for number, given in enumerate(DESCRIPTIONS, 1)]
    for graph, description in zip(graphs, DESCRIPTIONS, strict=True):
        description(graph)
    return graphs


def clear() -> None:
    """Remove what an earlier run wrote: names and numbers may be others now."""
    for path in [*WORKFLOWS.glob("*.json"), *WORKFLOWS.glob("*.jpg"), *API.glob("*.json"), *SUBGRAPHS.glob("*.json")]:
        path.unlink()


def write(graph: Graph, browser: Browser) -> None:
    """Write a workflow for the canvas, for the API, and its thumbnail."""
    workflow, path = graph.to_json(), WORKFLOWS / graph.file
    path.write_text(to_text(workflow), encoding="utf-8")
    browser.load(workflow)
    (API / f"{graph.name}.json").write_text(to_text(browser.to_prompt()), encoding="utf-8")
    if graph.uses("SupirModelLoader") or graph.uses("SupirDemoLoader"):
        before_after(graph.number - 1, graph.title).save(path.with_suffix(".jpg"), quality=QUALITY)
    else:  # no demo weights of InstantIR show what it does
        browser.draw(path.with_suffix(".jpg"), THUMBNAIL_WIDTH)
    if graph.name == restore.__name__:
        browser.draw(QUICK_START, QUICK_START_WIDTH)


def enlarge(source: Path, target: Path) -> None:
    """The demo's photograph, for the drawings: it fills its node so."""
    with Image.open(source) as picture:
        picture.resize((512, 512), Image.Resampling.BICUBIC).save(target)


def main() -> None:
    """Write all files."""
    from tests.host.browser import Browser  # Playwright, which the descriptions do without

    comfyui = find_comfyui()
    if comfyui is None:
        raise SystemExit("no ComfyUI: set COMFYUI_PATH to its folder")
    API.mkdir(parents=True, exist_ok=True)
    SUBGRAPHS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder) / "base"
        make_base(base, comfyui)
        add_placeholders(base)
        enlarge(ROOT / "demo" / "damaged.png", base / "input" / "example.png")
        with ComfyServer(comfyui, base) as server, Browser(server.url) as browser:
            info = server.get("/object_info")
            write_texts(info)
            clear()
            for name, blueprint in blueprints(info, PACK).items():
                (SUBGRAPHS / f"{name}.json").write_text(to_text(blueprint), encoding="utf-8")
            for graph in describe(info):
                write(graph, browser)
                print(graph.file)


if __name__ == "__main__":
    main()
