"""The bundled workflows in ComfyUI's own frontend: what a user sees and what it sends to the server."""

import itertools
import json

import pytest

from .workflows import API, files_by_name

FILES = files_by_name()
SHOWING = ("PreviewAny", "ImageCompare")
"""To these nodes the frontend adds widgets for what they show."""


@pytest.fixture(scope="module")
def browser(open_browser):
    with open_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def graphs(browser, server):
    """The workflows as they are described, by name."""
    from tools.workflows.make_workflows import describe

    return {graph.name: graph for graph in describe(server.get("/object_info"))}


@pytest.fixture(scope="module", params=FILES)
def opened(browser, request):
    """Name, nodes and API form of a workflow that was opened."""
    workflow = json.loads(FILES[request.param].read_text(encoding="utf-8"))
    nodes = browser.load(workflow)
    return request.param, nodes, browser.to_prompt()


def test_a_workflow_opens_without_unknown_nodes_or_errors(browser, opened):
    name, nodes, _ = opened
    assert nodes and all(node["known"] for node in nodes), name
    assert browser.errors == []


def test_every_widget_has_the_value_it_was_made_with(opened, graphs):
    name, nodes, _ = opened
    for node, made in zip(nodes, graphs[name].nodes, strict=True):
        if node["type"] in SHOWING:
            continue
        shown = [(widget, value) for widget, value in node["widgets"] if not widget.startswith("$$")]
        assert [value for _, value in shown] == made.entry["widgets_values"], node["type"]
        if node["type"] != "MarkdownNote":
            assert {widget: dict(shown)[widget] for widget in made.values} == made.values, node["type"]


def test_the_frontend_sends_the_api_form_that_comes_with_the_pack(opened):
    name, _, prompt = opened
    path = API / f"{name}.json"
    assert prompt == json.loads(path.read_text(encoding="utf-8")), "run tools.workflows.make_workflows"


def test_nodes_have_room_and_do_not_overlap(opened, graphs):
    name, nodes, _ = opened
    for node, made in zip(nodes, graphs[name].nodes, strict=True):
        if node["type"] != "LoadImage":  # it grows when its picture comes, last in its frame
            assert all(need <= size for need, size in zip(node["needs"], made.entry["size"], strict=True)), node
    for one, other in itertools.combinations(nodes, 2):
        (left, top, width, height), (x, y, w, h) = one["bounds"], other["bounds"]
        assert left + width <= x or x + w <= left or top + height <= y or y + h <= top, (one, other)
