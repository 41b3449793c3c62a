"""What a user sees first: workflows that can be read, in both renderers, a search that finds, a demo that runs."""

import itertools

import pytest

from .server import ROOT
from .workflows import files_by_name, read

FILES = files_by_name()
WINDOWS = ((1920, 1080), (1440, 900))
TEMPLATE, DROPPED = "template", "file_drop"
"""ComfyUI fits a template to the window, and opens a file where its ``extra.ds`` says."""

OFFERED = (".safetensors", ".sft", ".ckpt", ".pth", ".pt")
"""Endings of the files that the frontend offers to download."""


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


FIRST = ("restore", "enhance", "fix photo", "repair", "upscale photo", "unblur", "remove noise")


def found(browser, words):
    """Ids of the nodes that the search shows, in order, blueprints left out."""
    browser.ask("nodeFrequency", "store.loadNodeFrequencies()")
    names = browser.ask("nodeDef", "store.nodeSearchService.searchNode(given).map(node => node.name)", words)
    return [name for name in names if not name.startswith("SubgraphBlueprint.")]


@pytest.mark.parametrize("words", FIRST)
def test_a_search_shows_supir_restore_first(browser, words):
    assert found(browser, words)[0] == "SupirRestore"


@pytest.mark.parametrize(("words", "place"), [("supir", 4), ("upscale", 16)])
def test_where_supir_restore_cannot_be_first_only_what_the_frontend_prefers_is_before_it(browser, words, place):
    """Nodes whose id or name begins with the word come first, then those that have it there; of equals the more used,
    then the shorter. A pack has no say in this: aliases let a node be found, and do not count for the order.
    """
    names = found(browser, words)
    before = names[: names.index("SupirRestore")]
    assert len(before) <= place
    for name in before:
        shown = browser.ask("nodeDef", "store.nodeDefsByName[given].display_name", name)
        used = browser.ask("nodeFrequency", "store.getNodeFrequencyByName(given)", name)
        assert words in f"{name} {shown}".lower() or used > 0, name


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
            assert "hash" not in model or (len(model["hash"]), model["hash_type"]) == (64, "SHA256")
        if node["type"] != "MarkdownNote":
            assert node["properties"]["cnr_id"] and node["properties"]["ver"], node["type"]


@pytest.mark.parametrize("file", sorted((ROOT / "subgraphs").glob("*.json")), ids=lambda file: file.stem)
def test_a_blueprint_is_offered_and_holds_all_it_needs(browser, server, file):
    assert file.stem in {said["name"] for said in server.get("/global_subgraphs").values()}
    browser.load(read(file))
    prompt = browser.to_prompt()
    made = {node["class_type"]: node["inputs"] for node in prompt.values()}
    if file.stem.startswith("Faces"):
        finding = {"LoadMediaPipeFaceLandmarker", "MediaPipeFaceLandmarker"}
        assert set(made) == {"CheckpointLoaderSimple", "SupirModelLoader", "SupirRestoreRegion"} | finding
        assert made["SupirRestoreRegion"]["boxes"] == [name_of(prompt, "MediaPipeFaceLandmarker"), 1]
    else:
        assert set(made) == {"CheckpointLoaderSimple", "SupirModelLoader", "SupirRestore"}
        assert made["SupirRestore"]["scale"] == (4 if file.stem.startswith("4K") else 2)
    assert made["CheckpointLoaderSimple"]["ckpt_name"].endswith(".safetensors")


def name_of(prompt, kind):
    return next(name for name, node in prompt.items() if node["class_type"] == kind)


def test_what_goes_into_a_blueprint_reaches_every_node_that_takes_it():
    (subgraph,) = read(ROOT / "subgraphs" / "Faces restoration (SUPIR).json")["definitions"]["subgraphs"]
    links = {link["id"]: link["target_id"] for link in subgraph["links"]}
    kinds = {node["id"]: node["type"] for node in subgraph["nodes"]}
    reached = {given["name"]: {kinds[links[link]] for link in given["linkIds"]} for given in subgraph["inputs"]}
    assert reached["image"] == {"MediaPipeFaceLandmarker", "SupirRestoreRegion"}
