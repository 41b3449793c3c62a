"""Inputs of nodes that grow or change with what is chosen, as the plain ones that a workflow has for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

AUTOGROW, DYNAMIC_COMBO = "COMFY_AUTOGROW_V3", "COMFY_DYNAMICCOMBO_V3"

PARTS = ("required", "optional")

Spec = Sequence[Any]
"""Type, then what is known of an input, as ``/object_info`` has it."""


def plain_inputs(named: Mapping[str, Mapping[str, Spec]], given: Mapping[str, Any]) -> Iterator[tuple[str, Spec]]:
    """The inputs of a node by name, with those that follow from what is ``given``.

    A list that grows has one for each that is given, such as ``inputs.input0``; a choice that shows other fields is
    followed by those of what is chosen, such as ``by.longest_side``.
    """
    for part in PARTS:
        for name, spec in named.get(part, {}).items():
            if spec[0] == AUTOGROW:
                (grown,) = (entry for inputs in spec[1]["template"]["input"].values() for entry in inputs.values())
                yield from ((key, grown) for key in given if key.startswith(f"{name}."))
            elif spec[0] == DYNAMIC_COMBO:
                options = {option["key"]: option["inputs"] for option in spec[1]["options"]}
                chosen = given.get(name, next(iter(options)))
                yield name, (DYNAMIC_COMBO, {"default": chosen})
                yield from ((f"{name}.{inner}", inner_spec) for inner, inner_spec in plain_inputs(options[chosen], {}))
            else:
                yield name, spec
