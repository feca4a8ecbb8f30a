"""The three stages on a toy set: initial weights, inputs, trained and frozen parts, outputs."""

import json
import re
import resource
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from lineages import fingerprint, parents
from torch import nn
from toy import CONF, World, same, toy_params, under

import afigan
from afigan.data.loader import TrainingSet, batches
from afigan.data.pairs import PairReader
from afigan.data.split import read_split
from afigan.detectors import Architecture, build_detector
from afigan.evaluation.coco import evaluate
from afigan.outputs.models import load_weights
from afigan.params.lineage import Lineage
from afigan.params.loading import compose
from afigan.runtime.files import sha256_file
from afigan.training import adversarial, engine, stage
from afigan.training.adversarial import halve
from afigan.training.detector import initialise

pytest_plugins = ["toy"]

HEADS = ("proposal_generator.", "roi_heads.")


def state(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}


@pytest.fixture
def watched(monkeypatch) -> list[SimpleNamespace]:
    """One record per training: its step, and learners and F before its first iteration."""
    records = []
    train = engine.train

    def watching_train(**arguments: Any) -> list[dict[str, float]]:
        step, learners = arguments["step"], arguments["learners"]
        teacher = getattr(step, "teacher", None)
        record = SimpleNamespace(
            step=step,
            learners=learners,
            start={name: state(learner.module) for name, learner in learners.items()},
            teacher=state(teacher) if teacher is not None else None,
        )
        records.append(record)
        return train(**arguments)

    monkeypatch.setattr(engine, "train", watching_train)
    return records


def trained(world: World, node: str, watched: list[SimpleNamespace]) -> SimpleNamespace:
    """Train a node, perhaps again, and return its record."""
    world.model(node)
    watched.clear()
    world.train(node)
    return watched[-1]


# --- stage 1 ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["main", "different", "detached", "merged", "rb", "content_alone"])
def test_stage_1_trains_g_and_d_and_leaves_f(own_world, watched, key):
    run = trained(own_world, f"afigan/{key}", watched)
    weights = own_world.model(f"afigan/{key}")
    teacher = run.step.teacher
    assert same(run.teacher, state(teacher)) and same(run.teacher, own_world.model("detectors/a1"))
    assert not teacher.training and not any(p.requires_grad or p.grad is not None for p in teacher.parameters())
    for name in run.learners:
        learned = under(weights, f"{name}.")
        assert same(learned, state(run.learners[name].module))
        parameters = {n for n, _ in run.learners[name].module.named_parameters()}
        # Adam moves what has any gradient; a bias before batch normalisation has almost none
        assert len(changed(run.start[name], learned) & parameters) > 0.8 * len(parameters)
    assert ("discriminator" in run.learners) == (key != "content_alone")


def some_batch(world: World, annotated: bool = True) -> list[dict]:
    with world:
        split = read_split("data/prepared/train.json")
        pairs = PairReader("data/pairs/bilinear")
        dataset = TrainingSet(split, world.params.input, "RGB", 5, pairs, annotated)
        return next(batches(dataset, world.params.train_afigan, 0))


def test_stage_1_matches_g_of_the_low_resolution_maps_with_the_high_ones(own_world, watched):
    step = trained(own_world, "afigan/main", watched).step
    batch = some_batch(own_world)
    sources, reals = step.maps(batch)
    teacher = step.teacher
    low = teacher.backbone(teacher.preprocess_image([item["low"] for item in batch]).tensor)
    high = teacher.backbone(teacher.preprocess_image(batch).tensor)
    levels = teacher.backbone.interpolated_levels
    assert levels == ("p2", "p3", "p4", "p5")
    for level, source, real in zip(levels, sources, reals, strict=True):
        assert torch.equal(source, low[level]) and torch.equal(real, high[level])
        assert step.generator.module(source).shape == real.shape
        assert not source.requires_grad and not real.requires_grad


def test_stage_1_matches_different_levels_of_one_image(own_world, watched):
    step = trained(own_world, "afigan/different", watched).step
    batch = some_batch(own_world)
    sources, reals = step.maps(batch)
    high = step.teacher.backbone(step.teacher.preprocess_image(batch).tensor)
    assert all(torch.equal(s, high[level]) for s, level in zip(sources, ("p3", "p4", "p5"), strict=True))
    assert all(torch.equal(r, high[level]) for r, level in zip(reals, ("p2", "p3", "p4"), strict=True))


def test_stage_1_can_match_the_maps_that_g_meets_in_a_pyramid(own_world, watched):
    step = trained(own_world, "afigan/merged", watched).step
    batch = some_batch(own_world)
    sources, _ = step.maps(batch)
    pyramid = step.teacher.backbone
    met = []
    pyramid.upsample.register_forward_pre_hook(lambda module, inputs: met.append(inputs[0]))
    with torch.no_grad():
        pyramid(step.teacher.preprocess_image([item["low"] for item in batch]).tensor)
    assert all(torch.equal(m, s) for m, s in zip(met, sources[:0:-1], strict=True))  # p5, p4, p3


def test_detached_starts_with_the_same_losses_and_goes_another_way(world):
    attached, detached = (world.model(f"afigan/{key}") for key in ("main", "detached"))
    assert world.log("afigan/main")[0] == world.log("afigan/detached")[0]
    assert not same(under(attached, "interpolator."), under(detached, "interpolator."))


def test_without_adversary_and_detached_g_learns_the_same(world):
    """The only gradient that is left is the content term's."""
    detached, off = (world.model(f"afigan/{key}") for key in ("detached", "content_alone"))
    assert same(under(detached, "interpolator."), under(off, "interpolator."))


# --- stage 2 ---------------------------------------------------------------------------------------------------------


def test_stage_2_takes_only_g_and_d_from_stage_1(own_world, watched):
    run = trained(own_world, "extractors/main", watched)
    first, m = own_world.model("afigan/main"), run.start["extractor"]
    assert same(under(m, "backbone.upsample.0."), under(first, "interpolator."))
    assert same(run.start["discriminator"], under(first, "discriminator."))
    assert same(under(m, "backbone.bottom_up."), own_world.model("backbones/main"))
    teacher = own_world.model("detectors/a1")
    fresh = [name for name in m if re.match(r"backbone\.fpn_.*weight|roi_heads.*weight", name)]
    assert fresh and not any(torch.equal(m[name], teacher[name]) for name in fresh)


@pytest.mark.parametrize(
    "key", ["main", "different", "iterated", "rb", "detached", "fade", "control_afi", "nearest_afi"]
)
def test_stage_2_trains_m_and_d_and_leaves_f(own_world, watched, key):
    run = trained(own_world, f"extractors/{key}", watched)
    weights = own_world.model(f"extractors/{key}")
    teacher = run.step.teacher
    assert same(run.teacher, state(teacher)) and not any(p.requires_grad for p in teacher.parameters())
    m = {name: value for name, value in weights.items() if not name.startswith("discriminator.")}
    assert same(m, state(run.learners["extractor"].module))
    moved = changed(run.start["extractor"], m)
    places = ["bottom_up.", "fpn_output2.", *(["upsample."] if key != "nearest_afi" else [])]
    for place in [*(f"backbone.{place}" for place in places), *HEADS]:
        assert any(name.startswith(place) for name in moved), place
    assert ("discriminator" in run.learners) == (key != "control_afi")
    if key != "control_afi":
        assert changed(run.start["discriminator"], under(weights, "discriminator."))
    else:
        assert not any(name.startswith("discriminator.") for name in weights)


def seen_by(run: SimpleNamespace, batch: list[dict]) -> SimpleNamespace:
    """Run one more iteration; return the inputs of M and D in it."""
    seen = SimpleNamespace(images=None, pairs=[], maps=None)
    module = run.learners["extractor"].module
    hooks = [
        module.register_forward_pre_hook(lambda m, inputs: setattr(seen, "images", inputs[0])),
        module.backbone.register_forward_hook(lambda m, inputs, output: setattr(seen, "maps", output)),
    ]
    update = run.step.adversary.update_discriminator

    def watching(fakes, reals):
        seen.pairs.append((fakes, reals))
        return update(fakes, reals)

    run.step.adversary.update_discriminator = watching
    from detectron2.utils.events import EventStorage  # found once afigan is imported

    with EventStorage():
        seen.log = run.step(batch)
    for hook in hooks:
        hook.remove()
    return seen


def test_stage_2_sees_only_the_low_resolution_image_and_matches_halved_maps(own_world, watched):
    run = trained(own_world, "extractors/main", watched)
    batch = some_batch(own_world)
    seen = seen_by(run, batch)
    assert seen.images == [item["low"] for item in batch]
    teacher = run.step.teacher
    high = teacher.backbone(teacher.preprocess_image(batch).tensor)
    targets = halve([high[level] for level in ("p2", "p3", "p4", "p5")])
    fakes, reals = seen.pairs[0]
    assert all(torch.equal(real, target) for real, target in zip(reals, targets, strict=True))
    assert all(torch.equal(fake, seen.maps[level]) for fake, level in zip(fakes, ("p2", "p3", "p4", "p5"), strict=True))
    assert all(fake.requires_grad and fake.shape == real.shape for fake, real in zip(fakes, reals, strict=True))


@pytest.mark.parametrize("key", ["different", "different_deconv"])
def test_stage_2_matches_different_levels_of_the_full_image(own_world, watched, key):
    run = trained(own_world, f"extractors/{key}", watched)
    batch = some_batch(own_world)
    teacher, module = run.step.teacher, run.learners["extractor"].module
    places = []
    module.backbone.upsample.register_forward_pre_hook(lambda m, inputs: places.append(inputs[1]))
    seen = seen_by(run, batch)
    assert places == [0, 1, 2, 2, 1, 0]  # the pyramid's own, then P3, P4 and P5 by the modules of their places
    assert seen.images is batch
    high = teacher.backbone(teacher.preprocess_image(batch).tensor)
    fakes, reals = seen.pairs[0]
    assert all(torch.equal(real, high[level]) for real, level in zip(reals, ("p2", "p3", "p4"), strict=True))
    assert [fake.shape for fake in fakes] == [real.shape for real in reals]
    assert all(fake.requires_grad for fake in fakes)


def test_anchors_and_the_canonical_size_halve_with_the_image(own_world, watched):
    model = own_world.params.model
    for key, scale in (("main", 0.5), ("different", 1.0)):
        module = trained(own_world, f"extractors/{key}", watched).learners["extractor"].module
        anchors = module.proposal_generator.anchor_generator.cell_anchors
        sides = [(a[1, 2] - a[1, 0]).item() for a in anchors]  # of ratio 1
        assert sides == pytest.approx([scale * side for side in model.anchor_sizes])
        assert module.roi_heads.box_pooler.canonical_box_size == scale * model.canonical_box_size
        assert module.roi_heads.mask_pooler.canonical_box_size == scale * model.canonical_box_size


def test_m_minimises_l_int(world):
    world.model("extractors/main")
    detection = {"loss_cls", "loss_box_reg", "loss_mask", "loss_rpn_cls", "loss_rpn_loc"}
    for line in world.log("extractors/main"):
        terms = detection | {"loss_content", "loss_adversarial"}
        assert line.keys() == terms | {"iteration", "lr", "loss_total", "loss_discriminator"}
        assert line["loss_total"] == pytest.approx(sum(line[name] for name in terms), rel=1e-5)
    world.model("extractors/control_afi")
    assert all(
        line.keys() == detection | {"iteration", "lr", "loss_total"} for line in world.log("extractors/control_afi")
    )


def test_stage_1_can_be_skipped(own_world, watched):
    run = trained(own_world, "extractors/without_stage_1", watched)
    others = own_world.model("afigan/main")
    assert not same(under(run.start["extractor"], "backbone.upsample.0."), under(others, "interpolator."))
    assert not same(run.start["discriminator"], under(others, "discriminator."))


# --- stage 3 ---------------------------------------------------------------------------------------------------------


def start_of(world: World, key: str, watched: list[SimpleNamespace]) -> dict[str, torch.Tensor]:
    return trained(world, f"detectors/{key}", watched).start["detector"]


def test_a6_starts_only_from_the_classification_backbone(own_world, watched):
    start = start_of(own_world, "a6", watched)
    assert same(under(start, "backbone.bottom_up."), own_world.model("backbones/main"))
    g = under(start, "backbone.upsample.0.")
    for node, prefix in (("afigan/main", "interpolator."), ("extractors/main", "backbone.upsample.0.")):
        assert "tail.weight" in changed(g, under(own_world.model(node), prefix))


def test_a2_takes_only_g_from_stage_1(own_world, watched):
    start, plain = start_of(own_world, "a2", watched), start_of(own_world, "a6", watched)
    g = under(own_world.model("afigan/main"), "interpolator.")
    assert same(under(start, "backbone.upsample.0."), g)
    assert all(name.startswith("backbone.upsample.0.") for name in changed(plain, start))


def test_a5_takes_backbone_and_pyramid_of_m_and_fresh_heads(own_world, watched):
    start, plain = start_of(own_world, "a5", watched), start_of(own_world, "a6", watched)
    m = own_world.model("extractors/main")
    assert same(under(start, "backbone."), under(m, "backbone."))
    for head in HEADS:
        assert same(under(start, head), under(plain, head))
        assert not same(under(start, head), under(m, head))


def test_g_can_be_taken_out_of_m(own_world, watched):
    start, plain = start_of(own_world, "g_of_extractor", watched), start_of(own_world, "a6", watched)
    m = own_world.model("extractors/main")
    assert same(under(start, "backbone.upsample."), under(m, "backbone.upsample."))
    assert all(name.startswith("backbone.upsample.") for name in changed(plain, start))


@pytest.mark.parametrize(
    ("key", "extractor", "fresh"),
    [
        ("retinanet_afi", "main", {"top_block"}),  # P3-P7 of a P2-P6
        ("fcos_afi", "main", {"top_block"}),
        ("retinanet_of_centermask", "centermask", {"top_block"}),  # P6 from res5, and from P5
        ("centermask_of_centermask", "centermask", set()),
        ("mask_of_retinanet", "retinanet", {"fpn_lateral2", "fpn_output2"}),
        ("retinanet_pafpn_afi", "pafpn", {"top_block"}),
        ("swin_t_afi", "swin_t", set()),
        ("retinanet_bifpn_afi", "bifpn", set()),
    ],
)
def test_t_takes_the_shared_parts_of_an_m_with_another_head(own_world, watched, key, extractor, fresh):
    start = under(start_of(own_world, key, watched), "backbone.")
    m = under(own_world.model(f"extractors/{extractor}"), "backbone.")
    taken = {name for name in start if name in m and torch.equal(start[name], m[name])}
    # what both initialise alike (biases of 0, running means) shows nothing
    assert {name.split(".")[0] for name in start.keys() - taken} == fresh
    assert {"bottom_up", "upsample"} <= {name.split(".")[0] for name in taken}


def test_losses_compare_the_levels_that_m_and_f_have(own_world, watched):
    levels = {
        key: list(trained(own_world, f"extractors/{key}", watched).step.levels)
        for key in ("main", "retinanet", "bifpn", "pafpn")
    }
    assert levels["main"] == levels["pafpn"] == ["p2", "p3", "p4", "p5"]
    assert levels["retinanet"] == ["p3", "p4", "p5"]  # F has P2 too
    assert levels["bifpn"] == ["p3", "p4", "p5", "p6", "p7"]


def test_a_student_learns_from_both_sets(own_world, monkeypatch):
    own_world.model("students/swin_t_nn_self")
    seen = []
    monkeypatch.setattr(engine, "train", lambda **arguments: seen.append(arguments["dataset"]) or [{"iteration": 1}])
    own_world.train("students/swin_t_nn_self")
    paths = {seen[0].image(index)["path"].split("/")[-2] for index in range(seen[0].epoch)}
    assert paths == {"train", "unlabeled"} and not seen[0].masks


def test_labels_of_other_parameters_are_refused(own_world):
    own_world.model("students/swin_t_nn_self")
    change = {"experiments.pseudo_labels.swin_t_nn.score_threshold": 0.06}
    with pytest.raises(ValueError, match=r"data/pseudo/swin_t_nn.json was created with other parameters"):
        World(own_world.root, toy_params(change)).train("students/swin_t_nn_self")
    Path("data/pseudo/swin_t_nn.json").unlink()
    with pytest.raises(ValueError, match=r"data/pseudo/swin_t_nn.json does not exist: create it first"):
        own_world.train("students/swin_t_nn_self")


def test_an_experiment_may_have_a_schedule_and_a_seed_of_its_own(own_world):
    own_world.model("extractors/main")
    change = {"iterations": 3, "lr": 0.004}
    other = World(own_world.root, toy_params({"experiments.detectors.a5.schedule": change}))
    other.train("detectors/a5")
    assert [line["iteration"] for line in other.log("detectors/a5")] == [1, 2, 3]
    assert other.config("detectors/a5")["schedule"]["iterations"] == 3
    seeded = World(own_world.root, toy_params({"experiments.detectors.a5.seed": 9}))
    before = other.model("detectors/a5")
    seeded.train("detectors/a5")
    assert not same(before, seeded.model("detectors/a5"))


def test_two_ranks_of_torchrun_equal_one_process(own_world, tmp_path):
    """Every training stage, batch normalisation in each; FCOS, because each rank draws random samples of its own."""
    stages = ("train_backbone", "train_afigan", "train_extractor", "train_detector")
    change: dict[str, Any] = {f"{stage}.batch_size": 4 for stage in stages}
    change |= {f"{stage}.optimizer": "sgd" for stage in stages} | {f"{stage}.lr": 0.01 for stage in stages}
    common = {"backbone": "main", "head": "fcos", "interpolator": "afi", "options": {"blocks": "rb"}}
    change["experiments.afigan.two"] = {"teacher": "fcos_nn", "degradation": "bilinear", "options": {"blocks": "rb"}}
    change["experiments.extractors.two"] = common | {
        "teacher": "fcos_nn",
        "degradation": "bilinear",
        "init": "afigan/two",
    }
    change["experiments.detectors.two"] = common | {"init": "extractors/two", "reuse": "M"}
    nodes = ["backbones/main", "detectors/fcos_nn", "afigan/two", "extractors/two", "detectors/two"]
    one = World(own_world.root, toy_params(change))
    two = World(tmp_path / "two", toy_params(change | {"processes": 2}))
    shutil.copytree("data", two.root / "data")
    (two.root / "params.yaml").write_text(yaml.safe_dump(two.params.model_dump(mode="json", by_alias=True)))
    for node in nodes:  # both start from the same weights
        one.train(node)
        shutil.copytree(one.root / "models" / node, two.root / "models" / node)
        config = two.config(node) | {"params_hash": fingerprint(two.params, node)}
        (two.root / "models" / node / "config.json").write_text(json.dumps(config))
    script = str(Path(__file__).parents[1] / "support/torchrun_stages.py")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", script, "params.yaml"]
    subprocess.run([*torchrun, *reversed(nodes)], cwd=two.root, check=True, timeout=300)
    for node in nodes:
        ours, theirs = one.log(node), two.log(node)
        assert [line["iteration"] for line in theirs] == [1, 2]
        for first, second in zip(ours, theirs, strict=True):
            assert second == pytest.approx(first, rel=1e-5, abs=1e-6), node
        assert not same(one.model(node), two.model(node))  # it has been trained again
        statistics = {name: value for name, value in one.model(node).items() if "running" in name}
        assert statistics
        for name, value in statistics.items():
            torch.testing.assert_close(two.model(node)[name], value, rtol=1e-4, atol=1e-6)
    assert not list(Path(two.root, "runs").rglob("*.pt"))


def test_b1_takes_m_with_its_iterated_pyramid(own_world, watched):
    start = start_of(own_world, "b1", watched)
    assert same(under(start, "backbone."), under(own_world.model("extractors/iterated"), "backbone."))
    assert [name for name in start if "fpn_lateral" in name and "weight" in name] == ["backbone.fpn_lateral5.weight"]


def test_every_detector_has_the_same_fresh_heads(own_world, watched):
    starts = [start_of(own_world, key, watched) for key in ("a1", "deconv", "bicubic_5conv", "a6")]
    assert all(same(under(start, head), under(starts[0], head)) for start in starts for head in HEADS)


@pytest.mark.parametrize("key", ["a4", "a4_rb"])
def test_a4_freezes_g_bit_for_bit_and_trains_the_rest(own_world, watched, key):
    run = trained(own_world, f"detectors/{key}", watched)
    before, after = run.start["detector"], own_world.model(f"detectors/{key}")
    assert same(under(before, "backbone.upsample."), under(after, "backbone.upsample."))
    assert key == "a4" or any("running_mean" in name for name in under(before, "backbone.upsample."))
    moved = changed(before, after)
    for place in ("backbone.bottom_up.", "backbone.fpn_lateral", "backbone.fpn_output", *HEADS):
        assert any(name.startswith(place) for name in moved), place


@pytest.mark.parametrize("key", ["a5", "a2", "mask_g_rb", "deconv"])
def test_what_is_not_frozen_learns(own_world, watched, key):
    run = trained(own_world, f"detectors/{key}", watched)
    before, after = run.start["detector"], own_world.model(f"detectors/{key}")
    moved = changed(before, after)
    assert all(n in moved for n in before if n.startswith("backbone.upsample.") and n.endswith(".weight"))
    if key == "mask_g_rb":
        assert any("running_mean" in name for name in moved)


def test_the_detection_loss_is_stage_3s_only_one(world):
    world.model("detectors/a5")
    detection = {"loss_cls", "loss_box_reg", "loss_mask", "loss_rpn_cls", "loss_rpn_loc"}
    assert all(line.keys() == detection | {"iteration", "lr", "loss_total"} for line in world.log("detectors/a5"))


# --- the pair --------------------------------------------------------------------------------------------------------


def test_both_sides_of_a_pair_are_flipped_and_resized_alike(world):
    split = read_split(world.root / "data/prepared/train.json")
    for image in split["images"]:
        image["path"] = str(world.root / image["path"])
    inputs = world.params.input.model_copy(update={"short_sides": [64, 90, 101]})
    dataset = TrainingSet(split, inputs, "RGB", 1, PairReader(world.root / "data/pairs/bilinear"))
    plain = TrainingSet(split, inputs.model_copy(update={"flip": False}), "RGB", 1)
    flips = set()
    for position in range(16):
        high = dataset[position]
        low, unflipped = high["low"], plain[position]
        flipped = not torch.equal(high["image"], unflipped["image"])
        assert torch.equal(high["image"], unflipped["image"].flip(2)) or not flipped
        flips.add(flipped)
        height, width = high["image"].shape[1:]
        assert low["image"].shape[1:] == ((height + 1) // 2, (width + 1) // 2)
        small = nn.functional.interpolate(
            high["image"][None].float(), low["image"].shape[1:], mode="bilinear", antialias=True
        )[0]
        apart = (small - low["image"]).abs().mean()
        assert apart < 0.25 * (small.flip(2) - low["image"]).abs().mean()
        scale = low["image"].shape[2] / width
        high_instances, low_instances = high["instances"], low["instances"]
        assert torch.equal(high_instances.gt_classes, low_instances.gt_classes) and len(low_instances)
        boxes, low_boxes = high_instances.gt_boxes.tensor, low_instances.gt_boxes.tensor
        torch.testing.assert_close(low_boxes, boxes * scale, rtol=0, atol=1e-3)
        for polygons, low_polygons in zip(
            high_instances.gt_masks.polygons, low_instances.gt_masks.polygons, strict=True
        ):
            for polygon, low_polygon in zip(polygons, low_polygons, strict=True):
                np.testing.assert_allclose(low_polygon, polygon * scale, atol=1e-3)
        mirrored = unflipped["instances"].gt_boxes.tensor.clone()
        if flipped:
            mirrored[:, [0, 2]] = width - mirrored[:, [2, 0]]
        torch.testing.assert_close(boxes, mirrored)  # annotations go where the pixels go
        for box, polygons in zip(boxes, high_instances.gt_masks.polygons, strict=True):
            xs = np.concatenate([polygon[0::2] for polygon in polygons])
            assert abs(xs.min() - box[0].item()) < 2 and abs(xs.max() - box[2].item()) < 2
    assert flips == {True, False}


def test_stage_1_uses_images_without_objects_and_detectors_do_not(own_world):
    path = Path("data/prepared/train.json")
    values = json.loads(path.read_text())
    empty = values["images"][0]["id"]
    values["annotations"] = [a for a in values["annotations"] if a["image_id"] != empty]
    path.write_text(json.dumps(values))
    split, count = read_split(path), len(values["images"])
    for annotated, expected in ((False, count), (True, count - 1)):
        dataset = TrainingSet(split, own_world.params.input, "RGB", 0, None, annotated)
        assert len({dataset[n]["image_id"] for n in range(count)}) == expected
    for node in ("backbones/main", "detectors/a1", "afigan/main"):
        own_world.train(node)


# --- runs ------------------------------------------------------------------------------------------------------------

NODES = ("afigan/main", "extractors/main", "extractors/rb", "detectors/a5")


@pytest.mark.parametrize("node", NODES)
def test_two_runs_with_one_seed_are_bit_identical(own_world, node):
    own_world.model(node)
    expected = own_world.output(node)
    shutil.rmtree(own_world.root / "models" / node)
    torch.manual_seed(77)
    np.random.seed(77)
    kind = {"afigan": "train_afigan", "extractors": "train_extractor", "detectors": "train_detector"}
    stage_name = kind[node.split("/")[0]]
    World(own_world.root, toy_params({f"{stage_name}.workers": 1, f"{stage_name}.checkpoint_every": 7})).train(node)
    assert own_world.output(node) == expected


def test_another_seed_gives_other_weights(own_world):
    first = own_world.model("detectors/a1")
    other = World(own_world.root, toy_params({"seed": 1}))
    other.train("backbones/main")
    other.train("detectors/a1")
    second = other.model("detectors/a1")
    assert all(not torch.equal(first[n], second[n]) for n in first if n.endswith("conv1.weight"))


class Killed(Exception):
    pass


@pytest.mark.parametrize("node", NODES)
@pytest.mark.parametrize("iteration", [1, 2])
def test_a_stage_that_was_killed_ends_the_same(own_world, monkeypatch, watched, node, iteration):
    """Killed in the last update of an iteration, after D's update; checkpoint_every is 1."""
    own_world.model(node)
    expected = own_world.output(node)
    shutil.rmtree(own_world.root / "models" / node)
    learners = 1 if node.startswith("detectors/") else 2
    calls = []
    update = engine.Learner.update

    def dying(self, losses):
        calls.append(losses)
        if len(calls) == learners * iteration:
            raise Killed
        return update(self, losses)

    with monkeypatch.context() as patch:
        patch.setattr(engine.Learner, "update", dying)
        with pytest.raises(Killed):
            own_world.train(node)
    assert not (own_world.root / "models" / node).exists()
    assert len(list(Path("runs").rglob("checkpoint-*.pt"))) == iteration - 1
    torch.manual_seed(5)
    own_world.train(node)
    assert own_world.output(node) == expected
    metrics = next(Path("runs").rglob("metrics.jsonl")).read_text()
    assert metrics.encode() == expected["log.jsonl"]
    assert not list(Path("runs").rglob("*.pt"))


def test_nothing_is_left_as_a_model_when_training_diverges(own_world, monkeypatch):
    own_world.model("afigan/main")
    shutil.rmtree("models/afigan/main")
    content = adversarial.content_loss
    monkeypatch.setattr(adversarial, "content_loss", lambda fakes, reals: content(fakes, reals) * float("nan"))
    with pytest.raises(engine.TrainingDiverged, match=r"iteration 1 .*loss_content nan, loss_adversarial [\d.]+"):
        own_world.train("afigan/main")
    assert not Path("models/afigan/main").exists()


def run_folder(world: World, node: str, inputs: list[Path]) -> Path:
    with stage.open_run(Lineage(world.params)[node], inputs) as (run, _):
        return run


def test_the_run_folder_follows_parameters_data_parents_and_code(own_world, monkeypatch, tmp_path):
    own_world.model("extractors/main")
    node, inputs = "detectors/a5", [Path("data/prepared/train.json")]
    folder = run_folder(own_world, node, inputs)
    assert folder.parent == Path("runs/detectors") and folder.name.startswith("a5-")
    assert run_folder(own_world, node, inputs) == folder
    folders = {folder}

    def is_new(world: World = own_world) -> bool:
        before = len(folders)
        folders.add(run_folder(world, node, inputs))
        return len(folders) > before

    harmless = World(own_world.root, toy_params({"train_detector.workers": 3, "train_detector.checkpoint_every": 9}))
    assert not is_new(harmless)
    assert is_new(World(own_world.root, toy_params({"experiments.detectors.a5.freeze_interpolator": True})))
    inputs[0].write_text(inputs[0].read_text() + "\n")
    assert is_new()
    weights = Path("models/extractors/main/model.safetensors")
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert is_new()
    # a package in a folder with the omitted name, and then other code in it
    package = tmp_path / "reporting" / "afigan"
    shutil.copytree(Path(afigan.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(afigan, "__file__", str(package / "__init__.py"))
    assert not is_new()
    (package / "reporting" / "tables.py").write_text("# tables change no weights\n")
    assert not is_new()
    (package / "losses.py").write_text("# other losses\n")
    assert is_new()


# --- what is left ----------------------------------------------------------------------------------------------------


def test_weights_are_written_like_any_file(own_world):
    """They have no other temporary name than our own, and the same permissions as other files."""
    weights = {"weight": torch.ones(10_000)}
    arguments = (Lineage(own_world.params)["backbones/main"], {})
    folder = Path("models/backbones/main")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            stage.save_model(*arguments, weights, [], {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in folder.iterdir()] == ["log.jsonl"]
    stage.save_model(*arguments, weights, [], {})
    assert len({path.stat().st_mode for path in folder.iterdir()}) == 1
    assert torch.equal(load_weights("backbones/main")["weight"], weights["weight"])


@pytest.mark.parametrize("node", ["backbones/main", "afigan/rb", "extractors/iterated", "detectors/a5"])
def test_a_model_says_what_it_is(world, node):
    weights, config = world.model(node), world.config(node)
    assert set(world.output(node)) == {"model.safetensors", "config.json", "log.jsonl"}
    assert config["node"] == node and config["params_hash"] == fingerprint(world.params, node)
    with world:
        assert config["sha256"] == sha256_file(f"models/{node}/model.safetensors")
        files = ["data/prepared/train.json", *(f"models/{n}/model.safetensors" for n in parents(world.params, node))]
        if node.split("/")[0] in ("afigan", "extractors"):
            files.append("data/pairs/bilinear/index.json")
        assert config["inputs"] == {name: sha256_file(name) for name in files}
    if node == "backbones/main":
        return
    assert [line["iteration"] for line in world.log(node)] == [1, 2]
    if node == "afigan/rb":
        assert (config["channels"], config["interpolator"], config["options"]) == (8, "afi", {"blocks": "rb"})
        return
    assert config["classes"] == ["disc", "box", "triangle"]
    assert (config["schedule"]["iterations"], config["schedule"]["batch_size"]) == (2, 2)
    architecture = Architecture.from_dict(config["architecture"])
    assert architecture.model == world.params.model and architecture.num_classes == 3
    assert architecture.interpolator == "afi"
    assert architecture.upsampling == ("iterated" if node == "extractors/iterated" else "per_level")
    build_detector(architecture).load_state_dict(
        {name: value for name, value in weights.items() if not name.startswith("discriminator.")}
    )


def test_weights_of_another_architecture_are_refused(own_world):
    own_world.model("extractors/main")
    experiments = own_world.params.experiments.detectors
    architecture = replace(Architecture.of(Lineage(own_world.params)["detectors/a5"], 3), options={"blocks": "rb"})
    for key in ("a2", "a5", "g_of_extractor"):
        with pytest.raises(ValueError, match=r"weights of (afigan|extractors)/main do not fit"):
            initialise(build_detector(architecture), experiments[key])


def test_parents_of_other_parameters_are_refused(own_world):
    own_world.model("extractors/main")
    for change in ({"model.channels": 16}, {"train_extractor.lr": 0.5}, {"train_afigan.lambda": 0.5}):
        with pytest.raises(ValueError, match=r"models/\S+ was created with other parameters"):
            World(own_world.root, toy_params(change)).train("detectors/a5")
    with pytest.raises(ValueError, match=r"models/extractors/main/config\.json was created with other parameters"):
        evaluate(toy_params({"train_extractor.lr": 0.5}), "a3")


def test_missing_parents_are_named(own_world):
    shutil.rmtree("models", ignore_errors=True)
    for node, parent in (("detectors/a1", "backbones/main"), ("afigan/main", "detectors/a1")):
        with pytest.raises(ValueError, match=f"models/{parent}/.* does not exist: create it first"):
            own_world.train(node)


def test_damaged_weights_are_named(own_world):
    own_world.model("backbones/main")
    path = Path("models/backbones/main/model.safetensors")
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match=r"models/backbones/main/model.safetensors is not a complete safetensors file"):
        own_world.train("detectors/a1")


# --- boxes alone -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def boxes(world, tmp_path_factory) -> World:
    """The toy set as a COCO set without masks and with gaps in its category ids, beside the root."""
    beside = tmp_path_factory.mktemp("beside")
    short = compose("photos", CONF)["experiments"]
    change = {"data.source": "coco", "model.head": "faster_rcnn", "tables": {}, "figures.gradcam": {}}
    change |= {f"experiments.{kind}": short[kind] for kind in short if kind != "backbones"}
    for name in ("train", "val"):
        values = json.loads((world.root / f"data/prepared/{name}.json").read_text())
        for item in values["annotations"]:
            item.pop("segmentation")
            item["category_id"] *= 7
        for category in values["categories"]:
            category["id"] *= 7
        values.pop("info")
        (beside / f"{name}.json").write_text(json.dumps(values))
        change[f"data.{name}"] = {
            "images": str(world.root / f"data/prepared/images/{name}"),
            "annotations": str(beside / f"{name}.json"),
        }
    return World(tmp_path_factory.mktemp("boxes"), toy_params(change)).prepare()


def test_mask_rcnn_refuses_a_set_without_masks(boxes):
    values = boxes.params.model_dump(by_alias=True)
    values["model"]["head"] = "mask_rcnn"
    params = type(boxes.params).model_validate(values)
    with pytest.raises(ValueError, match=r"\.main: mask_rcnn needs masks, .*only boxes; set .*faster_rcnn"):
        World(boxes.root, params).train("backbones/main")  # the first of all
    assert not (boxes.root / "models").exists()


def test_faster_rcnn_goes_through_all_stages_without_masks(boxes):
    weights = boxes.model("detectors/a5")
    assert not any("mask" in name for name in weights)
    assert "loss_mask" not in boxes.log("extractors/main")[0] | boxes.log("detectors/a5")[0]
    with boxes:
        evaluate(boxes.params, "a5")
        metrics = json.loads(Path("results/metrics/a5.json").read_text())
    assert metrics["mask"] is None and metrics["box"]["AP"] is not None
    assert metrics["data"] == {"source": "coco", "train_images": 6, "val_images": 3}
