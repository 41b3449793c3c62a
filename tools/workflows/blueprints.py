"""Blueprints: SDXL, SUPIR and the restoration as one node, in ComfyUI's library of subgraphs."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from .graph import VERSION, Graph, Node, ObjectInfo
from .models import SDXL, SUPIR_Q, download, find_faces, networks

IN, OUT = -10, -20
"""Numbers of the nodes that stand for a subgraph's own sockets."""

PHOTOGRAPH = ("Photograph restoration (SUPIR)", "Restores a damaged photograph at twice its size.", 2.0)
LARGE = ("4K restoration (SUPIR)", "Restores a damaged photograph at four times its size, in tiles.", 4.0)
FACES = ("Faces restoration (SUPIR)", "Finds the faces of a photograph and restores each at full size, nothing else.")
"""File, which is the name that the frontend shows; description; scale. No name begins with "restore" or "SUPIR", words
under which the search shall show SUPIR Restore first."""


def blueprints(info: ObjectInfo, pack: str) -> dict[str, dict[str, Any]]:
    """The files of ``subgraphs`` by name."""
    made = [whole(Graph(name, info, pack), told, scale) for name, told, scale in (PHOTOGRAPH, LARGE)]
    made.append(faces(Graph(FACES[0], info, pack), FACES[1]))
    return {workflow["definitions"]["subgraphs"][0]["name"]: workflow for workflow in made}


def whole(graph: Graph, description: str, scale: float) -> dict[str, Any]:
    """A picture restored and enlarged."""
    base, supir = load(graph)
    graph.column("Restore", 340)
    restored = graph.add("SupirRestore", **networks(base, supir["supir_model"]), scale=scale)
    shown = {name: [restored] for name in ("image", "caption", "scale", "seed")}
    return wrap(graph, description, {**shown, "ckpt_name": [base], "file": [supir]}, restored)


def faces(graph: Graph, description: str) -> dict[str, Any]:
    """The faces of a picture restored."""
    base, supir = load(graph)
    graph.column("Restore", 340)
    detector, found = find_faces(graph)
    restored = graph.add(
        "SupirRestoreRegion", **networks(base, supir["supir_model"]), boxes=found["bboxes"], caption="a face"
    )
    shown = {"image": [found, restored], "caption": [restored], "strength": [restored], "seed": [restored]}
    files = {"ckpt_name": [base], "file": [supir], "model_name": [detector]}
    return wrap(graph, description, {**shown, **files}, restored)


def load(graph: Graph) -> tuple[Node, Node]:
    """SDXL and SUPIR."""
    graph.column(graph.name, 310)
    base = graph.add("CheckpointLoaderSimple", models=[download(SDXL)], ckpt_name=SDXL)
    return base, graph.add("SupirModelLoader", models=[download(SUPIR_Q)], file=SUPIR_Q)


def wrap(graph: Graph, description: str, shown: Mapping[str, Sequence[Node]], result: Node) -> dict[str, Any]:
    """A graph as the subgraph of a workflow's only node.

    Args:
        graph: what is inside.
        description: of all of it.
        shown: inputs that it gets outside, each with the nodes that have it.
        result: whose outputs become its own.
    """
    key = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{graph.pack}/{graph.name}"))
    inside = graph.to_json()
    entries = {entry["id"]: entry for entry in inside["nodes"]}
    names = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
    links = [dict(zip(names, link, strict=True)) for link in inside["links"]]

    def link(origin: tuple[int, int], target: tuple[int, int], kind: str) -> int:
        links.append(dict(zip(names, (len(links) + 1, *origin, *target, kind), strict=True)))
        return len(links)

    inputs, outputs = [], []
    for number, (name, nodes) in enumerate(shown.items()):
        made = []
        for entry in (entries[node.entry["id"]] for node in nodes):
            slot, given = next((at, given) for at, given in enumerate(entry["inputs"]) if given["name"] == name)
            given["link"] = link((IN, number), (entry["id"], slot), given["type"])
            made.append(given)
        inputs.append(_socket(key, name, made[0]["type"], [given["link"] for given in made]))
    for slot, given in enumerate(entries[result.entry["id"]]["outputs"]):
        given["links"].append(link((result.entry["id"], slot), (OUT, slot), given["type"]))
        outputs.append(_socket(key, given["name"], given["type"], given["links"][-1:]))
    widgets = {name: node.values[name] for name, (node, *_) in shown.items() if name in node.values}
    subgraph = {
        "id": key,
        "version": 1,
        "state": {"lastGroupId": 2, "lastNodeId": len(entries), "lastLinkId": len(links), "lastRerouteId": 0},
        "revision": 0,
        "config": {},
        "name": graph.name,
        "inputNode": {"id": IN, "bounding": [-200, 0, 120, 160]},
        "outputNode": {"id": OUT, "bounding": [800, 0, 120, 80]},
        "inputs": inputs,
        "outputs": outputs,
        "widgets": [],
        "nodes": list(entries.values()),
        "groups": inside["groups"],
        "links": links,
        "extra": {},
        "category": "Image generation and editing/Enhance",
        "description": description,
    }
    return _workflow(key, graph, subgraph, widgets)


def _socket(key: str, name: str, kind: str, links: list[int]) -> dict[str, Any]:
    """A socket of a subgraph, seen from inside."""
    return {"id": str(uuid.uuid5(uuid.UUID(key), name)), "name": name, "type": kind, "linkIds": links}


def _workflow(key: str, graph: Graph, subgraph: dict[str, Any], widgets: Mapping[str, Any]) -> dict[str, Any]:
    """The workflow that holds nothing but the subgraph's node."""
    node = {
        "id": 1,
        "type": key,
        "pos": [0, 0],
        "size": [340, 320],
        "flags": {},
        "order": 0,
        "mode": 0,
        "inputs": [
            {"name": given["name"], "type": given["type"], "link": None}
            | ({"widget": {"name": given["name"]}} if given["name"] in widgets else {})
            for given in subgraph["inputs"]
        ],
        "outputs": [{"name": given["name"], "type": given["type"], "links": []} for given in subgraph["outputs"]],
        "title": graph.name,
        "properties": {"proxyWidgets": [["-1", name] for name in widgets], "cnr_id": graph.pack, "ver": VERSION},
        "widgets_values": list(widgets.values()),
    }
    return {
        "revision": 0,
        "last_node_id": 1,
        "last_link_id": 0,
        "nodes": [node],
        "links": [],
        "version": 0.4,
        "definitions": {"subgraphs": [subgraph]},
        "extra": {},
    }
