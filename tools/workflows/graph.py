"""A graph described in a few lines, as ComfyUI's workflow JSON (version 0.4): nodes in columns, columns in frames."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import layout
from .dynamic import DYNAMIC_COMBO, plain_inputs

WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", DYNAMIC_COMBO)
NOTE = "MarkdownNote"
NOTE_COLORS = {"color": "#432", "bgcolor": "#653"}
COMPANIONS = {"control_after_generate": "fixed", "image_upload": "image", "video_upload": "image"}
"""Options of an input that put a second widget behind its own, and that widget's value."""

SPELLINGS = {"4k": "4K", "supir": "SUPIR", "instantir": "InstantIR", "easycache": "EasyCache"}

SLOT, WIDGET, TEXT, TITLE = 20, 24, 54, 30
"""Heights in the canvas: of a socket, a widget, what a text widget has more, a node's title."""

GAP, BESIDE_GAP, FRAME, HEAD = 44, 40, 16, 76
"""Between nodes above each other, and columns; within a frame on each side, and above the first node."""

PYPROJECT = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
VERSION = re.search(r'^version = "(.*)"', PYPROJECT, re.MULTILINE)[1]
CORE_VERSION = re.search(r'^requires-comfyui = ">=(.*)"', PYPROJECT, re.MULTILINE)[1]
"""Of this pack, and the oldest of ComfyUI that knows the nodes, but for these."""

SINCE = {"LoadMediaPipeFaceLandmarker": "0.23.0", "MediaPipeFaceLandmarker": "0.23.0"}

ObjectInfo = Mapping[str, Any]
"""What ComfyUI says of each node under ``/object_info``."""


@dataclass(frozen=True)
class Output:
    """One output of a node, to be given to an input of another."""

    node: int
    slot: int
    kind: str


@dataclass(eq=False)
class Node:
    """A node in the canvas.

    Attributes:
        outputs: by name.
        values: of the widgets, by name, in order; companions are not named.
        entry: as the workflow has it.
    """

    outputs: dict[str, Output]
    values: dict[str, Any]
    entry: dict[str, Any]

    def __getitem__(self, output: str) -> Output:
        """An output by its name."""
        return self.outputs[output]


@dataclass
class Block:
    """A frame with its nodes, as if it were alone."""

    group: dict[str, Any]
    nodes: list[Node] = field(default_factory=list)

    @property
    def size(self) -> layout.Size:
        """Of the frame."""
        return layout.Size(*self.group["bounding"][2:])

    def nodes_at(self, place: layout.Place) -> list[dict[str, Any]]:
        """The nodes as the workflow has them."""
        entries = [node.entry for node in self.nodes]
        return [entry | {"pos": [entry["pos"][0] + place.left, entry["pos"][1] + place.top]} for entry in entries]

    def group_at(self, place: layout.Place) -> dict[str, Any]:
        """The frame as the workflow has it."""
        return self.group | {"bounding": [place.left, place.top, self.size.width, place.height]}


@dataclass
class Graph:
    """Nodes in columns; ``add`` puts one under the last of the current column."""

    name: str
    info: ObjectInfo
    pack: str
    number: int = 1
    blocks: list[Block] = field(default_factory=list)
    links: list[list[Any]] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)
    left: int = 0
    width: int = 0
    bottom: int = 0

    @property
    def nodes(self) -> list[Node]:
        """All nodes, by number."""
        return [node for block in self.blocks for node in block.nodes]

    @property
    def title(self) -> str:
        """What a reader sees instead of the name."""
        words = (SPELLINGS.get(word, word) for word in self.name.split("_"))
        title = " ".join(words)
        return title[0].upper() + title[1:]

    @property
    def file(self) -> str:
        """File for the canvas: ComfyUI's template browser shows its name, and sorts by it."""
        return f"{self.number:02} {self.title}.json"

    def uses(self, kind: str) -> bool:
        """Whether there is a node of that class."""
        return any(node.entry["type"] == kind for node in self.nodes)

    def column(self, title: str, width: int) -> None:
        """Begin a column, framed and titled."""
        self.left, self.width, self.bottom = FRAME, width, HEAD
        bounding = [0, 0, width + 2 * FRAME, HEAD]
        group = {"id": len(self.blocks) + 1, "title": title, "bounding": bounding, "color": "#3f789e", "flags": {}}
        self.blocks.append(Block(group))

    def beside(self, width: int) -> None:
        """Begin another column in the same frame."""
        self.left += self.width + BESIDE_GAP
        self.width, self.bottom = width, HEAD
        self.blocks[-1].group["bounding"][2] = self.left + width + FRAME

    def note(self, text: str, height: int) -> None:
        """Put a note into the column."""
        entry = self._place(NOTE, height) | {"inputs": [], "outputs": [], "properties": {}, "title": "Note"}
        self.blocks[-1].nodes.append(Node({}, {"": text}, entry | {"widgets_values": [text]} | NOTE_COLORS))

    def add(
        self,
        kind: str,
        height: int = 0,
        title: str = "",
        models: Sequence[Mapping[str, str]] = (),
        **given: Any,
    ) -> Node:
        """Put a node into the column.

        Args:
            kind: class of the node.
            height: of the node, where it should have more than it needs.
            title: in place of the node's own.
            models: name, url and directory of the files it asks for, for ComfyUI's offer to download them.
            given: the inputs, by names such as ``by.scale`` where they depend on a choice: ``Output`` for a link, also in a widget's place, else a widget's value; others have
                their defaults.

        Raises:
            ValueError: an input that the node does not have.
        """
        said = self.info[kind]
        named = plain_inputs(said["input"], given)
        inputs = {name: spec for name, spec in named if _is_shown(spec)}
        if unknown := set(given) - set(inputs):
            raise ValueError(f"{kind} has no input {', '.join(sorted(unknown))}; it has {', '.join(inputs)}")
        sockets = {name: spec for name, spec in inputs.items() if not _is_widget(spec)}
        widgets = {name: spec for name, spec in inputs.items() if name not in sockets}
        links = {name: value for name, value in given.items() if isinstance(value, Output)}
        chosen = {name: value for name, value in given.items() if name not in links}
        values = {name: chosen.get(name, _options(spec).get("default")) for name, spec in widgets.items()}
        names, kinds = said["output_name"], said["output"]
        entry = self._place(kind, max(height, _height(len(sockets), len(names), list(widgets.values()))))
        number = entry["id"]
        entry["inputs"] = [
            {"name": name, "type": _kind(spec)}
            | ({"widget": {"name": name}} if name in widgets else {})
            | {"link": self._link(links.get(name), number, slot)}
            for slot, (name, spec) in enumerate({**sockets, **widgets}.items())
        ]
        entry["outputs"] = [{"name": name, "type": kind, "links": []} for name, kind in zip(names, kinds, strict=True)]
        ours = said["python_module"].startswith("custom_nodes.")
        origin = (
            {"cnr_id": self.pack, "ver": VERSION}
            if ours
            else {"cnr_id": "comfy-core", "ver": SINCE.get(kind, CORE_VERSION)}
        )
        entry["properties"] = {"Node name for S&R": kind, **origin}
        entry["properties"] |= {"models": list(models)} if models else {}
        entry |= {"title": title} if title else {}
        entry["widgets_values"] = [
            value for name, spec in widgets.items() for value in (values[name], *_companions(spec))
        ]
        outputs = {name: Output(number, slot, kinds[slot]) for slot, name in enumerate(names)}
        node = Node(outputs, values, entry)
        self.blocks[-1].nodes.append(node)
        return node

    def offer(self, inputs: Mapping[Node, Sequence[str]], result: Node) -> None:
        """Let the frontend's app mode show these widgets, in order, and what that node saves."""
        widgets = [[node.entry["id"], name] for node, names in inputs.items() for name in names]
        self.extra["linearData"] = {"inputs": widgets, "outputs": [result.entry["id"]]}

    def to_json(self) -> dict[str, Any]:
        """The workflow as ComfyUI saves it."""
        sizes = [block.size for block in self.blocks]
        places = layout.arrange(sizes)
        placed = list(zip(self.blocks, places, strict=True))
        return {
            "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{self.pack}/{self.name}")),
            "revision": 0,
            "last_node_id": len(self.nodes),
            "last_link_id": len(self.links),
            "nodes": [node for block, place in placed for node in block.nodes_at(place)],
            "links": self.links,
            "groups": [block.group_at(place) for block, place in placed],
            "config": {},
            "extra": {"ds": layout.view(layout.extent(sizes, places))} | self.extra,
            "version": 0.4,
        }

    def _place(self, kind: str, height: int) -> dict[str, Any]:
        """What every node's entry begins with; the column grows by it."""
        top = self.bottom
        self.bottom = top + height + TITLE + GAP
        bounding = self.blocks[-1].group["bounding"]
        bounding[3] = max(bounding[3], top + height + FRAME)
        number = len(self.nodes) + 1
        return {
            "id": number,
            "type": kind,
            "pos": [self.left, top],
            "size": [self.width, height],
            "flags": {},
            "order": number - 1,
            "mode": 0,
        }

    def _link(self, source: Output | None, node: int, slot: int) -> int | None:
        """Number of a new link, if there is a source."""
        if source is None:
            return None
        number = len(self.links) + 1
        self.links.append([number, source.node, source.slot, node, slot, source.kind])
        self.nodes[source.node - 1].entry["outputs"][source.slot]["links"].append(number)
        return number


def _kind(spec: Sequence[Any]) -> str:
    """Type of an input; old nodes give a combo's options in its place."""
    return "COMBO" if isinstance(spec[0], list) else spec[0]


def _options(spec: Sequence[Any]) -> Mapping[str, Any]:
    return spec[1] if len(spec) > 1 else {}


def _is_shown(spec: Sequence[Any]) -> bool:
    """Whether the frontend gives an input a socket or a plain widget."""
    return bool(_options(spec).get("forceInput")) or not _options(spec).get("socketless")


def _is_widget(spec: Sequence[Any]) -> bool:
    return _kind(spec) in WIDGETS and not _options(spec).get("forceInput")


def _companions(spec: Sequence[Any]) -> list[str]:
    return [value for option, value in COMPANIONS.items() if _options(spec).get(option)]


def _height(sockets: int, outputs: int, widgets: Sequence[Sequence[Any]]) -> int:
    """What the canvas gives a node that has these."""
    slots = SLOT * max(sockets, outputs)
    if not widgets:
        return slots + 6
    lines = sum(1 + len(_companions(spec)) for spec in widgets)
    texts = sum(bool(_options(spec).get("multiline")) for spec in widgets)
    return slots + WIDGET * (lines - texts) + TEXT * texts + 14
