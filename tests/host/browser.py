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
NODES_2 = "Comfy.VueNodes.Enabled"
SETTINGS = {
    "Comfy.TutorialCompleted": True,
    "Comfy.Graph.CanvasInfo": False,
}
"""No welcome over the canvas; no figures in its corner."""

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
OPEN = """async ([workflow, source]) => {
    const quiet = {showMissingNodesDialog: false, showMissingModelsDialog: false};
    await app.loadGraphData(workflow, true, true, null, {openSource: source, ...quiet});
}"""
SIGHT = """() => {
    const {scale, offset} = app.canvas.ds;
    return {
        scale: scale,
        low_quality: app.canvas.low_quality,
        boxes: app.graph.nodes.map(node => {
            const drawn = document.querySelector(`[data-node-id="${node.id}"]`)?.getBoundingClientRect();
            if (drawn) return [drawn.x, drawn.y, drawn.width, drawn.height];
            const [left, top, width, height] = node.getBounding();
            return [(left + offset[0]) * scale, (top + offset[1]) * scale, width * scale, height * scale];
        }),
    };
}"""
STORE = "name => document.querySelector('#vue-app').__vue_app__.config.globalProperties.$pinia._s.get(name)"
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
        nodes_2: whether the nodes are elements of the page ("Nodes 2.0"), not drawn in the canvas.
        sharpness: the screen's pixels for one of the page.
        errors: what the page threw.
    """

    url: str
    nodes_2: bool = False
    sharpness: int = SHARPNESS
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
        page = self.browser.new_page(device_scale_factor=self.sharpness)
        page.set_default_timeout(SECONDS * 1000)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        for name, value in {**SETTINGS, NODES_2: self.nodes_2}.items():
            page.request.post(f"{self.url}/settings/{name}", data=value)
        page.goto(self.url)
        page.wait_for_function(READY)
        return page

    def load(self, workflow: dict[str, Any]) -> list[dict[str, Any]]:
        """Open a workflow; its nodes as the frontend has them."""
        return self.page.evaluate(LOAD, workflow)

    def open(self, workflow: dict[str, Any], size: tuple[int, int], source: str | None = None) -> dict[str, Any]:
        """Open a workflow as a user does in a window of that size.

        Returns:
            The scale, whether nodes are grey boxes (low_quality), and the nodes' boxes in the window.
        """
        self.page.set_viewport_size({"width": size[0], "height": size[1]})
        self.page.evaluate(SETTLE)
        self.page.evaluate(OPEN, [workflow, source])
        self.page.evaluate(SETTLE)
        return self.page.evaluate(SIGHT)

    def ask(self, store: str, question: str, given: Any = None) -> Any:
        """What one of the frontend's stores says: an expression of ``store`` and ``given``."""
        return self.page.evaluate(f"given => (store => {question})(({STORE})('{store}'))", given)

    def command(self, name: str) -> None:
        """Give one of the frontend's commands, as its menus do."""
        self.page.evaluate("name => void app.extensionManager.command.execute(name)", name)

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
