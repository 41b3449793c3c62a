"""Help pages and translations: they name exactly what the nodes have."""

import json
import re
from pathlib import Path

import pytest

from tools.workflows.texts import LANGUAGES, PAGES, english, page_of, with_numbers

ROOT = Path(__file__).parents[2]
TRANSLATIONS = [language for language in LANGUAGES if language != "en"]
FRONTEND_SYNTAX = re.compile(r"[{}@|]")
"""What the frontend's translation library takes for placeholders, links and plurals."""


def node_texts(language):
    return json.loads((ROOT / "locales" / language / "nodeDefs.json").read_text(encoding="utf-8"))


def read(name, language="en"):
    return page_of(name, language).read_text(encoding="utf-8")


def section(page, language, place):
    """What stands under the heading of that place: 0 for the inputs to 3 for the errors."""
    return page.split(f"\n## {LANGUAGES[language].headings[place]}\n")[1].split("\n## ")[0]


def first_cells(page, language, place):
    """What is in backticks in the first column of a section's table, in order."""
    cells = re.findall(r"^\| (`[^|]*) \|", section(page, language, place), re.MULTILINE)
    return [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]


def leaves(tree):
    return [leaf for value in tree.values() for leaf in (leaves(value) if isinstance(value, dict) else [value])]


def form(tree):
    return {key: form(value) if isinstance(value, dict) else None for key, value in tree.items()}


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_node_has_a_page_and_every_page_a_node(pack, language):
    pages = {page_of(path.stem if language == "en" else path.parent.name, language) for path in PAGES.rglob("*.md")}
    assert {path for path in pages if path.is_file()} == {page_of(name, language) for name in pack}


def test_no_page_is_of_another_language():
    assert {path.stem for path in PAGES.glob("*/*")} == set(TRANSLATIONS)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_page_names_the_node_and_all_that_goes_in_and_comes_out(pack, language):
    texts = node_texts(language)
    for name, node in pack.items():
        schema, page = node.GET_SCHEMA(), read(name, language)
        assert re.findall(r"^# (.*)", page, re.MULTILINE) == [texts[name]["display_name"]], name
        assert sorted(first_cells(page, language, 0)) == sorted(given.id for given in schema.inputs), name
        assert sorted(first_cells(page, language, 1)) == sorted(given.display_name for given in schema.outputs), name


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_page_has_tips_and_errors_and_fits_a_screen_or_two(pack, language):
    for name in pack:
        lines = read(name, language).splitlines()
        headings = [line.removeprefix("## ") for line in lines if line.startswith("## ")]
        assert headings == list(LANGUAGES[language].headings), name
        assert len(lines) <= 60, name


@pytest.mark.parametrize("language", TRANSLATIONS)
def test_a_translated_page_has_the_rows_messages_and_pictures_of_the_english_one(pack, language):
    for name in pack:
        page, english_page = read(name, language), read(name)
        for place in (0, 1, 3):  # a message stays as ComfyUI shows it
            assert first_cells(page, language, place) == first_cells(english_page, "en", place), name
        assert re.findall(r"\]\((.*?)\)", page) == re.findall(r"\]\((.*?)\)", english_page), name


@pytest.mark.parametrize("language", TRANSLATIONS)
def test_a_translated_page_calls_inputs_and_outputs_as_the_canvas_does(pack, language):
    for name, texts in node_texts(language).items():
        page = read(name, language)
        shown = [(given.id, texts["inputs"][given.id]["name"]) for given in pack[name].GET_SCHEMA().inputs]
        outputs = pack[name].GET_SCHEMA().outputs
        shown += [(outputs[int(key)].display_name, said["name"]) for key, said in texts["outputs"].items()]
        for key, label in shown:
            assert f"| `{key}` {label} |" in page, name


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_picture_of_a_page_lies_where_the_frontend_looks(pack, language):
    """Beside the English page, whatever the language."""
    for name in pack:
        for picture in re.findall(r"!\[[^]]*\]\(([^)]*)\)", read(name, language)):
            assert (PAGES / picture).is_file(), (name, picture)


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


@pytest.mark.parametrize("language", TRANSLATIONS)
def test_a_translation_leaves_no_sentence_in_english(language):
    english = node_texts("en")
    for name, node in node_texts(language).items():
        same = {text for text in leaves(node) if " " in text} & set(leaves(english[name]))
        assert not same, (name, same)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_numbers_of_a_page_are_the_nodes(pack, language):
    for name, node in pack.items():
        page = read(name, language)
        expected = with_numbers(page, node.GET_NODE_INFO_V1(), language)
        assert expected == page, f"{name}, {language}: run tools.workflows.make_workflows"


def test_tables_have_two_columns_as_the_panel_cuts_the_third():
    for path in PAGES.rglob("*.md"):
        rows = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
        assert {row.count(" | ") for row in rows if "---" not in row} == {1}, path
