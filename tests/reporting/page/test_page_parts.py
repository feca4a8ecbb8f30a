"""The parts of the page: axis, curves, runs, classes, data, and the forms of Markdown."""

import itertools
import math

import pytest
from composed import composed
from measured import Measured

from afigan.params.lineage import Lineage
from afigan.params.loading import check_params
from afigan.reporting.embedded import Curve, Losses
from afigan.reporting.markdown import shown_table
from afigan.reporting.page.cards import KINDS, SHAPES, kind_of
from afigan.reporting.page.curves import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, stages, ticks
from afigan.reporting.page.markup import bullets, inline
from afigan.reporting.page.render import clock, grouped
from afigan.reporting.page.runs import ancestry, flat, settings
from afigan.reporting.page.scale import APART, Scale, bend
from afigan.reporting.page.summaries import FEW, RUNS, class_grids, error_grids
from afigan.reporting.page.tables import main_view
from afigan.reporting.tables import compare
from afigan.reporting.verdicts import AGREES, in_part


def test_the_axis_is_linear_in_the_middle_and_rises_everywhere() -> None:
    assert [bend(value) for value in (-3, 0, 0.5, 10)] == [-3, 0, 0.5, 10]
    values = [-80, -20, -10.01, -10, -9.99, -1, 0, 2, 10, 11, 60]
    bent = [bend(value) for value in values]
    assert bent == sorted(set(bent)) and all(bend(-value) == -bend(value) for value in values)
    assert bend(1000) - bend(100) == pytest.approx(bend(100) - bend(10))


@pytest.mark.parametrize("values", [[], [0.3], [-46, 8], [-100, 100], [3, 12]])
def test_the_axis_has_all_values_and_labels_that_do_not_touch(values: list[float]) -> None:
    scale = Scale.around(values)
    assert all(0 < scale.percent(value) < 100 for value in [*values, 0, -2, 2])
    places = scale.ticks()
    assert places["0"] == scale.percent(0)
    assert list(places.values()) == [scale.percent(float(label)) for label in places]
    ordered = list(places.values())
    assert all(b - a >= APART for a, b in itertools.pairwise(ordered))


def test_verdicts_have_colours_and_shapes() -> None:
    assert kind_of(AGREES) == kind_of(in_part(AGREES)) == "agrees" and kind_of("not run") == "none"
    assert len(set(KINDS.values())) == len(KINDS) == len(set(SHAPES.values())) - 1


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 400, [0, 100, 200, 300, 400]), (0.3, 2.9, [0, 1, 2, 3]), (0, 0, [0, 0.5, 1.0]), (5.66, 6.9, [5.5, 6, 6.5, 7])],
)
def test_ticks_are_round(low: float, high: float, expected: list[float]) -> None:
    found = ticks(low, high)
    if low < high:
        assert found == expected and found[0] <= low and found[-1] >= high
    assert len(found) >= 1 and all(math.isfinite(tick) for tick in found)


def test_curves_are_drawn_where_their_values_are() -> None:
    one = Curve(stage="s", run="a", term="total", iterations=(1, 50, 100), values=(4.0, 2.0, 0.0), last=0.0)
    two = Curve(stage="s", run="b", term="total", iterations=(100,), values=(1.0,), last=1.0)
    three = Curve(stage="s", run="a", term="mask", iterations=(100,), values=(1.0,), last=1.23456)
    (stage,) = stages(Losses(stages={"s": "Stage"}, curves=(one, two, three)))
    assert [panel.term for panel in stage.panels] == ["mask", "total"]  # the sum is the last
    assert stage.last == {"run": ["a", "b"], "mask": ["1.23", ""], "total": ["0", "1"]}
    panel = stage.panels[1]
    points = [[tuple(map(float, pair.split(","))) for pair in text.split()] for _, text in panel.lines]
    wide, tall = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    expected = [(LEFT + wide * i / 100, TOP + tall * (1 - value / 4)) for i, value in ((1, 4), (50, 2), (100, 0))]
    assert points[0] == [pytest.approx(pair, abs=0.06) for pair in expected]
    assert points[1] == [pytest.approx((LEFT + wide, TOP + tall * 0.75), abs=0.06)]
    assert dict(panel.y)["4"] == TOP and dict(panel.x)["100"] == WIDTH - RIGHT
    assert stage.styles[0] != stage.styles[1]


def test_rows_of_several_seeds_name_them() -> None:
    run = Measured()
    run.put(4, "A1", [50.0, 51.0])
    run.put(4, "A5", [57.0])
    shown = shown_table(4, compare(4, run.results), run.results)
    contents = {key: {"seed": int(key[-1])} for row in run.rows[4].values() for key in row.evaluations}
    rows = {row.head.split()[0]: row for row in main_view(shown, contents).rows}
    assert rows["A1"].runs == [("t4, A1, s0", "0"), ("t4, A1, s1", "1")] and rows["A1"].reference
    assert rows["A5"].runs == [("t4, A5, s0", "t4, A5, s0")] and not rows["A5"].reference
    assert rows["A2"].runs == [] and not any(cell.run for cell in rows["A2"].cells)
    linked = [cell.text for cell in rows["A5"].cells if cell.run == "t4, A5, s0"]
    assert linked == ["57.0", "n/a"]  # not the differences


def test_a_run_is_traced_to_its_backbone() -> None:
    lineage = Lineage(check_params(composed("mini")))
    found = [node.name for node in ancestry(lineage["evaluations/a5"])]
    assert found[0] == "evaluations/a5" and len(set(found)) == len(found)
    assert {"detectors/a5", "extractors/main", "afigan/main", "detectors/a1", "backbones/main"} < set(found)
    assert settings(lineage["detectors/a4"]).endswith("reuse: M, freeze_interpolator: true")


def test_everything_measured_is_listed() -> None:
    content = {"AP": 57.123456, "n": 0, "on": False, "none": None, "by": {"disc": 3}, "levels": ["p2", "p3"]}
    curve = [0.5] * 100
    assert list(flat(content | {"curve": curve}, "box")) == [
        ("box AP", "57.1235"),
        ("box n", "0"),
        ("box on", "no"),
        ("box none", "undefined"),
        ("box by disc", "3"),
        ("box levels", "p2, p3"),
    ]


def classes(*values: float | None) -> dict:
    named = enumerate(values)
    return {"classes": [{"name": f"c{i}", "objects": 1200, "AP": value, "AP50": 9.0} for i, value in named]}


def test_classes_by_hand() -> None:
    contents = {"a": {"box": classes(1.25, None), "mask": None}, "b": {"box": classes(3, 4)}, "old": {"box": {"AP": 1}}}
    grids = class_grids(contents, first=("b", "a"))
    assert list(grids) == ["box AP", "box AP50"]
    assert grids["box AP"] == {"run": ["b", "a"], "c0 (1,200)": ["3.0", "1.2"], "c1 (1,200)": ["4.0", "n/a"]}
    assert class_grids({"old": {"box": {"AP": 1.0}, "mask": None}}) == {}
    runs = {f"r{i}": {"box": classes(1, 2)} for i in range(RUNS + 5)}
    assert len(class_grids(runs)["box AP"]["run"]) == RUNS + 5


def test_many_classes_are_rows() -> None:
    contents = {"a": {"box": classes(*range(FEW), None)}, "b": {"box": classes(*range(1, FEW + 2))}}
    table = class_grids(contents, first=("b",))["box AP"]
    assert list(table) == ["class", "objects", "b", "a"] and set(table["objects"]) == {"1,200"}
    assert (table["class"][-1], table["b"][-1], table["a"][-1]) == (f"c{FEW}", f"{FEW + 1}.0", "n/a")
    many = {f"r{i}": {"box": classes(*range(FEW + 1))} for i in range(RUNS + 5)}
    assert list(class_grids(many, ("r24",))["box AP"])[2:] == ["r24", *(f"r{i}" for i in range(RUNS - 1))]


def test_errors_by_hand() -> None:
    errors = {"missed": {"count": 1200, "dAP": 1.26}, "both": {"count": 0, "dAP": None}}
    contents = {"a": {"box": {"errors": errors}, "mask": None}, "old": {"box": {"AP": 1.0}, "mask": None}}
    assert error_grids(contents) == {"box": {"run": ["a"], "missed": ["1,200 (+1.3)"], "both": ["0 (n/a)"]}}


def test_markdown_becomes_html_and_the_rest_is_escaped() -> None:
    assert inline("**a** *b* `c<d`\n [e](f/g.md) & x_y * 2 * 3") == (
        '<strong>a</strong> <em>b</em> <code>c&lt;d</code> <a href="f/g.md">e</a> &amp; x_y * 2 * 3'
    )
    assert bullets("## Rules\n\n- **A** one\n  line\n- B") == ["<strong>A</strong> one line", "B"]


def test_times() -> None:
    assert [clock(seconds) for seconds in (0, 59.6, 3725)] == ["0:00:00", "0:01:00", "1:02:05"]
    times = [("prepare", 5.0), ("detectors/a", 30.0), ("detectors/b", 20.0)]
    assert grouped(times) == [("prepare", 1, 5.0, 10.0), ("detectors", 2, 50.0, 100.0)]
    assert grouped([]) == []
