"""The bootstrap of a run: the same resamples for all evaluations; matches that do not fit their metrics are refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scenes import write_scene

from afigan.evaluation.coco import coco_metrics
from afigan.evaluation.matches import match, read_matches, write_matches
from afigan.reporting import resamples
from afigan.reporting.bootstrap import image_weights, replicate_ap
from afigan.reporting.metrics import AP_NAMES, Metrics
from afigan.reporting.resamples import REPLICATES, SEED, Resamples

KINDS = {"box": "bbox", "mask": "segm"}


def run_of(folder: Path, key: str, drop: int = 0, kinds: tuple[str, ...] = ("box", "mask")) -> Metrics:
    """Evaluate the scene's detections without the first `drop`, and write the matches to the folder."""
    path = folder / "val.json"
    found = write_scene(path, seed=3, images=10)[drop:]
    write_matches(folder / f"{key}.matches.npz", {kind: match(path, found, KINDS[kind]) for kind in kinds})
    values: dict[str, float | None] = {"params_M": 1.0} | {f"{k}_{n}": None for k in KINDS for n in AP_NAMES}
    for kind in kinds:
        values |= {f"{kind}_{name}": value for name, value in coco_metrics(path, found, KINDS[kind]).items()}
    about = {"schedule": "", "source": "shapes", "train_images": 1, "val_images": 10, "multi_scale": False}
    return Metrics(key=key, model="detectors/m", seed=0, values=values, **about)


def test_every_evaluation_sees_the_same_images(tmp_path: Path) -> None:
    """Two evaluations with the same detections have the same replicates, because all share one draw."""
    first, same, other = run_of(tmp_path, "a"), run_of(tmp_path, "b"), run_of(tmp_path, "c", drop=3)
    drawn = Resamples(tmp_path)
    assert drawn.images == 0
    for kind in KINDS:
        replicates = drawn.ap(first, kind)
        assert replicates.shape == (REPLICATES,) and drawn.images == 10
        assert abs(np.nanmean(replicates) - first.values[f"{kind}_AP"]) < np.nanstd(replicates)
        np.testing.assert_array_equal(replicates, drawn.ap(same, kind))
        weights = image_weights(10, REPLICATES, SEED)
        expected = replicate_ap(read_matches(tmp_path / "c.matches.npz")[kind], weights)
        np.testing.assert_allclose(drawn.ap(other, kind), expected, rtol=1e-12)
        assert not np.array_equal(expected, replicates)
    assert not np.array_equal(drawn.ap(first, "box"), drawn.ap(first, "mask"))
    np.testing.assert_array_equal(Resamples(tmp_path).ap(first, "box"), drawn.ap(first, "box"))  # whenever


def test_an_evaluation_is_computed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_of(tmp_path, "a")
    computed = []
    original = resamples.replicate_ap
    monkeypatch.setattr(resamples, "replicate_ap", lambda *args: computed.append(1) or original(*args))
    drawn = Resamples(tmp_path)
    assert [drawn.ap(run, kind) is drawn.ap(run, kind) for kind in ("box", "mask", "box")] == [True] * 3
    assert len(computed) == 2


def test_boxes_alone(tmp_path: Path) -> None:
    run = run_of(tmp_path, "a", kinds=("box",))
    assert Resamples(tmp_path).ap(run, "box").shape == (REPLICATES,)


def test_matches_of_another_evaluation_are_refused(tmp_path: Path) -> None:
    run, _ = run_of(tmp_path, "a"), run_of(tmp_path, "b", drop=5)
    (tmp_path / "b.matches.npz").rename(tmp_path / "a.matches.npz")
    with pytest.raises(ValueError, match=r"a\.matches\.npz gives a box AP of .* a\.json says .*dvc repro"):
        Resamples(tmp_path).ap(run, "box")


def test_matches_that_are_missing_are_named(tmp_path: Path) -> None:
    run = run_of(tmp_path, "a", kinds=("box",))
    masks = {f"mask_{name}": 10.0 for name in AP_NAMES}
    with pytest.raises(ValueError, match=r"a\.matches\.npz has no matches of the kind 'mask'"):
        Resamples(tmp_path).ap(replace(run, values=run.values | masks), "box")
    (tmp_path / "a.matches.npz").unlink()
    with pytest.raises(ValueError, match=r"a\.matches\.npz does not exist: run the stage `evaluate`"):
        Resamples(tmp_path).ap(run, "box")


def test_other_images_are_refused(tmp_path: Path) -> None:
    run = run_of(tmp_path, "a")
    write_scene(tmp_path / "other.json", seed=4, images=10)
    write_matches(tmp_path / "b.matches.npz", {"box": match(tmp_path / "other.json", [], "bbox")})
    drawn = Resamples(tmp_path)
    drawn.ap(run, "box")
    with pytest.raises(ValueError, match=r"b\.matches\.npz has other images"):
        drawn.ap(replace(run, key="b"), "box")
