"""The page in a headless Chromium, from the disk: no request, no error, sliders, sorting, both colour schemes."""

import io
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from measured import Resampled
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright
from reported import write_inputs

from afigan.params.loading import check_params, compose
from afigan.reporting import report

CONF = Path(__file__).parents[3] / "conf"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="there is no Chromium: `make browser` installs Debian's, as root"
)
Open = Callable[..., Page]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    root = tmp_path_factory.mktemp("page")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setattr("afigan.reporting.results.Resamples", lambda folder: Resampled())
        params = check_params(compose("mini", CONF))
        write_inputs(params)
        report.write_report(params)
        yield (root / "results/index.html").as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as play:
        # its sandbox needs rights that a container does not have; the page is our own
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser, url: str) -> Iterator[Open]:
    """A function that opens the page; at the end, there was no request, no message on the console and no error."""
    contexts, problems = [], []

    def call(width: int = 1440, anchor: str = "", **options: Any) -> Page:
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: request.url.startswith((url, "data:")) or problems.append(request.url))
        page.goto(url + anchor)
        return page

    yield call
    for context in contexts:
        context.close()
    assert not problems


def share(page: Page, number: int = 0) -> float:
    """Return where the line of a picture is, in percent: the second layer is cut off at its left."""
    layer = page.locator(".pair").nth(number).locator(".layer").nth(1)
    inset = re.fullmatch(r"inset\(0px 0px 0px ([\d.]+)%\)", layer.evaluate("e => getComputedStyle(e).clipPath"))
    assert inset is not None
    return float(inset[1])


def test_the_slider_follows_the_mouse(open_page: Open) -> None:
    page = open_page()
    assert share(page) == 50
    stage = page.locator(".stage").first
    stage.scroll_into_view_if_needed()
    box = stage.bounding_box()
    assert box is not None
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * 0.5, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.2, middle, steps=4)
    page.mouse.up()
    assert share(page) == pytest.approx(20, abs=2) and share(page, 1) == 50

    def colour(at: float) -> tuple[int, ...]:
        """Return the colour that the screen has in the picture."""
        shot = page.screenshot(clip={"x": box["x"] + box["width"] * at, "y": middle, "width": 4, "height": 4})
        with Image.open(io.BytesIO(shot)) as image:
            return image.convert("RGB").getpixel((2, 2))

    red, blue = colour(0.05), colour(0.9)
    assert red[0] > 150 > red[2] and blue[2] > 150 > blue[0]  # the first detector is left of the line


def test_the_slider_follows_the_keys(open_page: Open) -> None:
    page = open_page()
    slider = page.get_by_role("slider").first
    slider.focus()
    for key, expected in (("ArrowLeft", 49), ("End", 100), ("Home", 0), ("ArrowRight", 1)):
        page.keyboard.press(key)
        assert share(page) == expected
    assert slider.get_attribute("aria-label") == "Image 3: nearest at the left, AFI at the right"
    assert slider.get_attribute("aria-valuetext") == "1 % nearest"


@pytest.mark.parametrize("script", [True, False])
def test_annotated_objects_are_switched_on(open_page: Open, script: bool) -> None:
    page = open_page(java_script_enabled=script)
    truth = page.locator(".truth").first
    assert not truth.is_visible()
    page.get_by_label("Show the annotated objects").check()
    assert truth.is_visible()


def test_tables_are_sorted_by_mouse_and_by_keys(open_page: Open) -> None:
    page = open_page()
    table = page.locator("table", has=page.locator("#caption4"))

    def names() -> list[str]:
        return [text.split()[0] for text in table.locator("tbody th").all_inner_texts()]

    original = names()
    assert original[:3] == ["A1", "A2", "A3"]
    button = table.get_by_role("button", name="box AP paper", exact=True)
    button.click()
    heading = table.locator("th[aria-sort]")
    assert heading.get_attribute("aria-sort") == "descending"
    assert names() == ["A5", "A4", "A2", "A6", "A1", "A3", "NN"]  # as printed; the last is not in the paper
    button.press("Enter")
    assert names() == ["A3", "A1", "A6", "A2", "A4", "A5", "NN"]
    button.press("Space")
    assert names() == original and heading.count() == 0
    table.get_by_role("button", name="Δ box AP paper").click()
    assert names() == ["A5", "A4", "A2", "A6", "A1", "A3", "NN"]  # the reference counts as 0


def test_losses_are_chosen(open_page: Open) -> None:
    page = open_page()
    stage = page.locator(".losses").nth(2)
    assert stage.locator(".panel:visible").count() == 2
    stage.get_by_role("combobox", name="Loss").select_option("content")
    assert stage.locator(".panel:visible figcaption").all_inner_texts() == ["content"]
    stage.get_by_role("button", name="No run").click()
    assert stage.locator("polyline:visible").count() == 0
    stage.get_by_role("searchbox", name="Runs with").fill("nearest")
    assert {line.get_attribute("data-run") for line in stage.locator("polyline:visible").all()} == {
        "nearest_5conv",
        "degraded_nearest",
    }
    stage.get_by_role("button", name="No run").click()
    stage.get_by_label("a5", exact=True).check()
    assert [line.get_attribute("data-run") for line in stage.locator("polyline:visible").all()] == ["a5"]


def test_a_value_leads_to_its_run(open_page: Open) -> None:
    page = open_page()
    run = page.locator("#run-a5")
    assert not run.is_visible()
    page.locator('#tables ~ .table a[href="#run-a5"]').first.click()
    assert run.is_visible() and "interpolator: afi" in run.inner_text()


@pytest.mark.parametrize("width", [390, 1440])
def test_it_fits_its_width_without_a_script_too(open_page: Open, width: int) -> None:
    for options in ({}, {"java_script_enabled": False}):
        page = open_page(width, **options)
        sizes = page.evaluate("[document.documentElement.scrollWidth, innerWidth]") if not options else None
        assert sizes in (None, [width, width])
        pictures = page.locator(".layer img")
        assert pictures.count() == 4 and all(picture.is_visible() for picture in pictures.all())


def test_all_text_is_there_without_a_script(open_page: Open) -> None:
    """Only what a script adds is missing: the forms of the losses and the words about dragging."""
    script = "[...document.querySelectorAll('main td, main th, main dd, main p')].map(e => e.textContent.trim())"
    with_script = open_page().evaluate(script)
    page = open_page(java_script_enabled=False)
    without = [text.strip() for text in page.locator("main td, main th, main dd, main p").all_text_contents()]
    assert without == with_script and len(without) > 1000


def test_it_is_dark_where_people_want_it_dark(open_page: Open) -> None:
    def lightness(scheme: str) -> tuple[float, float]:
        script = "['backgroundColor', 'color'].map(n => getComputedStyle(document.body)[n].match(/\\d+/g).map(Number))"
        page = open_page(color_scheme=scheme)
        back, ink = [sum(colour[:3]) / 3 for colour in page.evaluate(script)]
        return back, ink

    back, ink = lightness("light")
    assert back > 230 and ink < 60
    back, ink = lightness("dark")
    assert back < 40 and ink > 200


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (390, "dark"), (1440, "dark")])
def test_no_serious_fault_of_accessibility(open_page: Open, width: int, scheme: str) -> None:
    page = open_page(width, color_scheme=scheme)
    page.evaluate("for (const part of document.querySelectorAll('details:not(.run ~ .run)')) part.open = true")
    found = Axe().run(page).response["violations"]
    serious = {
        rule["id"]: [node["html"][:120] for node in rule["nodes"][:3]]
        for rule in found
        if rule["impact"] in ("serious", "critical")
    }
    assert not serious


def test_it_prints(open_page: Open) -> None:
    page = open_page()
    page.emulate_media(media="print")
    assert not page.locator("nav").is_visible()
    boxes = [layer.bounding_box() for layer in page.locator(".pair").first.locator(".layer").all()]
    assert boxes[0]["x"] + boxes[0]["width"] <= boxes[1]["x"]  # side by side on paper
    assert len(page.pdf(format="A4")) > 10_000
