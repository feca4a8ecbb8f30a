"""Matches of an evaluation: AP from them is COCO's in every area range; the file is small, complete, reproducible."""

import json
import zipfile
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from scenes import CATEGORIES, write_scene

from afigan.evaluation.coco import NAMES, coco_metrics
from afigan.evaluation.matches import AREAS, IOUS, Matches, match, read_matches, write_matches

KINDS = ("bbox", "segm")
AP_OF = {"AP": "all", "APs": "small", "APm": "medium", "APl": "large"}


def slow_ap(matches: Matches, area: str) -> float | None:
    """Compute AP in percent by its definition, one detection after the other."""
    found, left_out = matches.detections(area)
    values = []
    for k in range(len(matches.categories)):
        objects = matches.truths[AREAS.index(area), matches.truth_starts[k] : matches.truth_starts[k + 1]].sum()
        if objects == 0:
            continue
        for t in range(IOUS):
            hits = counted = 0
            points = []
            for d in range(matches.starts[k], matches.starts[k + 1]):
                if not left_out[t, d]:
                    hits, counted = hits + int(found[t, d]), counted + 1
                    points.append((hits / objects, hits / counted))
            values += [
                max((precision for recall, precision in points if recall >= level), default=0.0)
                for level in np.linspace(0, 1, 101)
            ]
    return 100 * float(np.mean(values)) if values else None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(4))
def test_ap_of_matches_is_cocos(tmp_path, kind, seed):
    path = tmp_path / "val.json"
    results = write_scene(path, seed, images=12)
    metrics, matches = coco_metrics(path, results, kind), match(path, results, kind)
    assert 0 < metrics["AP"] < 100
    for name, area in AP_OF.items():
        ours = slow_ap(matches, area)
        assert (ours is None) == (metrics[name] is None)
        assert ours is None or ours == pytest.approx(metrics[name], abs=1e-9)


def test_crowds_are_left_out_and_ids_are_the_files(tmp_path):
    path = tmp_path / "val.json"
    results = write_scene(path, 1, images=12)
    values = json.loads(path.read_text())
    matches = match(path, results, "bbox")
    assert matches.categories.tolist() == list(CATEGORIES)
    assert matches.image_ids.tolist() == [image["id"] for image in values["images"]] and matches.images == 12
    assert len(matches.image) == matches.starts[-1] == len(results)
    objects = [a for a in values["annotations"] if not a["iscrowd"]]
    assert len(objects) < len(values["annotations"])
    assert matches.truths[AREAS.index("all")].sum() == len(objects)
    found, left_out = matches.detections("all")
    assert left_out[0].any() and not (found & left_out).any()
    # a lower threshold finds no fewer; every object is found once at most
    assert (np.diff(found.sum(axis=1)) <= 0).all() and found[0].sum() <= len(objects)


@pytest.mark.parametrize("kind", KINDS)
def test_an_annotation_with_id_0_is_found(tmp_path, kind):
    """Its detection is the only one: COCO's programs take this id to mean no match."""
    path = tmp_path / "val.json"
    write_scene(path, 0)
    values = json.loads(path.read_text())
    annotation = next(a for a in values["annotations"] if a["id"] == 0) | {"iscrowd": 0}
    path.write_text(json.dumps(values | {"annotations": [annotation]}))
    names = ("image_id", "category_id", "bbox", "segmentation")
    result = {name: annotation[name] for name in names} | {"score": 0.5}
    assert coco_metrics(path, [result], kind)["AP"] == pytest.approx(100)
    assert slow_ap(match(path, [result], kind), "all") == pytest.approx(100)


def test_at_most_100_detections_of_an_image_count(tmp_path):
    path = tmp_path / "val.json"
    results = write_scene(path, 0)
    one = [results[0] | {"score": float(s)} for s in np.random.default_rng(0).permutation(150) / 150]
    matches = match(path, one, "bbox")
    assert len(matches.image) == 100 and len(set(matches.image)) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_without_detections_objects_remain(tmp_path, kind):
    write_scene(tmp_path / "val.json", 0)
    matches = match(tmp_path / "val.json", [], kind)
    assert len(matches.image) == 0 and matches.truths.any() and slow_ap(matches, "all") == 0


def test_without_objects_there_is_no_ap(tmp_path):
    path = tmp_path / "val.json"
    results = write_scene(path, 0)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"annotations": []}))
    matches = match(path, results, "bbox")
    assert len(matches.image) == len(results) and not matches.truths.any() and slow_ap(matches, "all") is None
    assert coco_metrics(path, results, "bbox") == dict.fromkeys(NAMES)


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def both(tmp_path) -> dict[str, Matches]:
    results = write_scene(tmp_path / "val.json", 0)
    return {"box": match(tmp_path / "val.json", results, "bbox"), "mask": match(tmp_path / "val.json", results, "segm")}


def test_a_file_gives_back_what_was_written(tmp_path, both):
    for matches in (both, {"box": both["box"]}, {"box": match(tmp_path / "val.json", [], "bbox")}):
        write_matches(tmp_path / "a.npz", matches)
        read = read_matches(tmp_path / "a.npz")
        assert list(read) == list(matches)
        for kind, of in matches.items():
            for field in fields(Matches):
                ours, there = getattr(of, field.name), getattr(read[kind], field.name)
                assert ours.dtype == there.dtype and np.array_equal(ours, there)


def test_the_same_matches_give_the_same_bytes(tmp_path, both, monkeypatch):
    write_matches(tmp_path / "a.npz", both)
    monkeypatch.setattr("time.time", lambda: 1e9)
    monkeypatch.setattr("time.localtime", lambda *now: (2001, 9, 9, 1, 46, 40, 6, 252, 0))
    write_matches(tmp_path / "b.npz", both)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert (tmp_path / "a.npz").stat().st_size < 20_000


def test_a_file_of_cocos_size_is_small(tmp_path):
    """5,000 images, 80 classes, 100 detections an image, with bits and images that do not compress."""
    rng = np.random.default_rng(0)
    count, pairs = 500_000, 20_000
    bits = [rng.integers(0, 256, (len(AREAS), IOUS, count // 8), dtype=np.uint8) for _ in range(2)]
    one = Matches(
        np.arange(5000),
        np.arange(80),
        np.linspace(0, count, 81).astype(np.int64),
        rng.integers(0, 5000, count, dtype=np.int32),
        *bits,
        np.linspace(0, pairs, 81).astype(np.int64),
        rng.integers(0, 5000, pairs, dtype=np.int32),
        rng.integers(0, 4, (len(AREAS), pairs), dtype=np.int32),
    )
    write_matches(tmp_path / "a.npz", {"box": one, "mask": one})
    assert (tmp_path / "a.npz").stat().st_size < 40_000_000


def damaged(text: bytes, place: int) -> bytes:
    return text[:place] + bytes([text[place] ^ 0xFF]) + text[place + 1 :]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda content: b"", "is not a file of matches"),
        (lambda content: content[: len(content) // 2], "is not a file of matches"),
        (lambda content: damaged(content, 400), "is not a file of matches"),
        (lambda content: b"{}\n", "is not a file of matches"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path, both, change, named):
    path = tmp_path / "a.npz"
    write_matches(path, both)
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ValueError, match=rf"a\.npz {named}.*run the stage `evaluate` again"):
        read_matches(path)


def test_every_damaged_byte_is_seen_or_means_nothing(tmp_path, both):
    """Names, times and attributes of the archive may change; numbers may not."""
    path = tmp_path / "a.npz"
    write_matches(path, both)
    content = path.read_bytes()
    for place in range(0, len(content), 37):
        path.write_bytes(damaged(content, place))
        try:
            read = read_matches(path)
        except ValueError as error:
            assert "run the stage `evaluate`" in str(error)
        else:
            for kind, matches in read.items():
                assert all(
                    np.array_equal(getattr(matches, f.name), getattr(both[kind], f.name)) for f in fields(matches)
                )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("starts", [0, 3]),
        ("starts", [1, 2, 3, 4, 5, 6]),
        ("image", [[0, 1]]),
        ("image", None),
        ("truth_image", [99]),
        ("found", [[[0]]]),
        ("truths", [1.5]),
        ("categories", [1.0, 2.0, 3.0, 4.0, 5.0]),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, both, name, value):
    value = both["box"].image - 1 if value is None else np.array(value)
    write_matches(tmp_path / "a.npz", {"box": replace(both["box"], **{name: value})})
    with pytest.raises(ValueError, match=r"a\.npz is not a file of matches.*run the stage `evaluate` again"):
        read_matches(tmp_path / "a.npz")


def test_other_archives_and_pickles_are_refused(tmp_path, both):
    path = tmp_path / "a.npz"
    np.savez(path, format="other", x=np.arange(3))
    with pytest.raises(ValueError, match="is not of the format"):
        read_matches(path)
    np.savez(path, format="afigan matches 1", **{"box.image": np.array([{}], dtype=object)})
    with pytest.raises(ValueError, match="is not a file of matches"):
        read_matches(path)
    write_matches(path, both)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("more.npy", (tmp_path / "a.npz").read_bytes())
    with pytest.raises(ValueError, match="is not a file of matches"):
        read_matches(path)
    with pytest.raises(ValueError, match="does not exist: run the stage `evaluate`"):
        read_matches(Path("nowhere.npz"))
