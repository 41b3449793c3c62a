"""The page of a comparison in a browser: it moves, sorts, zooms everywhere at once, and asks for nothing from outside."""

import json
import os
import re

import pytest
import torch

from supir_core.evaluation.measures import load_metric
from supir_core.evaluation.page import Shown, write_page
from supir_core.evaluation.table import Score, summarize
from supir_core.files.pictures import write_picture

METHODS = {"bicubic": (24.0, 0.3), "ours <b>": (23.0, 0.1), "mine": (25.0, 0.2)}
PSNR, GMSD = 1, 2


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A page of two settings and two pictures, one with a name that paths cannot hold as it is."""
    folder = tmp_path_factory.mktemp("comparison")
    metrics = [load_metric("psnr"), load_metric("gmsd")]
    shown, scores = [], []
    for setting in ("sr4", "blur_sr4"):
        for number, name in enumerate(("one", "sub/old 100% #2")):
            files = {}
            for shade, what in enumerate(("damaged", "clean", *METHODS)):
                files[what] = folder / what.replace("<b>", "b") / setting / f"{name}.png"
                write_picture(files[what], torch.full((3, 40, 60), 0.1 + 0.2 * shade))
            beside = {what: files.pop(what) for what in ("damaged", "clean")}
            values = {method: {"psnr": psnr + number, "gmsd": gmsd} for method, (psnr, gmsd) in METHODS.items()}
            shown.append(Shown(name, (40, 60), beside, files, setting, 0, values))
            scores += [
                Score(setting, method, metric, name, 0, value)
                for method, found in values.items()
                for metric, value in found.items()
            ]
    published = {"sr4": {"SUPIR": {"psnr": 22.66}}}
    file = folder / "index.html"
    write_page(file, "A & B", shown, summarize(scores, published), metrics, published, ["lpips is left out: <why>"])
    return file


def missing(what):
    """Skip where there is no browser; in CI that is a failure."""
    if os.environ.get("CI") == "true":
        pytest.fail(what)
    pytest.skip(what)


@pytest.fixture(scope="module")
def chromium():
    try:
        from playwright.sync_api import sync_playwright

        from ..host.browser import FLAGS, find_browser
    except ModuleNotFoundError:
        missing("no Playwright: pip install playwright")
    if find_browser() is None:
        missing("no Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_browser(), args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium, page):
    """The page in a browser, and what it asked for."""
    tab = chromium.new_page(viewport={"width": 1200, "height": 900})
    asked, errors = [], []
    tab.on("request", lambda request: asked.append(request.url))
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    tab.goto(page.as_uri())
    yield tab, asked
    tab.close()
    assert errors == []


def column(tab, number):
    return [row.split("\t")[number] for row in tab.locator("tbody").inner_text().splitlines()]


def test_the_data_cannot_end_its_script(page):
    text = page.read_text(encoding="utf-8")
    assert "A &amp; B" in text and "<why>" not in text
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])
    assert data["notes"] == ["lpips is left out: <why>"]


def test_every_picture_is_there_and_nothing_else_is_asked_for(opened, page):
    tab, asked = opened
    for setting in ("sr4", "blur_sr4"):
        tab.select_option("#setting", label=setting)
        for picture in ("one, seed 0", "sub/old 100% #2, seed 0"):
            tab.select_option("#picture", label=picture)
            tab.wait_for_function("[...document.images].every(image => image.complete)")
            assert tab.evaluate("[...document.images].map(image => image.naturalWidth)") == [60] * 6
    assert len(set(asked)) > 12
    assert all(url.startswith((page.parent.as_uri(), "data:")) for url in asked)


def test_each_pair_has_a_slider_that_moves(opened):
    tab, _ = opened
    left, result = "[26, 26, 26]", "[178, 178, 178]"  # shades of the damaged picture and of the second method
    pair = tab.locator(".pair").nth(1)
    slider = tab.locator("figure input").nth(1)
    colors = []
    for value in ("100", "0"):
        slider.fill(value)
        colors.append(str(pixel(pair, 0.5, 0.5)))
    assert colors == [left, result]
    assert tab.locator("figure input").nth(0).input_value() == "50"


def pixel(element, x, y):
    import io

    from PIL import Image

    shot = Image.open(io.BytesIO(element.screenshot())).convert("RGB")
    return list(shot.getpixel((round(x * (shot.width - 1)), round(y * (shot.height - 1)))))


def test_the_table_sorts_best_first_by_each_metric(opened):
    tab, _ = opened
    tab.get_by_role("button", name="psnr").click()
    assert column(tab, 0) == ["mine", "bicubic", "ours <b>", "SUPIR, published"]
    assert column(tab, PSNR)[0].startswith("25.50 ± 0.50")
    tab.get_by_role("button", name="psnr").click()
    assert column(tab, 0) == ["SUPIR, published", "ours <b>", "bicubic", "mine"]
    tab.get_by_role("button", name="gmsd").click()
    assert column(tab, 0)[:3] == ["ours <b>", "mine", "bicubic"]
    assert tab.locator("th").nth(GMSD).get_attribute("aria-sort") == "ascending"


def test_zoom_and_place_are_the_same_for_all_methods(opened):
    tab, _ = opened
    pair = tab.locator(".pair").first
    box = pair.bounding_box()
    tab.locator("#zoom").fill("4")
    tab.mouse.move(box["x"] + 100, box["y"] + 100)
    tab.mouse.down()
    tab.mouse.move(box["x"] + 150, box["y"] + 120)
    tab.mouse.up()
    moves = tab.evaluate("[...document.querySelectorAll('.pair img')].map(image => getComputedStyle(image).transform)")
    places = [[float(number) for number in re.findall(r"-?[\d.]+", move)] for move in moves]
    for place in places:  # the pairs' widths differ by fractions of a pixel
        assert place == pytest.approx([4, 0, 0, 4, -1.5 * box["width"] + 50, -1.5 * box["height"] + 20], abs=0.5)
    tab.mouse.dblclick(box["x"] + 100, box["y"] + 100)
    assert tab.locator("#zoom").input_value() == "1"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark(opened, scheme):
    tab, _ = opened
    tab.emulate_media(color_scheme=scheme)
    ground = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == {"light": "rgb(255, 255, 255)", "dark": "rgb(22, 24, 27)"}[scheme]


def test_a_phone_shows_one_method_beneath_the_other_without_scrolling_sideways(opened):
    tab, _ = opened
    tab.set_viewport_size({"width": 360, "height": 740})
    assert tab.evaluate("document.documentElement.scrollWidth") <= 360
    boxes = [tab.locator("figure").nth(number).bounding_box() for number in range(3)]
    assert len({box["x"] for box in boxes}) == 1
    assert all(box["width"] > 300 for box in boxes)
