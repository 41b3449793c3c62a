"""Help pages and translations: they name exactly what the nodes have."""

import json
import re
from pathlib import Path

import pytest

from tools.workflows.texts import english, with_numbers

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "web" / "docs"
LANGUAGES = ("en", "zh", "ja")
FRONTEND_SYNTAX = re.compile(r"[{}@|]")
"""What the frontend's translation library takes for placeholders, links and plurals."""


def node_texts(language):
    return json.loads((ROOT / "locales" / language / "nodeDefs.json").read_text(encoding="utf-8"))


def first_cells(page, title):
    """The names in the first column of the table under a heading."""
    section = page.split(f"\n## {title}\n")[1].split("\n## ")[0]
    cells = re.findall(r"^\| (`[^|]*) \|", section, re.MULTILINE)
    return sorted(name for cell in cells for name in re.findall(r"`(\w+)`", cell))


def leaves(tree):
    return [leaf for value in tree.values() for leaf in (leaves(value) if isinstance(value, dict) else [value])]


def form(tree):
    return {key: form(value) if isinstance(value, dict) else None for key, value in tree.items()}


def test_every_node_has_a_page_and_every_page_a_node(pack):
    assert {path.stem for path in PAGES.glob("*.md")} == set(pack)


def test_every_page_names_the_node_and_all_that_goes_in_and_comes_out(pack):
    for name, node in pack.items():
        schema = node.GET_SCHEMA()
        page = (PAGES / f"{name}.md").read_text(encoding="utf-8")
        assert re.findall(r"^# (.*)", page, re.MULTILINE) == [schema.display_name], name
        assert first_cells(page, "Inputs") == sorted(given.id for given in schema.inputs), name
        assert first_cells(page, "Outputs") == sorted(output.display_name for output in schema.outputs), name


def test_every_page_has_tips_and_errors_and_fits_a_screen_or_two(pack):
    for name in pack:
        lines = (PAGES / f"{name}.md").read_text(encoding="utf-8").splitlines()
        assert [line for line in lines if line.startswith("## ")] == [
            "## Inputs",
            "## Outputs",
            "## Tips",
            "## Errors",
        ], name
        assert len(lines) <= 60, name


def test_every_picture_of_a_page_lies_beside_it():
    for path in PAGES.glob("*.md"):
        for picture in re.findall(r"!\[[^]]*\]\(([^)]*)\)", path.read_text(encoding="utf-8")):
            assert (PAGES / picture).is_file(), (path.name, picture)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_locale_names_exactly_what_there_is(pack, language):
    there = {name: form(english(node.GET_NODE_INFO_V1())) for name, node in pack.items()}
    assert form(node_texts(language)) == there


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_text_of_a_locale_is_empty_or_read_as_a_formula(language):
    for text in leaves(node_texts(language)):
        assert text.strip()
        assert not FRONTEND_SYNTAX.search(text), text


def test_the_english_locale_is_the_schemas(pack):
    assert node_texts("en") == {name: english(node.GET_NODE_INFO_V1()) for name, node in pack.items()}


@pytest.mark.parametrize("language", [language for language in LANGUAGES if language != "en"])
def test_a_translation_leaves_no_sentence_in_english(language):
    english = node_texts("en")
    for name, node in node_texts(language).items():
        same = {text for text in leaves(node) if " " in text} & set(leaves(english[name]))
        assert not same, (name, same)


def test_the_numbers_of_a_page_are_the_nodes(pack):
    for name, node in pack.items():
        page = (PAGES / f"{name}.md").read_text(encoding="utf-8")
        assert with_numbers(page, node.GET_NODE_INFO_V1()) == page, f"{name}: run tools.workflows.make_workflows"


def test_tables_have_two_columns_as_the_panel_cuts_the_third():
    for path in PAGES.glob("*.md"):
        rows = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
        assert {row.count(" | ") for row in rows if "---" not in row} == {1}, path.name
