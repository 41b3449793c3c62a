"""Blueprints: SDXL, SUPIR and the restoration as one node, in ComfyUI's library of subgraphs."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from .graph import VERSION, Graph, Node, ObjectInfo
from .models import SDXL, SUPIR_Q, download

IN, OUT = -10, -20
"""Numbers of the nodes that stand for a subgraph's own sockets."""

BLUEPRINTS = {
    "Photograph restoration (SUPIR)": ("Restores a damaged photograph at twice its size.", 2.0),
    "4K restoration (SUPIR)": ("Restores a damaged photograph at four times its size, in tiles.", 4.0),
}
"""File, which is the name that the frontend shows; description; scale. No name begins with "restore" or "SUPIR", words
under which the search shall show SUPIR Restore first."""


def blueprints(info: ObjectInfo, pack: str) -> dict[str, dict[str, Any]]:
    """The files of ``subgraphs`` by name."""
    made = {}
    for name, (description, scale) in BLUEPRINTS.items():
        graph = Graph(name, info, pack)
        graph.column(name, 310)
        base = graph.add("CheckpointLoaderSimple", models=[download(SDXL)], ckpt_name=SDXL)
        supir = graph.add("SupirModelLoader", models=[download(SUPIR_Q)], file=SUPIR_Q)
        graph.column("Restore", 340)
        sockets = {name.lower(): base[name] for name in ("MODEL", "CLIP", "VAE")}
        restored = graph.add("SupirRestore", **sockets, supir_model=supir["supir_model"], scale=scale)
        shown = {"ckpt_name": base, "file": supir}
        shown = {"image": restored, "caption": restored, "scale": restored, "seed": restored, **shown}
        made[name] = wrap(graph, description, shown, restored)
    return made


def wrap(graph: Graph, description: str, shown: Mapping[str, Node], result: Node) -> dict[str, Any]:
    """A graph as the subgraph of a workflow's only node.

    Args:
        graph: what is inside.
        description: of all of it.
        shown: inputs that it gets outside, and the nodes that have them.
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
    for number, (name, node) in enumerate(shown.items()):
        entry = entries[node.entry["id"]]
        slot, given = next((at, given) for at, given in enumerate(entry["inputs"]) if given["name"] == name)
        given["link"] = link((IN, number), (entry["id"], slot), given["type"])
        inputs.append(_socket(key, name, given["type"], given["link"]))
    for slot, given in enumerate(entries[result.entry["id"]]["outputs"]):
        given["links"].append(link((result.entry["id"], slot), (OUT, slot), given["type"]))
        outputs.append(_socket(key, given["name"], given["type"], given["links"][-1]))
    widgets = {name: node.values[name] for name, node in shown.items() if name in node.values}
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


def _socket(key: str, name: str, kind: str, link: int) -> dict[str, Any]:
    """A socket of a subgraph, seen from inside."""
    return {"id": str(uuid.uuid5(uuid.UUID(key), name)), "name": name, "type": kind, "linkIds": [link]}


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
