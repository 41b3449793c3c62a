"""Texts that follow from the nodes: the English locale, and the numbers in the help pages of all languages."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "web" / "docs"
ENGLISH = ROOT / "locales" / "en" / "nodeDefs.json"
LARGEST_SHOWN = 10**6
"""Ranges up to more than this, such as a seed's, tell nobody anything."""


class Language(NamedTuple):
    """How help pages are written in a language.

    Attributes:
        headings: of the inputs, the outputs, the tips and the errors.
        stop: what ends a sentence.
        numbers: what follows a sentence, from ``least``, ``most`` and ``default``.
    """

    headings: tuple[str, str, str, str]
    stop: str
    numbers: str


LANGUAGES = {
    "en": Language(("Inputs", "Outputs", "Tips", "Errors"), ".", " *{least:g} to {most:g}, default {default}*"),
    "ja": Language(("入力", "出力", "ヒント", "エラー"), "。", " *{least:g}～{most:g}、初期値 {default}*"),  # noqa: RUF001
    "zh": Language(("输入", "输出", "提示", "错误"), "。", " *{least:g} 到 {most:g}，默认 {default}*"),  # noqa: RUF001
}

NodeInfo = Mapping[str, Any]


def inputs_of(node: NodeInfo) -> dict[str, list[Any]]:
    """The inputs of a node by name: type, then what is known of it."""
    return {**node["input"].get("required", {}), **node["input"].get("optional", {})}


def fields_of(node: NodeInfo) -> dict[str, list[Any]]:
    """The inputs that a node has while something is chosen in another, by both names, with a dot between."""
    choices = ((name, choice) for name, given in inputs_of(node).items() for choice in given[1].get("options", []))
    return {
        f"{name}.{field}": given
        for name, choice in choices
        if isinstance(choice, dict)
        for field, given in inputs_of({"input": choice["inputs"]}).items()
    }


def english(node: NodeInfo) -> dict[str, Any]:
    """What the English locale says of a node."""
    outputs = zip(node["output_name"], node["output_tooltips"], strict=True)
    return {
        "display_name": node["display_name"],
        "description": node["description"],
        "inputs": {
            name.replace(".", "_"): {"name": name.split(".")[-1].replace("_", " "), "tooltip": given[1]["tooltip"]}
            for name, given in (inputs_of(node) | fields_of(node)).items()
        },
        "outputs": {str(number): {"name": name, "tooltip": tooltip} for number, (name, tooltip) in enumerate(outputs)},
    }


def page_of(name: str, language: str = "en") -> Path:
    """A node's help page, where ComfyUI's frontend looks for it: first in its language, else in English."""
    return PAGES / f"{name}.md" if language == "en" else PAGES / name / f"{language}.md"


def with_numbers(page: str, node: NodeInfo, language: str = "en") -> str:
    """A help page whose rows end with range and default of the numbers that they describe, in italics."""
    inputs, (headings, stop, _) = inputs_of(node), LANGUAGES[language]

    def row(match: re.Match[str]) -> str:
        known = [inputs[name][1] for name in re.findall(r"`(\w+)`", match["names"]) if name in inputs]
        told = _numbers([given for given in known if given.get("max", LARGEST_SHOWN + 1) <= LARGEST_SHOWN], language)
        text = match["text"].rstrip()
        return f"| {match['names']} | {text.rstrip(stop) + stop + told if told else text} |"

    table = re.compile(r"^\| (?P<names>`[^|]*) \| (?P<text>[^|]*?)(?: \*[^*|]*\*)? \|$", re.MULTILINE)
    before, inputs_title, rest = page.partition(f"## {headings[0]}")
    table_text, outputs_title, after = rest.partition(f"## {headings[1]}")
    return before + inputs_title + table.sub(row, table_text) + outputs_title + after


def _numbers(known: list[Mapping[str, Any]], language: str) -> str:
    if not known:
        return ""
    default = " and ".join(dict.fromkeys(f"{given['default']:g}" for given in known))
    return LANGUAGES[language].numbers.format(least=known[0]["min"], most=known[0]["max"], default=default)


def to_text(data: object) -> str:
    """JSON as the files have it."""
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def write_texts(nodes: Mapping[str, NodeInfo]) -> None:
    """Write the locale and the numbers."""
    ours = {name: node for name, node in nodes.items() if (PAGES / f"{name}.md").is_file()}
    known = json.loads(ENGLISH.read_text(encoding="utf-8"))
    order = [*(name for name in known if name in ours), *(name for name in ours if name not in known)]
    ENGLISH.write_text(to_text({name: english(ours[name]) for name in order}), encoding="utf-8")
    for name, node in ours.items():
        for language in LANGUAGES:
            path = page_of(name, language)
            if path.is_file():
                path.write_text(with_numbers(path.read_text(encoding="utf-8"), node, language), encoding="utf-8")
