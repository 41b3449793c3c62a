"""A bundled workflow with the demo's weights and photograph in place of those to download."""

from __future__ import annotations

import copy
from collections.abc import Container, Mapping
from typing import Any

SUPIR_SLOT, IMAGE_SLOT = 3, 4
"""Outputs of SupirDemoLoader; those before are the checkpoint's, in its order."""

LOADERS = {"SupirModelLoader": SUPIR_SLOT, "LoadImage": IMAGE_SLOT}


def with_demo_weights(
    prompt: Mapping[str, Any], changes: Mapping[str, Mapping[str, Any]] | None = None, keep: Container[str] = ()
) -> dict[str, Any]:
    """The prompt with one SupirDemoLoader.

    Args:
        prompt: a workflow in API form with one checkpoint and picture, and at most one SUPIR file.
        changes: inputs of all nodes of a class, or with a title.
        keep: classes of loaders that stay as they are.
    """
    nodes = copy.deepcopy(dict(prompt))
    kinds = {node["class_type"]: number for number, node in nodes.items()}
    demo = kinds["CheckpointLoaderSimple"]
    slots = {kinds[kind]: slot for kind, slot in LOADERS.items() if kind in kinds and kind not in keep}
    for node in nodes.values():
        for name, value in node["inputs"].items():
            if isinstance(value, list) and value[0] in slots:
                node["inputs"][name] = [demo, slots[value[0]]]
        for known in (node["class_type"], node.get("_meta", {}).get("title")):
            node["inputs"] |= (changes or {}).get(known, {})
    nodes[demo] = {"class_type": "SupirDemoLoader", "inputs": {}}
    return {number: node for number, node in nodes.items() if number not in slots}
