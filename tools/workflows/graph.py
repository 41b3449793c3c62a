"""A graph described in a few lines, as ComfyUI's workflow JSON (version 0.4): nodes in columns."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

PARTS = ("required", "optional")
WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")
NOTE = "MarkdownNote"
NOTE_COLORS = {"color": "#432", "bgcolor": "#653"}
COMPANIONS = {"control_after_generate": "fixed", "image_upload": "image"}
"""Options of an input that put a second widget behind its own, and that widget's value."""

SLOT, WIDGET, TEXT, TITLE = 20, 24, 54, 30
"""Heights in the canvas: of a socket, a widget, what a text widget has more, a node's title."""

GAP, BESIDE_GAP, GROUP_GAP, FRAME, HEAD = 50, 50, 30, 20, 90
"""Between nodes above each other, columns, frames; within a frame on each side, and above the first node."""

ObjectInfo = Mapping[str, Any]
"""What ComfyUI says of each node under ``/object_info``."""


@dataclass(frozen=True)
class Output:
    """One output of a node, to be given to an input of another."""

    node: int
    slot: int
    kind: str


@dataclass
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
class Graph:
    """Nodes in columns; ``add`` puts one under the last of the current column."""

    name: str
    info: ObjectInfo
    pack: str
    nodes: list[Node] = field(default_factory=list)
    links: list[list[Any]] = field(default_factory=list)
    groups: list[dict[str, Any]] = field(default_factory=list)
    left: int = 0
    top: int = 0
    width: int = 0
    bottom: int = 0

    def column(self, title: str, width: int) -> None:
        """Begin a column to the right, framed and titled."""
        if self.groups:
            self.left += self.width + 2 * FRAME + GROUP_GAP
        self.top = 0
        self._frame(title, width)

    def below(self, title: str, width: int) -> None:
        """Begin a column under the last frame."""
        left, top, _, height = self.groups[-1]["bounding"]
        self.left, self.top = left + FRAME, top + height + GROUP_GAP + HEAD
        self._frame(title, width)

    def beside(self, width: int) -> None:
        """Begin another column in the same frame."""
        self.left += self.width + BESIDE_GAP
        self.width, self.bottom = width, self.top
        bounding = self.groups[-1]["bounding"]
        bounding[2] = self.left + width + FRAME - bounding[0]

    def _frame(self, title: str, width: int) -> None:
        self.width, self.bottom = width, self.top
        bounding = [self.left - FRAME, self.top - HEAD, width + 2 * FRAME, HEAD]
        group = {"id": len(self.groups) + 1, "title": title, "bounding": bounding, "color": "#3f789e"}
        self.groups.append(group | {"flags": {}})

    def note(self, text: str, height: int) -> None:
        """Put a note into the column."""
        entry = self._place(NOTE, height) | {"inputs": [], "outputs": [], "properties": {}, "title": "Note"}
        self.nodes.append(Node({}, {"": text}, entry | {"widgets_values": [text]} | NOTE_COLORS))

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
            given: the inputs: ``Output`` for a link, also in a widget's place, else a widget's value; others have
                their defaults.

        Raises:
            ValueError: an input that the node does not have.
        """
        said = self.info[kind]
        inputs = {name: spec for part in PARTS for name, spec in said["input"].get(part, {}).items()}
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
        entry["properties"] = {"Node name for S&R": kind, "cnr_id": self.pack if ours else "comfy-core"}
        entry["properties"] |= {"models": list(models)} if models else {}
        entry |= {"title": title} if title else {}
        entry["widgets_values"] = [
            value for name, spec in widgets.items() for value in (values[name], *_companions(spec))
        ]
        outputs = {name: Output(number, slot, kinds[slot]) for slot, name in enumerate(names)}
        self.nodes.append(Node(outputs, values, entry))
        return self.nodes[-1]

    def to_json(self) -> dict[str, Any]:
        """The workflow as ComfyUI saves it; the lowest frames end on one line."""
        boxes = [group["bounding"] for group in self.groups]
        bottom = max(top + height for _, top, _, height in boxes)
        for box in {box[0]: box for box in boxes}.values():
            box[3] = bottom - box[1]
        return {
            "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{self.pack}/{self.name}")),
            "revision": 0,
            "last_node_id": len(self.nodes),
            "last_link_id": len(self.links),
            "nodes": [node.entry for node in self.nodes],
            "links": self.links,
            "groups": self.groups,
            "config": {},
            "extra": {},
            "version": 0.4,
        }

    def _place(self, kind: str, height: int) -> dict[str, Any]:
        """What every node's entry begins with; the column grows by it."""
        top = self.bottom
        self.bottom = top + height + TITLE + GAP
        bounding = self.groups[-1]["bounding"]
        bounding[3] = max(bounding[3], top + height + FRAME - bounding[1])
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
