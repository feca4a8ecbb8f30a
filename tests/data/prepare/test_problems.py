"""Problems: grouped by reason, the most telling first, with counts and examples; the list has all of them."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from afigan.data.prepare.problems import EXAMPLES, MAX_GROUPS, DataError, Problem, grouped
from afigan.runtime.messages import shown


def image(key: int, reason: str, file: str = "set.json") -> Problem:
    return Problem(file, "image", key, reason, "paint it")


def test_a_group_shows_three_examples_and_its_count_and_the_list_is_complete(tmp_path):
    problems = [image(key, f"'{key}.jpg' is {key} x 3 pixels") for key in range(57)]
    listing = tmp_path / "data/problems.txt"
    error = DataError(problems, listing)
    assert isinstance(error, ValueError)
    head, *lines = str(error).splitlines()
    assert head == f"57 problems in the data; nothing was prepared. Complete list: {listing}"
    assert lines == [
        *(f"  set.json: image {key}: '{key}.jpg' is {key} x 3 pixels (paint it)" for key in range(3)),
        "    ... 57 images of set.json in all (these are the first 3)",
    ]
    assert listing.read_text().splitlines() == [str(problem) for problem in problems]


def test_what_repair_would_end_is_said_and_counted(tmp_path):
    problems = [replace(image(key, "is blue"), repairable=key % 2 == 0) for key in range(9)]
    lines = str(DataError(problems, tmp_path / "problems.txt")).splitlines()
    assert lines[1] == "  set.json: image 0: is blue (paint it; data.repair: true would repair it)"
    assert lines[4].endswith("... 5 images of set.json in all (these are the first 3)")
    assert lines[5] == "  set.json: image 1: is blue (paint it)"
    assert lines[-1] == "  (data.repair: true in params.yaml would repair 5 of the 9)"


def test_files_come_first_then_images_then_annotations_and_the_larger_group_of_one_kind():
    problems = [Problem("a.json", "annotation", n, "its box [1, 2] is bad", "mend it") for n in range(9)]
    problems += [image(1, "is blue"), image(2, "is red"), image(3, "is red"), image(4, "is red", "b.json")]
    problems += [Problem("b.json", "category", 1, "is odd", ""), Problem("b.json", "file", None, "has no images", "")]
    problems += [Problem("there", "folder", None, "is empty", "")]
    found = [(group[0].file, group[0].kind, group[0].reason, len(group)) for group in grouped(problems)]
    assert found == [
        ("b.json", "file", "has no images", 1),
        ("there", "folder", "is empty", 1),
        ("b.json", "category", "is odd", 1),
        ("set.json", "image", "is red", 2),
        ("set.json", "image", "is blue", 1),
        ("b.json", "image", "is red", 1),
        ("a.json", "annotation", "its box [1, 2] is bad", 9),
    ]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("its bbox [1, 2.5, -3e-05, 4]", "its bbox [0.1, 2, 3, nan]", True),
        ("'it\\'s' is 3x4 pixels", '"it\'s" is 30x40 pixels', True),
        ("'a.jpg' does not exist", "'b.jpg' cannot be read", False),
        (shown("x" * 900), shown("y" * 900), True),
        ("its iscrowd is 2", "its area is 2", False),
        ("has pixels of mode I;16", "has pixels of mode F", False),
    ],
)
def test_numbers_and_quoted_values_do_not_make_another_reason(one, other, same):
    assert len(grouped([image(1, one), image(2, other)])) == (1 if same else 2)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 25).map(lambda n: f"reason {chr(97 + n)}")), min_size=1)
)
def test_no_problem_is_lost_and_the_text_is_short(tmp_path_factory, drawn):
    problems = [image(key, reason, file) for key, (file, reason) in enumerate(drawn)]
    listing: Path = tmp_path_factory.mktemp("list") / "problems.txt"
    error = DataError(problems, listing)
    assert sorted(map(str, error.problems)) == sorted(map(str, problems))
    assert listing.read_text("utf-8").count("\n") == len(problems)
    groups = grouped(problems)
    shown_ones = sum(min(len(group), EXAMPLES) for group in groups[:MAX_GROUPS])
    assert str(error).count("(paint it)") == shown_ones
    if len(groups) > MAX_GROUPS:
        hidden = len(problems) - sum(map(len, groups[:MAX_GROUPS]))
        assert str(error).endswith(f"... and {hidden} more, for {len(groups) - MAX_GROUPS} other reasons")
