"""ComfyUI's own frontend in a browser without a window: opens workflows, makes them prompts, draws them."""

from __future__ import annotations

import io
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
SECONDS = 180
SETTINGS = {
    "Comfy.TutorialCompleted": True,
    "Comfy.VueNodes.Enabled": False,
    "Comfy.Graph.CanvasInfo": False,
}
"""No welcome over the canvas; nodes drawn in it; no figures in its corner."""

READY = """() => window.app?.graph && window.LiteGraph
    && Object.keys(LiteGraph.registered_node_types).length > 300"""
LOAD = """async workflow => {
    const quiet = {showMissingNodesDialog: false, showMissingModelsDialog: false};
    await app.loadGraphData(workflow, true, false, null, quiet);
    return app.graph.nodes.map(node => ({
        id: node.id,
        type: node.type,
        known: node.type in LiteGraph.registered_node_types,
        widgets: (node.widgets || []).map(widget => [widget.name, widget.value]),
        needs: Array.from(node.computeSize()),
        bounds: Array.from(node.getBounding()),
    }));
}"""
TO_PROMPT = "async () => (await app.graphToPrompt()).output"
EXTENT = """() => {
    const {nodes, groups} = app.graph;
    const boxes = [...nodes.map(n => n.getBounding()), ...groups.map(g => g.boundingRect)];
    const left = Math.min(...boxes.map(b => b[0])), top = Math.min(...boxes.map(b => b[1]));
    const right = Math.max(...boxes.map(b => b[0] + b[2])), bottom = Math.max(...boxes.map(b => b[1] + b[3]));
    return [left, top, right - left, bottom - top];
}"""
SHOW = """([left, top, scale]) => {
    app.canvas.ds.scale = scale;
    app.canvas.ds.offset = [-left, -top];
    app.canvas.setDirty(true, true);
    app.canvas.draw(true, true);
}"""
SETTLE = """async () => {
    await document.fonts.ready;
    for (let frame = 0; frame < 10; frame++) await new Promise(requestAnimationFrame);
}"""
ONLY_THE_GRAPH = """body * { visibility: hidden !important; }
#graph-canvas, .dom-widget, .dom-widget * { visibility: visible !important; }"""
PICTURES_ARE_THERE = "() => app.graph.nodes.every(n => n.type !== 'LoadImage' || n.imgs?.[0]?.complete)"
MARGIN, SHARPNESS = 30, 2


def find_browser() -> str | None:
    """Chromium or Chrome."""
    return next(filter(None, map(shutil.which, NAMES)), None)


@dataclass
class Browser:
    """A page of ComfyUI, to enter with ``with``.

    Attributes:
        url: of the server.
        errors: what the page threw.
    """

    url: str
    errors: list[str] = field(default_factory=list)

    def __enter__(self) -> Browser:
        """Open the page, and wait until it knows its nodes."""
        self.playwright = sync_playwright().start()
        self.browser = self.playwright.chromium.launch(executable_path=find_browser(), args=list(FLAGS))
        self.page = self._open()
        return self

    def __exit__(self, *_: object) -> None:
        """Close the browser."""
        self.browser.close()
        self.playwright.stop()

    def _open(self) -> Page:
        page = self.browser.new_page(device_scale_factor=SHARPNESS)
        page.set_default_timeout(SECONDS * 1000)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        for name, value in SETTINGS.items():
            page.request.post(f"{self.url}/settings/{name}", data=value)
        page.goto(self.url)
        page.wait_for_function(READY)
        return page

    def load(self, workflow: dict[str, Any]) -> list[dict[str, Any]]:
        """Open a workflow; its nodes as the frontend has them."""
        return self.page.evaluate(LOAD, workflow)

    def to_prompt(self) -> dict[str, Any]:
        """The open workflow in API form."""
        return self.page.evaluate(TO_PROMPT)

    def draw(self, path: Path, width: int) -> None:
        """Draw the open workflow to a file of that many pixels' width."""
        page = self.page
        left, top, wide, high = page.evaluate(EXTENT)
        wide, high = wide + 2 * MARGIN, high + 2 * MARGIN
        page.set_viewport_size({"width": round(wide), "height": round(high)})
        page.wait_for_function(PICTURES_ARE_THERE)
        style = page.add_style_tag(content=ONLY_THE_GRAPH)
        page.evaluate(SHOW, [left - MARGIN, top - MARGIN, 1.0])
        page.evaluate(SETTLE)
        shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
        style.evaluate("style => style.remove()")
        shot = shot.resize((width, round(shot.height * width / shot.width)), Image.Resampling.LANCZOS)
        (shot.quantize(256, kmeans=5) if path.suffix == ".png" else shot).save(path, optimize=True)
