"""The page of results: complete without a script, self-contained, and the same for the same results."""

import itertools
import json
import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest
from measured import Resampled
from reported import CLASSES, write_inputs
from summaries import summary

from afigan.outputs.paths import PAGE as FOLDER
from afigan.outputs.paths import all_nodes
from afigan.params.loading import check_params, compose
from afigan.params.schema import Params
from afigan.reporting import report
from afigan.reporting.metrics import AP_NAMES
from afigan.reporting.page.facts import BEGIN, END, facts, without_facts
from afigan.runtime import state
from afigan.runtime.files import write_json

CONF = Path(__file__).parents[3] / "conf"
PAGE = Path("results/index.html")
NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)
VOID = {"meta", "link", "img", "input", "br"}


class Document(HTMLParser):
    """A parsed page. elements: (tag, attributes). cells: the texts of all cells of tables. text: of all."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.cells: list[str] = []
        self.text = ""
        self.open: list[str] = []
        self.unbalanced: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.unbalanced.append(f"{tag} at {self.getpos()}")

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.text += data
            if {"td", "th"} & set(self.open):
                self.cells[-1] += data


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """Parameters of the profile `mini`; the working directory has the inputs of its report."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("afigan.reporting.results.Resamples", lambda folder: Resampled())
    params = check_params(compose("mini", CONF))
    write_inputs(params)
    return params


@pytest.fixture
def document(params: Params) -> Document:
    report.write_report(params)
    return Document(PAGE.read_text("utf-8"))


def test_the_markup_is_sound(document: Document) -> None:
    assert not document.unbalanced and not document.open
    ids = [attributes["id"] for _, attributes in document.elements if "id" in attributes]
    assert [name for name, count in Counter(ids).items() if count > 1] == []
    targets = {a["href"][1:] for _, a in document.elements if a.get("href", "").startswith("#")}
    targets |= {a[name] for _, a in document.elements for name in ("aria-labelledby", "for") if name in a}
    assert targets and targets <= set(ids)
    assert all(a.get("alt") for tag, a in document.elements if tag == "img")
    assert all(a.get("scope") in ("row", "col") for tag, a in document.elements if tag == "th")
    levels = [int(tag[1]) for tag, _ in document.elements if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1 and all(b - a <= 1 for a, b in itertools.pairwise(levels))


def test_every_number_of_the_text_report_is_there_without_a_script(document: Document) -> None:
    cells = {" ".join(cell.split()) for cell in document.cells}
    for file in sorted(Path("results").glob("tables/*.md")):
        rows = [line for line in file.read_text("utf-8").splitlines() if line.startswith("|") and "---" not in line]
        values = {cell.strip() for row in rows for cell in row.strip("|").split("|")} - {""}
        missing = {value for value in values - cells if f"{value} reference" not in cells}
        assert len(values) > 10 and not missing, (file.name, missing)
    claims = Path("results/claims.md").read_text("utf-8")
    values = set(re.findall(r"[+-]\d+\.\d \[[^]]+\]", claims))
    assert values and all(value in document.text for value in values)


def test_it_needs_no_other_file_and_links_only_to_files_that_exist(document: Document) -> None:
    links = [a[name] for _, a in document.elements for name in ("src", "href") if name in a]
    pictures = [link for link in links if link.startswith("data:image")]
    assert len(pictures) == 2 * 2 + len(report.PAGE_PICTURES)
    others = {link for link in links if not link.startswith(("data:", "#"))}
    assert {"README.md", "claims.md", "claims.csv", "tables/table4.csv", "metrics/a5.json"} <= others
    assert all((PAGE.parent / link).is_file() for link in others)
    text = PAGE.read_text("utf-8")
    assert "http" not in re.sub(r'http-equiv="Content-Security-Policy"', "", text) and "@import" not in text
    assert "content=\"default-src 'none';" in text  # so that a browser refuses every request


def test_values_of_ours_link_to_their_run(document: Document) -> None:
    hrefs = Counter(a["href"] for _, a in document.elements if "href" in a)
    assert hrefs["#run-a5"] >= 3 and "#run-control_nn" in hrefs
    settings = "backbone: main, interpolator: afi, init: extractors/main, reuse: M"
    assert settings in document.text and "teacher: a1, degradation: bilinear" in document.text


def test_reference_rows_are_marked(document: Document) -> None:
    marked = [cell for cell in document.cells if "reference" in cell.split()]
    assert [cell.split()[0] for cell in marked] == ["A1", "nearest", "same", "bilinear", "B2"]


def test_names_of_the_data_are_text_and_not_markup(document: Document) -> None:
    assert CLASSES[1] in document.text and "b" not in {tag for tag, _ in document.elements[60:]}
    assert "box & <b>bow" not in PAGE.read_text("utf-8")


def test_classes_and_errors_are_tables(document: Document) -> None:
    assert "AP of each class" in document.text and {"30.5", "20.5"} <= set(document.cells)
    assert "17 (+2.5)" in document.cells and "0 (n/a)" in document.cells


def test_older_metrics_have_neither(params: Params) -> None:
    for path in Path("results/metrics").glob("*.json"):
        content = json.loads(path.read_text())
        for kind in ("box", "mask"):
            content[kind] = {name: content[kind][name] for name in AP_NAMES}
        path.write_text(json.dumps(content))
    page = report.report(params)[0][PAGE]
    assert "AP of each class" not in page and 'id="errors"' not in page


def test_the_page_shows_the_data_as_prepare_and_readme_do(params: Params) -> None:
    write_json("data/prepared/summary.json", summary(7, {"disc": 1230, "box": 0}))
    texts = report.report(params)[0]
    page, readme = texts[PAGE], texts[Path("results/README.md")]
    cells = re.findall(r"<t[dh][^>]*>([^<]*)</t[dh]>", page[page.index('id="data"') : page.index('id="runs"')])
    assert {"1,230", "none", "crowds, left out"} & set(cells) == {"1,230", "none"}  # no row of nothing
    warnings = re.findall(r"<b>Warning:</b> ([^<]*)</li>", page)
    assert warnings and readme.count("- **Warning**:") == len(warnings)


def test_the_same_results_give_the_same_page(params: Params) -> None:
    first, second = (report.report(params)[0][PAGE] for _ in range(2))
    assert first == second


def tell(node: str, began: float, ended: float) -> None:
    """Write a stage's state, with times in minutes after noon."""
    times = {"began": NOON + timedelta(minutes=began), "written": NOON + timedelta(minutes=ended)}
    state.write(state.RUNS / node, state.State(node=node, params_hash="", status="done", **times))


def test_what_differs_from_run_to_run_is_between_marks(params: Params) -> None:
    before = report.report(params)[0][PAGE]
    tell("prepare", 0, 1.5)
    tell("detectors/a5", 2, 9)
    tell("tables", 9, 10)
    after = report.report(params)[0][PAGE]
    assert before != after and without_facts(before) == without_facts(after)
    assert after.count(BEGIN) == after.count(END) == 1
    tell("detectors/removed", 0, 500)  # of an experiment that params.yaml has no longer
    told = facts(all_nodes(params))
    assert told.stages == [("prepare", 90.0), ("detectors/a5", 420.0)] and told.wall == 540.0
    assert "0:09:00" in after and "AMD EPYC" in after
    metrics = Path("results/metrics/a5.json")
    metrics.write_text(metrics.read_text().replace('"iterations": 9', '"iterations": 8'))
    assert without_facts(report.report(params)[0][PAGE]) != without_facts(after)


def test_a_machine_that_is_not_known_is_not_named(params: Params) -> None:
    told = state.State(node="prepare", params_hash="", status="done", process=state.Process(host="elsewhere-7"))
    state.write(state.RUNS / "prepare", told)
    assert facts(all_nodes(params)).machine == "not recorded"
    assert "elsewhere-7" not in report.report(params)[0][PAGE]


@pytest.mark.parametrize("name", ["images.json", "losses.json"])
def test_what_the_stage_figures_has_not_written_is_named(params: Params, name: str) -> None:
    path = FOLDER / name
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"more": 1}))
    with pytest.raises(ValueError, match=rf"{name} is not what the stage `figures` writes"):
        report.write_report(params)
    path.unlink()
    with pytest.raises(ValueError, match=rf"{name} does not exist: run the stage `figures` again"):
        report.write_report(params)
    assert not PAGE.exists()
