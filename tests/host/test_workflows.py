"""The bundled workflows in a running ComfyUI: accepted, served as templates, and the demo restored."""

import copy
import io
import json
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image

from supir_core.command.demo import run_demo
from supir_core.files.metadata import SOURCE_TYPE, provenance

from .workflows import API, files_by_name, read

FILES = files_by_name()
NAMES = list(FILES)
PACK = "supir-restoration"

LEVELS, SHARE = 1, 0.01
"""How far the node's picture may be from the library's, in 8-bit levels, and in which share of the values:
float32 sums in another order. Measured: 1 level, in 0.0005 of the values."""


def picture(source):
    with Image.open(source) as image:
        return np.asarray(image.convert("RGB")).astype(int)


@pytest.fixture(scope="module")
def info(server):
    return server.get("/object_info")


@pytest.fixture(scope="module")
def demo():
    return read(API / "demo.json")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("library")


@pytest.fixture(scope="module")
def demo_run(server, demo, folder):
    """The demo through the server and, at the same time, through the library."""
    with ThreadPoolExecutor() as pool:
        running = pool.submit(server.run, demo, read(FILES["demo"]))
        run_demo(folder, seed=0)
        return running.result()


def test_every_node_of_the_pack_is_there(info):
    ours = {name for name, said in info.items() if said["python_module"].startswith("custom_nodes.")}
    assert len(ours) == 24
    assert all(name.startswith(("Supir", "InstantIR")) for name in ours)


def test_every_node_has_a_help_page(server, info):
    for name in (name for name in info if name.startswith(("Supir", "InstantIR"))):
        assert server.fetch(f"/extensions/{PACK}/docs/{name}.md").startswith(b"# "), name


def test_workflows_are_offered_as_templates_with_a_thumbnail(server):
    assert sorted(server.get("/workflow_templates")[PACK]) == [file.stem for file in FILES.values()]
    for file in FILES.values():
        address = f"/api/workflow_templates/{PACK}/{quote(file.stem)}"
        assert server.get(f"{address}.json") == read(file)
        assert picture(io.BytesIO(server.fetch(f"{address}.jpg"))).shape[1] == 400


def test_workflows_are_what_their_descriptions_give(info):
    from tools.workflows.make_workflows import describe

    graphs = {graph.name: graph.to_json() for graph in describe(info)}
    assert graphs == {name: read(file) for name, file in FILES.items()}, "run tools.workflows.make_workflows"


@pytest.mark.parametrize("name", NAMES)
def test_a_workflow_has_only_nodes_of_comfyui_and_of_this_pack(info, name):
    for node in read(FILES[name])["nodes"]:
        if node["type"] != "MarkdownNote":  # the frontend's own
            origin = info[node["type"]]["python_module"]
            assert origin in ("nodes", f"custom_nodes.{PACK}") or origin.startswith("comfy_extras.")


@pytest.mark.parametrize("name", NAMES)
def test_the_api_form_has_the_links_of_the_canvas(name):
    workflow, prompt = read(FILES[name]), read(API / f"{name}.json")
    inputs = {node["id"]: node["inputs"] for node in workflow["nodes"]}
    canvas = {(to, inputs[to][slot]["name"], source, out) for _, source, out, to, slot, _ in workflow["links"]}
    sent = {
        (int(number), name, int(value[0]), value[1])
        for number, node in prompt.items()
        for name, value in node["inputs"].items()
        if isinstance(value, list)
    }
    assert sent == canvas


@pytest.mark.parametrize("name", NAMES)
def test_the_server_accepts_the_api_form(server, name):
    answer = server.validate(read(API / f"{name}.json"))
    assert "error" not in answer, answer
    assert answer["node_errors"] == {}


def test_the_demo_runs_with_progress_and_previews(demo_run):
    assert demo_run.end == "execution_success", demo_run.messages[-1]
    progress = demo_run.of_type("progress")
    assert progress[-1]["value"] == progress[-1]["max"] == len(progress)
    assert len(demo_run.previews) == len(progress)
    assert picture(io.BytesIO(demo_run.previews[-1])).size


def test_the_demo_gives_the_librarys_picture(demo_run, folder):
    (saved,) = demo_run.pictures
    difference = abs(picture(saved) - picture(folder / "mixture" / "restored.png"))
    assert difference.max() <= LEVELS
    assert (difference > 0).mean() < SHARE


def test_the_saved_picture_carries_workflow_and_label(demo_run, demo):
    with Image.open(demo_run.pictures[0]) as image:
        text = image.text
    prompt = copy.deepcopy(demo)
    for node in prompt.values():  # the server unwraps what the frontend wraps, so as not to take a list for a link
        wrapped = {name: value for name, value in node["inputs"].items() if isinstance(value, dict)}
        node["inputs"] |= {name: value["__value__"] for name, value in wrapped.items()}
    assert json.loads(text["prompt"]) == prompt
    assert json.loads(text["workflow"]) == read(FILES["demo"])
    assert text["Description"] == provenance()["Description"]
    assert SOURCE_TYPE in text["XML:com.adobe.xmp"]


def test_a_running_demo_can_be_interrupted(server, demo):
    other = copy.deepcopy(demo)
    for node in other.values():
        if "preset" in node["inputs"]:
            node["inputs"]["preset"] = "quality"  # whose 50 steps leave time
    steps = []

    def interrupt(message):
        if message["type"] == "progress":
            steps.append(message["data"])
        if len(steps) == 1:
            server.post("/interrupt", {})

    run = server.run(other, on_message=interrupt)
    assert run.end == "execution_interrupted"
    assert len(steps) <= 3 < steps[0]["max"], "the sampling went on"


def test_the_command_copies_what_a_workflow_saves(server, tmp_path):
    from tools.workflows.run_workflow import run_to_folder

    prompt = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "example.png"}},
        "2": {"class_type": "SupirSaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "copied"}},
    }
    (copied,) = run_to_folder(server, prompt, tmp_path / "pictures")
    assert copied.parent == tmp_path / "pictures"
    assert (picture(copied) == picture(server.base / "input" / "example.png")).all()


def test_the_command_says_which_node_failed(server, tmp_path):
    from tools.workflows.run_workflow import run_to_folder

    with pytest.raises(RuntimeError, match=r"CheckpointLoaderSimple|SupirModelLoader"):
        run_to_folder(server, read(API / "restore.json"), tmp_path)


def test_the_command_says_why_a_workflow_is_refused(server, demo, tmp_path):
    from tools.workflows.run_workflow import run_to_folder

    wrong = copy.deepcopy(demo)
    for node in wrong.values():
        if "preset" in node["inputs"]:
            node["inputs"]["preset"] = "none such"
    with pytest.raises(ValueError, match="none such"):
        run_to_folder(server, wrong, tmp_path)
