"""The demo in a browser: from the template to its picture, an error with its help, and help in another language.

One page at a time in a process.
"""

import json
import re
import time

from tools.workflows.texts import page_of

from .server import ROOT
from .workflows import files_by_name, read

DEMO = files_by_name()["demo"]
WINDOW = (1920, 1080)
SECONDS = 400

SHOWN = """text => document.body.innerText.includes(text)
    || [...document.querySelectorAll("textarea")].some(area => area.value.includes(text))"""
"""Whether the page shows a text."""

LABELS_OF_SIZE = """() => {
    const node = LiteGraph.createNode("SupirSize");
    app.graph.add(node);
    for (const [name, chosen] of [["by", "exact"], ["shrink_first", "factor"]])
        node.widgets.find(widget => widget.name === name).value = chosen;
    return node.widgets.map(widget => widget.label);
}"""
JAPANESE = ROOT / "locales" / "ja" / "nodeDefs.json"


def test_the_demo_runs_from_the_template_browser_to_its_picture(open_browser, server, screenshots):
    title = DEMO.stem
    with open_browser() as browser:
        page = browser.page
        page.set_viewport_size({"width": WINDOW[0], "height": WINDOW[1]})
        browser.command("Comfy.BrowseTemplates")
        page.get_by_test_id("template-workflows-content").wait_for()
        page.locator('input[placeholder*="earch"]:visible').last.fill(title)
        page.get_by_test_id(f"template-workflow-{title}").click()
        page.wait_for_function("() => app.graph.nodes.some(node => node.type === 'SupirDemoLoader')")
        browser.command("Comfy.QueuePrompt")
        shown = "() => app.graph.nodes.some(n => n.type === 'SupirSaveImage' && n.imgs?.[0]?.naturalWidth === 512)"
        page.wait_for_function(shown, timeout=SECONDS * 1000)
        page.screenshot(path=screenshots / "demo_ran.png")
        assert browser.errors == []


def test_an_error_shows_the_text_of_the_help_page(open_browser):
    page_of_help = (ROOT / "web" / "docs" / "SupirRestore.md").read_text(encoding="utf-8")
    texts = re.findall(r"`([^`]+)`", page_of_help.split("## Errors")[1])
    workflow = read(DEMO)
    (node,) = (node for node in workflow["nodes"] if node["type"] == "SupirRestore")
    node["widgets_values"][node["widgets_values"].index(128)] = 1024  # an overlap larger than the tile
    with open_browser() as browser:
        browser.open(workflow, WINDOW)
        browser.command("Comfy.QueuePrompt")
        end = time.monotonic() + SECONDS
        while not (error := browser.ask("executionError", "store.lastExecutionError")) and time.monotonic() < end:
            browser.page.wait_for_timeout(500)
        text = max((text for text in texts if text in error["exception_message"]), key=len)
        browser.page.get_by_test_id("error-overlay-see-errors").click()
        browser.page.wait_for_function(SHOWN, arg=text, timeout=SECONDS * 100)


def test_help_and_the_fields_of_a_choice_are_in_the_language_of_the_frontend(open_browser, server, screenshots):
    page_of_help = page_of("SupirRestore", "ja").read_text(encoding="utf-8")
    first_tip = re.findall(r"^- (\w+)", page_of_help, re.MULTILINE)[0]
    server.post("/settings/Comfy.Locale", "ja")
    try:
        with open_browser() as browser:
            browser.open(read(DEMO), WINDOW)
            browser.page.evaluate(
                "() => app.canvas.selectItems(app.graph.nodes.filter(n => n.type === 'SupirRestore'))"
            )
            browser.ask("canvas", "store.updateSelectedItems()")
            browser.ask("rightSidePanel", "store.openPanel('info')")
            browser.page.wait_for_function(SHOWN, arg=first_tip, timeout=SECONDS * 100)
            browser.page.screenshot(path=screenshots / "help_in_japanese.png")
            labels = browser.page.evaluate(LABELS_OF_SIZE)
            shown = json.loads(JAPANESE.read_text(encoding="utf-8"))["SupirSize"]["inputs"]
            names = ["by", "by_width", "by_height", "by_fit", "shrink_first", "shrink_first_factor"]
            assert labels == [shown[name]["name"] for name in names]
    finally:
        server.post("/settings/Comfy.Locale", "en")
