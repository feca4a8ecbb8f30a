"""The picture of all contrasts: every one is drawn, at its values, in the style of its verdict."""

import io
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from measured import REPLICATES, Measured
from PIL import Image

from afigan.reporting.intervals import STYLES, draw_intervals, intervals_figure
from afigan.reporting.judged import Judged, judge_run
from afigan.reporting.verdicts import MARGIN, NOTHING_RUN

ROWS = {"A1": 10.0, "A2": 11.0, "A3": -30.0, "A4": 12.0, "A5": 14.0, "A6": 10.2}
ROWS |= {"NN with stage 2": 14.0, "A5 without D": 19.0, "A5 detached": 14.3}
FIVE = np.array([-0.2, -0.1, 0.0, 0.1, 0.2])


@pytest.fixture
def run() -> Measured:
    """Table 4, with contrasts of every verdict; A4 has no masks, and Table 9 has one seed."""
    made = Measured()
    for place, (label, value) in enumerate(ROWS.items()):
        values = value + np.roll(FIVE, place)
        made.put(4, label, list(values), None if label == "A4" else list(values / 2))
    made.put(9, "B1", [10.0], [8.0])
    made.put(9, "B2", [35.0], [30.0])
    made.put(7, "same", [20.0, 20.1, 20.2])
    made.put(7, "different", [25.0, 25.4, 25.1])
    made.put(8, "bilinear", [20.0, 20.1, 20.2])
    made.put(8, "nearest", [20.0, 20.1, 20.3])
    made.put(8, "bicubic", [22.0, 19.1, 20.3])
    made.resamples.noise = {("B1", "box"): np.random.default_rng(0).normal(size=REPLICATES)}
    return made


def artists(figure: Figure) -> dict[str, object]:
    """Return the named artists by name."""
    (axis,) = figure.axes
    named = {artist.get_gid(): artist for artist in axis.get_children() if artist.get_gid()}
    assert len(named) == sum(1 for artist in axis.get_children() if artist.get_gid())
    return named


def contrasts(judged: Judged) -> dict[str, tuple]:
    """Return the contrasts of the claims of which something was run, by name."""
    return {
        f"{o.claim.name}: {f.comparison.text}, {f.comparison.column}": (f, j)
        for o in judged.outcomes
        if o.verdict != NOTHING_RUN
        for f, j in zip(o.findings, o.judgements, strict=True)
    }


def test_every_contrast_is_drawn_at_its_values(run: Measured) -> None:
    judged = judge_run(run.results)
    drawn = artists(intervals_figure(judged))
    expected = contrasts(judged)
    assert sum(f.effect is not None for f, _ in expected.values()) > 15
    places = []
    for name, (finding, _) in expected.items():
        assert f"{name}, metric" in drawn  # also of what has not been run
        assert (f"{name}, mean" in drawn) == (f"{name}, interval" in drawn) == (finding.effect is not None)
        if finding.effect is None:
            assert drawn[f"{name}, mean [95 % interval]"].get_text() in ("not run", "undefined")
            assert f"{name}, paper" not in drawn or drawn[f"{name}, paper"].get_text() == ""
            continue
        mean, interval = drawn[f"{name}, mean"], drawn[f"{name}, interval"]
        assert mean.get_xdata()[0] == finding.effect.mean
        assert tuple(interval.get_xdata()) == finding.interval
        assert set(interval.get_ydata()) == set(mean.get_ydata())
        places.append(mean.get_ydata()[0])
        low, high = intervals_figure(judged).axes[0].get_xlim()
        assert low < finding.interval[0] and finding.interval[1] < high
    assert len(set(places)) == len(places) and places == sorted(places)  # from the top, none over another


def test_the_papers_difference_is_a_tick(run: Measured) -> None:
    judged = judge_run(run.results)
    axis = intervals_figure(judged).axes[0]
    ticks = {line.get_gid(): line for line in axis.get_lines() if line.get_marker() == "|"}
    expected = {n: f for n, (f, _) in contrasts(judged).items() if f.printed is not None and f.effect is not None}
    assert {f"{name}, tick" for name in expected} == set(ticks)
    for name, finding in expected.items():
        assert ticks[f"{name}, tick"].get_xdata()[0] == finding.printed
    assert ticks["C3: A5 − A1, box_AP, tick"].get_xdata()[0] == 2.6


@pytest.mark.parametrize(
    ("name", "style"),
    [
        ("C3: A5 − A1, box_AP", "agrees"),
        ("C5: different − same, box_AP", "contradicts"),
        ("C6: degradation bicubic − bilinear, box_AP", "undecided"),
        ("C7: B1 − B2, box_AP", "undecided"),
        ("C3: A6 − A1, box_AP", "not judged"),
        ("Q1: A5 − NN with stage 2, box_AP", "the same within 1 AP"),
        ("Q2: A5 − A5 without D, box_AP", "lower"),
    ],
)
def test_a_verdict_has_a_colour_and_a_shape(run: Measured, name: str, style: str) -> None:
    drawn = artists(intervals_figure(judge_run(run.results)))
    colour, shape = STYLES[style]
    mean = drawn[f"{name}, mean"]
    assert (to_hex(mean.get_color()).upper(), mean.get_marker()) == (colour, shape)
    assert to_hex(drawn[f"{name}, interval"].get_color()).upper() == colour
    assert drawn[f"{name}, verdict"].get_text().startswith(style)


def test_box_and_mask_can_be_distinguished(run: Measured) -> None:
    drawn = artists(intervals_figure(judge_run(run.results)))
    box, mask = (drawn[f"C3: A5 − A1, {kind}_AP, mean"] for kind in ("box", "mask"))
    assert box.get_markerfacecolor() == box.get_color() and mask.get_markerfacecolor() == "white"
    assert drawn["C3: A5 − A1, mask_AP, metric"].get_text() == "mask"
    assert drawn["C3: A4 − A5, mask_AP, mean [95 % interval]"].get_text() == "undefined"


def test_zero_and_the_margin(run: Measured) -> None:
    drawn = artists(intervals_figure(judge_run(run.results)))
    assert set(drawn["zero"].get_xdata()) == {0}
    extents = drawn["margin"].get_x(), drawn["margin"].get_x() + drawn["margin"].get_width()
    assert extents == (-MARGIN, MARGIN)


def test_large_values_do_not_hide_small_ones(run: Measured) -> None:
    axis = intervals_figure(judge_run(run.results)).axes[0]
    assert axis.get_xscale() == "symlog" and "logarithmic beyond" in axis.get_xlabel()
    del run.rows[9], run.rows[4]
    axis = intervals_figure(judge_run(run.results)).axes[0]
    assert axis.get_xscale() == "linear" and "logarithmic" not in axis.get_xlabel()


def test_everyone_can_distinguish_the_styles() -> None:
    """Shapes all differ; colours of the verdicts of one list do, also as seen without red or green cones."""
    assert len({shape for _, shape in STYLES.values()}) == len(STYLES)
    simulated = {  # Viénot, Brettel and Mollon (1999), on linear RGB
        "protan": [[0.11238, 0.88762, 0.0], [0.11238, 0.88762, 0.0], [0.00401, -0.00401, 1.0]],
        "deutan": [[0.29275, 0.70725, 0.0], [0.29275, 0.70725, 0.0], [-0.02234, 0.02234, 1.0]],
    }
    lists = (("agrees", "contradicts", "undecided"), ("higher", "lower", "the same within 1 AP", "undecided"))
    for matrix in (np.eye(3), *map(np.array, simulated.values())):
        for words in lists:
            seen = [matrix @ np.array(to_rgb(STYLES[word][0])) ** 2.2 for word in words]
            seen = [np.clip(colour, 0, 1) ** (1 / 2.2) for colour in seen]
            for i, first in enumerate(seen):
                for second in seen[:i]:
                    assert np.abs(first - second).max() > 0.25, words


def test_the_title_names_the_source_of_the_intervals(run: Measured) -> None:
    assert "over seeds and images" in intervals_figure(judge_run(run.results)).get_suptitle()
    del run.rows[4], run.rows[7], run.rows[8]
    assert "over images alone" in intervals_figure(judge_run(run.results)).get_suptitle()


def test_the_picture_is_written_and_depends_only_on_its_input(run: Measured, tmp_path: Path) -> None:
    judged = judge_run(run.results)
    draw_intervals(judged, tmp_path / "figures" / "claims.png")
    first = (tmp_path / "figures" / "claims.png").read_bytes()
    with Image.open(io.BytesIO(first)) as image:
        assert image.format == "PNG" and min(image.size) > 600
    draw_intervals(judged, tmp_path / "again.png")
    assert (tmp_path / "again.png").read_bytes() == first


def test_nothing_run() -> None:
    judged = judge_run(Measured().results)
    drawn = artists(intervals_figure(judged))
    assert not [gid for gid in drawn if "mean [95 % interval]" in gid]
