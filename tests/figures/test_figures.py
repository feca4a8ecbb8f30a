"""The figures: they exist, are pictures, and depend only on their input."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from afigan.figures.features import TARGET, _first_component, draw_feature_maps
from afigan.figures.losses import draw_losses, read_losses, smooth


def write_log(path: Path, iterations: int, terms: tuple[str, ...] = ("loss_content", "loss_total")) -> Path:
    with path.open("w") as file:
        for i in range(1, iterations + 1):
            losses = {term: (j + 1) / i for j, term in enumerate(terms)}
            file.write(json.dumps({"iteration": i, "lr": 0.1} | losses) + "\n")
    return path


def feature_maps(size: int = 16) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    target = generator.normal(size=(8, size, size)).astype(np.float32)
    low = target[:, ::2, ::2]
    nearest = low.repeat(2, axis=1).repeat(2, axis=2)
    return {"low-resolution input": low, "nearest": nearest, "AFI": (nearest + target) / 2, TARGET: target}


def shape_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        assert image.format == "PNG"
        image.load()
        assert len(image.convert("RGB").getcolors(1 << 24)) > 10  # not blank
        return image.size


@pytest.mark.parametrize("iterations", [1, 2, 50, 2500])
def test_losses_are_drawn(tmp_path: Path, iterations: int) -> None:
    logs = {"main": write_log(tmp_path / "main.jsonl", iterations)}
    draw_losses(logs, tmp_path / "losses.png", "Stage 1")
    assert min(shape_of(tmp_path / "losses.png")) > 100


def test_many_experiments_with_different_terms(tmp_path: Path) -> None:
    logs = {f"plain_{i}": write_log(tmp_path / f"{i}.jsonl", 20) for i in range(14)}
    terms = ("loss_content", "loss_adversarial", "loss_mask", "loss_total")
    logs["more"] = write_log(tmp_path / "more.jsonl", 10, terms)
    draw_losses(logs, tmp_path / "figures" / "losses.png", "Stage 3")
    shape_of(tmp_path / "figures" / "losses.png")


def test_the_same_input_gives_the_same_bytes_under_any_user_settings(tmp_path: Path) -> None:
    import matplotlib

    image = np.zeros((32, 32, 3), np.uint8)
    pictures = []
    for settings in ({}, {"axes.facecolor": "red", "savefig.dpi": 33, "font.size": 30}):
        with matplotlib.rc_context(settings):
            draw_losses({"main": write_log(tmp_path / "main.jsonl", 9)}, tmp_path / "losses.png", "Stage 1")
            draw_feature_maps(feature_maps(), image, tmp_path / "maps.png")
        pictures.append(((tmp_path / "losses.png").read_bytes(), (tmp_path / "maps.png").read_bytes()))
    assert pictures[0] == pictures[1]


def test_losses_are_read_as_logged(tmp_path: Path) -> None:
    losses = read_losses(write_log(tmp_path / "log.jsonl", 4))
    assert list(losses) == ["loss_content", "loss_total"]  # lr is no loss
    np.testing.assert_array_equal(losses["loss_total"][0], [1, 2, 3, 4])
    np.testing.assert_array_equal(losses["loss_total"][1], [2 / 1, 2 / 2, 2 / 3, 2 / 4])


def testsmoothing_by_hand() -> None:
    np.testing.assert_array_equal(smooth(np.array([3.0, 1.0])), [3.0, 1.0])  # too short for a window
    values = np.zeros(20)
    values[[0, 10]] = 6.0
    expected = np.zeros(20)
    expected[[0, 1]] = 3.0, 2.0  # the window is cut off at the end
    expected[9:12] = 2.0
    np.testing.assert_allclose(smooth(values), expected, atol=1e-12)


@pytest.mark.parametrize("content", ["", '{"iteration": 1, "lr": 0.1}\n'])
def test_logs_without_losses_are_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "log.jsonl").write_text(content)
    with pytest.raises(ValueError, match=r"log\.jsonl holds no losses"):
        draw_losses({"main": tmp_path / "log.jsonl"}, tmp_path / "losses.png", "Stage 1")


@pytest.mark.parametrize(
    "line", ['{"iteration": 3, "lo', '{"loss_total": 1.0}', "[1]", '{"iteration": 1, "loss_a": null}']
)
def test_broken_log_lines_are_named(tmp_path: Path, line: str) -> None:
    log = write_log(tmp_path / "log.jsonl", 2)
    log.write_text(log.read_text() + line)
    with pytest.raises(ValueError, match=r"log\.jsonl, line 3"):
        draw_losses({"main": log}, tmp_path / "losses.png", "Stage 1")


def test_no_logs(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no logs"):
        draw_losses({}, tmp_path / "losses.png", "Stage 1")


def test_feature_maps_are_drawn(tmp_path: Path) -> None:
    draw_feature_maps(feature_maps(), np.zeros((40, 64, 3), np.uint8), tmp_path / "maps.png")
    assert min(shape_of(tmp_path / "maps.png")) > 100


def test_constant_maps_are_drawn(tmp_path: Path) -> None:
    maps = {name: np.zeros_like(values) for name, values in feature_maps().items()}
    draw_feature_maps(maps, np.zeros((40, 64, 3), np.uint8), tmp_path / "maps.png")
    assert (tmp_path / "maps.png").is_file()


def test_first_component_is_the_direction_of_most_variance() -> None:
    direction = np.array([0.0, -0.8, 0.6])
    values = 5.0 + direction[:, None, None] * np.arange(12.0).reshape(3, 4)
    centre, component = _first_component(values)
    np.testing.assert_allclose(component, -direction, atol=1e-12)  # the largest entry is positive
    np.testing.assert_allclose(centre[:, 0, 0], 5 + direction * 5.5)


def test_wrong_maps_are_refused(tmp_path: Path) -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(ValueError, match="high-resolution target"):
        draw_feature_maps({"nearest": np.zeros((8, 4, 4))}, image, tmp_path / "maps.png")
    with pytest.raises(ValueError, match="'nearest'"):
        draw_feature_maps(feature_maps() | {"nearest": np.zeros((1, 8, 4, 4))}, image, tmp_path / "maps.png")
    with pytest.raises(ValueError, match="uint8"):
        draw_feature_maps(feature_maps(), image / 255, tmp_path / "maps.png")


def test_reporting_needs_neither_torch_nor_a_display() -> None:
    modules = "afigan.reporting.tables, afigan.reporting.summary, afigan.figures.losses, afigan.figures.pictures"
    code = f"import sys, {modules}; print(*sys.modules)"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    assert "torch" not in loaded and "matplotlib.pyplot" not in loaded
