"""The data set on the page of results: its table, and the warnings of the current parameters."""

from composed import composed
from summaries import summary

from afigan.params.loading import check_params
from afigan.params.schema import Params
from afigan.reporting.data_set import data_set


def params(iterations: int) -> Params:
    values = composed("smoke")
    values["train_detector"] |= {"iterations": iterations, "batch_size": 4}
    return check_params(values)


def test_the_table_follows_the_warnings():
    text = data_set(summary(10, {"cat": 40, "_a|b_c": 20}), params(10))
    first, second, blank, *lines = text.splitlines()
    assert first.startswith("- **Warning**: train_detector: 10 iterations of batch_size 4 see each of the 10 images")
    assert "'\\_a\\|b_c' (20 in train, 80 times)" in second and blank == ""
    cells = [[cell.strip() for cell in line.replace("\\|", "&").strip("|").split("|")] for line in lines]
    assert cells[0] == ["", "train", "val"] and ["images", "10", "10"] in cells
    assert cells[-2:] == [["class cat", "40", "40"], ["class \\_a&b_c", "20", "20"]]


def test_a_schedule_that_suffices_needs_no_warning():
    assert data_set(summary(10, {"cat": 40}), params(100)).startswith("|")


def test_many_classes_are_folded():
    counts = {f"c{n}": 50 for n in range(80)}
    text = data_set(summary(10, counts), params(1000))
    assert text.startswith("<details><summary>") and text.endswith("</details>")
    assert all(f"| class c{n} " in text for n in range(80))
