"""What a user sees first: workflows that can be read, in both renderers, a search that finds, a demo that runs."""

import itertools
import os
import re
import time
from pathlib import Path

import pytest

from .server import ROOT
from .workflows import files_by_name, read

FILES = files_by_name()
WINDOWS = ((1920, 1080), (1440, 900))
TEMPLATE, DROPPED = "template", "file_drop"
"""ComfyUI fits a template to the window, and opens a file where its ``extra.ds`` says."""

OFFERED = (".safetensors", ".sft", ".ckpt", ".pth", ".pt")
"""Endings of the files that the frontend offers to download."""

SECONDS = 400

SHOWN = """text => document.body.innerText.includes(text)
    || [...document.querySelectorAll("textarea")].some(area => area.value.includes(text))"""
"""Whether the page shows a text."""


@pytest.fixture(scope="module")
def screenshots(tmp_path_factory):
    """Where the screenshots go: to SUPIR_SCREENSHOTS, to be looked at."""
    given = os.environ.get("SUPIR_SCREENSHOTS")
    folder = Path(given) if given else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="module", params=[False, True], ids=["classic", "nodes 2.0"])
def browser(open_browser, request):
    with open_browser(nodes_2=request.param, sharpness=1) as browser:
        yield browser


def apart(one, other):
    (left, top, width, height), (x, y, w, h) = one, other
    return left + width <= x or x + w <= left or top + height <= y or y + h <= top


@pytest.mark.parametrize("window", WINDOWS, ids=lambda size: "{}x{}".format(*size))
@pytest.mark.parametrize("name", FILES)
def test_a_workflow_opens_readable(browser, screenshots, name, window):
    for source in (DROPPED, TEMPLATE):
        seen = browser.open(read(FILES[name]), window, source)
        assert not seen["low_quality"], (source, seen["scale"])
        for left, top, width, height in seen["boxes"]:
            assert left >= 0 and top >= 0 and left + width <= window[0] and top + height <= window[1], source
        for one, other in itertools.combinations(seen["boxes"], 2):
            assert apart(one, other), (source, one, other)
    renderer = "nodes_2" if browser.nodes_2 else "classic"
    browser.page.screenshot(path=screenshots / f"{name}_{renderer}_{window[0]}.png")


@pytest.mark.parametrize(
    ("words", "place"), [("restore", 0), ("enhance", 0), ("fix photo", 0), ("supir", 3), ("upscale", 10)]
)
def test_a_search_shows_supir_restore(browser, words, place):
    """Before it stand nodes whose id or name begins with the word: aliases find a node, and do not change the order."""
    found = browser.ask("nodeDef", "store.nodeSearchService.searchNode(given).map(node => node.name)", words)
    nodes = [name for name in found if not name.startswith("SubgraphBlueprint.")]
    assert nodes.index("SupirRestore") <= place


@pytest.mark.parametrize("name", ["restore", "restore_4k_tiles", "instantir_restore"])
def test_app_mode_shows_what_is_offered(browser, name):
    workflow = read(FILES[name])
    browser.open(workflow, WINDOWS[0])
    offered = workflow["extra"]["linearData"]
    assert [row[1] for row in browser.ask("appMode", "store.selectedInputs")] == [row[1] for row in offered["inputs"]]
    assert [int(number) for number in browser.ask("appMode", "store.selectedOutputs")] == offered["outputs"]


@pytest.mark.parametrize("name", FILES)
def test_every_file_that_may_be_missing_has_an_address_and_an_ending_that_is_offered(name):
    for node in read(FILES[name])["nodes"]:
        chosen = [value for value in node.get("widgets_values", []) if str(value).endswith(OFFERED)]
        models = {model["name"]: model for model in node["properties"].get("models", [])}
        assert set(chosen) == set(models), node["type"]
        for model in models.values():
            assert model["url"].startswith("https://huggingface.co/") and model["directory"]
        if node["type"] != "MarkdownNote":
            assert node["properties"]["cnr_id"] and node["properties"]["ver"], node["type"]


def test_the_demo_runs_from_the_template_browser_to_its_picture(open_browser, server, screenshots):
    title = FILES["demo"].stem
    with open_browser() as browser:
        page = browser.page
        page.set_viewport_size({"width": WINDOWS[0][0], "height": WINDOWS[0][1]})
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
    workflow = read(FILES["demo"])
    (node,) = (node for node in workflow["nodes"] if node["type"] == "SupirRestore")
    node["widgets_values"][node["widgets_values"].index(256)] = 1024  # an overlap as large as the tile
    with open_browser() as browser:
        browser.open(workflow, WINDOWS[0])
        browser.command("Comfy.QueuePrompt")
        end = time.monotonic() + SECONDS
        while not (error := browser.ask("executionError", "store.lastExecutionError")) and time.monotonic() < end:
            browser.page.wait_for_timeout(500)
        (text,) = (text for text in texts if text in error["exception_message"])
        browser.page.get_by_test_id("error-overlay-see-errors").click()
        browser.page.wait_for_function(SHOWN, arg=text, timeout=SECONDS * 100)


def test_blueprints_are_offered_and_hold_the_whole_restoration(browser, server):
    files = sorted((ROOT / "subgraphs").glob("*.json"))
    offered = {said["name"] for said in server.get("/global_subgraphs").values()}
    assert files and {file.stem for file in files} <= offered
    for file in files:
        browser.load(read(file))
        prompt = browser.to_prompt()
        made = {node["class_type"]: node["inputs"] for node in prompt.values()}
        assert set(made) == {"CheckpointLoaderSimple", "SupirModelLoader", "SupirRestore"}
        assert made["SupirRestore"]["scale"] == (4 if file.stem.startswith("4K") else 2)
        assert made["CheckpointLoaderSimple"]["ckpt_name"].endswith(".safetensors")
