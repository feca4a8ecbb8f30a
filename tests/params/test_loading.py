"""The schema names errors in params.yaml; the params hash changes only with parameters that can change a result."""

import copy
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from composed import composed, put
from dags import copy_project, environment, write_params
from lineages import fingerprint, parents

from afigan.params.loading import check_params, compose, load_params

ROOT = Path(__file__).resolve().parents[2]
CONF = ROOT / "conf"
OTHER = {"name": "resnet18"}
PROFILES = [path.stem for path in sorted((CONF / "profile").glob("*.yaml"))]
MINI = composed("mini")
NEW = {"backbone": "main", "interpolator": "afi", "init": "backbones/main"}
EVALUATIONS = set(MINI["experiments"]["evaluations"])


def values(**changes):
    """Return mini's values with others under dotted names, `__` for the dots; ... removes a name."""
    changed = copy.deepcopy(MINI)
    for name, value in changes.items():
        put(changed, name.split("__"), value)
    return changed


@pytest.mark.parametrize("profile", PROFILES)
def test_profiles_compose(profile):
    params = check_params(composed(profile))
    for kind in type(params.experiments).model_fields:
        for key in getattr(params.experiments, kind):
            assert fingerprint(params, f"{kind}/{key}")


@pytest.mark.parametrize("profile", ["paper", "rehearsal"])
def test_at_the_papers_sizes_no_image_is_padded_to_another(profile):
    """Padding changes scores; detectron2's own evaluation has one image a batch."""
    assert check_params(composed(profile)).evaluate.batch_size == 1


def test_committed_parameters_are_those_of_mini():
    assert yaml.safe_load((ROOT / "params.yaml").read_text("utf-8")) == MINI
    assert load_params(ROOT / "params.yaml") == check_params(MINI)


@pytest.mark.parametrize("place", ["docs", "docs/deep"])
def test_a_subfolder_of_the_project_says_where_to_run(tmp_path, monkeypatch, place):
    (tmp_path / "conf/profile").mkdir(parents=True)
    (tmp_path / "conf/profile/mini.yaml").touch()
    (tmp_path / "docs/deep").mkdir(parents=True)
    (tmp_path / "params.yaml").touch()
    monkeypatch.chdir(tmp_path / place)
    up = {"docs": r"\.\.", "docs/deep": r"\.\./\.\."}[place]
    with pytest.raises(ValueError, match=f"^conf has no profiles: this runs in a folder above: `cd {up}`$"):
        compose("mini")
    with pytest.raises(ValueError, match=f"^params.yaml does not exist: this runs in a folder above: `cd {up}`$"):
        load_params()
    with pytest.raises(ValueError, match=r"^nowhere has no profiles: run this in the project's root"):
        compose("mini", "nowhere")
    with pytest.raises(ValueError, match=r"^params.yaml does not exist: compose it with `make params PROFILE=mini`$"):
        (tmp_path / "params.yaml").unlink()
        load_params()


def test_an_experiment_of_dvc_keeps_edits(tmp_path):
    """It changes the key that it is asked to change, in its own copy, and composes nothing."""
    root = copy_project(tmp_path, "smoke")
    someone = {f"GIT_{role}_{what}": "someone" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}

    def run(*command):
        return subprocess.run(
            command, cwd=root, env=environment() | someone, check=True, capture_output=True, text=True
        ).stdout

    run("git", "add", "--all")
    run("git", "commit", "--quiet", "--message", "start")
    edited = composed("smoke")
    edited["data"]["shapes"]["train"] = 7
    write_params(root, edited)
    run("dvc", "exp", "run", "--queue", "--set-param", "train_detector.lr=0.5")
    assert yaml.safe_load((root / "params.yaml").read_text("utf-8")) == edited
    queued = yaml.safe_load(run("git", "show", "refs/exps/celery/stash:params.yaml"))
    edited["train_detector"]["lr"] = 0.5
    assert queued == edited


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sede": 1}, "sede: unknown key"),
        ({"experiments__backbones__main__norms": "BN"}, "experiments.backbones.main.norms: unknown key"),
        ({"experiments__detectors__a5__freeze": True}, "experiments.detectors.a5.freeze: unknown key"),
        ({"seed": ...}, "seed: missing"),
        ({"experiments__afigan__main__teacher": ...}, "experiments.afigan.main.teacher: missing"),
        ({"threads": "2"}, "threads: Input should be a valid integer (found '2')"),
        ({"threads": 2.0}, "threads: "),
        ({"seed": True}, "seed: "),
        ({"train_detector__iterations": -1}, "train_detector.iterations: "),
        ({"processes": 0}, "processes: "),
        ({"train_detector__log_every": 0}, "train_detector.log_every: "),
        (
            {"train_detector__lr_schedule": "cosine", "train_detector__milestones": [5]},
            "train_detector: milestones have no effect under lr_schedule: cosine",
        ),
        (
            {"train_detector__lr_schedule": "step", "train_detector__milestones": [5, 400, 9000]},
            "train_detector: milestones 400, 9000 are not before the end, at 400 iterations",
        ),
        (
            {"experiments__detectors__a5__schedule": {"lr_schedule": "step", "milestones": [70], "iterations": 60}},
            "experiments.detectors.a5.schedule: milestones 70 are not before the end, at 60 iterations",
        ),
        ({"train_detector__lr": float("nan")}, "train_detector.lr: "),
        ({"train_detector__lr": float("inf")}, "train_detector.lr: "),
        ({"train_detector__optimizer": "adam"}, "train_detector.optimizer: Input should be 'sgd' or 'adamw'"),
        ({"train_afigan__lambda": -0.1}, "train_afigan.lambda: "),
        ({"model__anchor_sizes": [8, 16]}, "model.anchor_sizes: "),
        ({"model__head": "yolo"}, "model.head: choose one of centermask, fcos, "),
        ({"experiments__detectors__a5__pyramid": "nasfpn"}, "experiments.detectors.a5.pyramid: "),
        ({"experiments__detectors__a5__backbone": ...}, "experiments.detectors.a5.backbone: missing"),
        ({"experiments__detectors__a5__schedule": {"lt": 1}}, "experiments.detectors.a5.schedule.lt: "),
        (
            {"experiments__afigan__main__schedule": {"iterations": "many"}},
            "experiments.afigan.main.schedule.iterations: ",
        ),
        ({"input__max_side": 100}, "input: max_side 100 is less than a short side"),
        ({"data__source": "voc"}, "data.source: Input should be 'shapes' or 'coco'"),
        ({"data__source": "coco"}, "data: train.images: a coco data set needs the folder of its images"),
        ({"experiments__detectors__A5": NEW}, "experiments.detectors.A5: "),
        ({"experiments__detectors__a5__interpolator": "lanczos"}, "experiments.detectors.a5.interpolator: "),
        ({"experiments__detectors__a5__init": "detectors/a1"}, "experiments.detectors.a5.init: "),
        ({"tables__table99": {"A1": "a1"}}, "tables.table99: "),
    ],
)
def test_errors_are_named(changes, message):
    with pytest.raises(ValueError, match=re.escape(message)) as raised:
        check_params(values(**changes), "my.yaml")
    assert str(raised.value).startswith("my.yaml has 1 problem(s):\n  ")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"experiments__afigan__main__teacher": "a9"},
            "experiments.afigan.main.teacher: there is no experiments.detectors.a9",
        ),
        ({"experiments__afigan__main__teacher": "a5"}, "experiments.afigan.main.teacher: F must be trained without"),
        (
            {"experiments__extractors__main__init": "afigan/x"},
            "there is no experiments.afigan.x; those that exist: main, ",
        ),
        (
            {"experiments__detectors__a5__init": "extractors/x"},
            "experiments.detectors.a5.init: there is no experiments.ext",
        ),
        ({"experiments__evaluations__a1__model": "detectors/x"}, "experiments.evaluations.a1.model: there is no"),
        (
            {"experiments__evaluations__a1": ...},
            "tables.table4.A1: there is no experiments.evaluations.a1; add it: a1: {model: detectors/a1}",
        ),
        ({"pairs__degradations": ["nearest", "bicubic"]}, "bilinear is not among pairs.degradations"),
        (
            {"experiments__detectors__a2__reuse": "M"},
            "experiments.detectors.a2.reuse: M can be reused only from an extractor",
        ),
        (
            {"experiments__detectors__a5__options": {"blocks": "rb"}},
            "experiments.detectors.a5.options: {'blocks': 'rb'}, but the weights it starts",
        ),
        (
            {"experiments__detectors__a5__interpolator": "deconv"},
            "experiments.detectors.a5.init: extractors/main has afi, and deconv takes nothing",
        ),
        (
            {"processes": 4, "train_afigan__batch_size": 6},
            "experiments.afigan.main: its batch_size of 6 cannot be split evenly among 4 processes",
        ),
        ({"figures__afigan": "x"}, "figures.afigan: there is no experiments.afigan.x"),
        ({"figures__nearest": "x"}, "figures.nearest: there is no experiments.evaluations.x"),
        ({"figures__afi": "a3"}, "figures.afi: experiments.evaluations.a3 does not evaluate a detector"),
        ({"figures__gradcam": {"AFI": "x"}}, "figures.gradcam.AFI: there is no experiments.evaluations.x"),
        ({"tables__table4__A1": ["a1", "x"]}, "tables.table4.A1: there is no experiments.evaluations.x"),
        (
            {"experiments__detectors__a1__init": "backbones/other", "experiments__backbones__other": OTHER},
            "experiments.detectors.a1.init: is not its backbone; set it to backbones/main",
        ),
        (
            {"experiments__detectors__a1__backbone": "other"},
            "experiments.detectors.a1.backbone: there is no experiments.backbones.other; those that exist: main",
        ),
        (
            {"experiments__extractors__main__pyramid": "pafpn"},
            "experiments.extractors.main.teacher: M needs the backbone and pyramid of F, but a1 has others",
        ),
        (
            {"experiments__detectors__a5__pyramid": "pafpn"},
            "experiments.detectors.a5.pyramid: 'pafpn', but the weights it starts from have 'fpn'",
        ),
        (
            {
                "experiments__extractors__new": {
                    "backbone": "main",
                    "teacher": "a1",
                    "init": "backbones/main",
                    "degradation": "bilinear",
                    "interpolator": "deconv",
                },
                "experiments__detectors__new": {
                    "backbone": "main",
                    "interpolator": "deconv",
                    "init": "extractors/new",
                    "reuse": "G",
                    "head": "retinanet",
                },
            },
            "experiments.detectors.new.init: deconv has a module for each place of a pyramid, and those of "
            "extractors/new are p2, p3, p4, p5, not p3, p4, p5",
        ),
        (
            {"experiments__detectors__b1__pyramid": "pafpn"},
            "experiments.detectors.b1.upsampling: iterated works only with the pyramid fpn",
        ),
        (
            {"experiments__evaluations__a1__multi_scale": True},
            "experiments.evaluations.a1.multi_scale: needs evaluate.multi_scale with the sizes",
        ),
        (
            {"experiments__submissions": {"a1": {"model": "detectors/a1"}}},
            "experiments.submissions: needs data.test.images (for shapes: data.shapes.test)",
        ),
        (
            {"experiments__students": {"a1": NEW | {"labels": "x"}}},
            "experiments.students.a1.labels: there is no experiments.pseudo_labels.x; those that exist: none",
        ),
        (
            {"experiments__afigan__main__interpolator": "fade"},
            "experiments.afigan.main.interpolator: fade needs a finer map, which stage 1 has not",
        ),
        (
            {
                "experiments__extractors__control_nn__match": "different",
                "experiments__extractors__control_nn__interpolator": "fade",
            },
            "experiments.extractors.control_nn.match: fade needs a finer map; set it to same",
        ),
        (
            {"experiments__detectors__b1__interpolator": "fade"},
            "experiments.detectors.b1.upsampling: iterated has no finer map, which fade needs",
        ),
        (
            {"deterministic": True, "experiments__detectors__a1__interpolator": "dysample"},
            "experiments.detectors.a1.interpolator: on a GPU torch cannot repeat the gradient of dysample; set",
        ),
        (
            {"experiments__pseudo_labels": {"x": {"model": "detectors/x"}}},
            "experiments.pseudo_labels.x.model: there is no experiments.detectors.x",
        ),
    ],
)
def test_broken_references_are_named(changes, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        check_params(values(**changes))


def test_all_problems_are_reported_at_once():
    with pytest.raises(ValueError) as raised:
        check_params(values(sede=1, threads=0, train_detector__lr=0))
    assert all(name in str(raised.value) for name in ("3 problem(s)", "sede:", "threads:", "train_detector.lr:"))


@pytest.mark.parametrize(("text", "meant"), [("on", "on"), ("off", "off"), ("'on'", "on"), ("detached", "detached")])
def test_adversarial_is_read_from_either_yaml(text, meant):
    """`on` and `off` are booleans to YAML 1.1, which PyYAML reads, and words to YAML 1.2, which others write."""
    experiment = yaml.safe_load(f"adversarial: {text}") | {"teacher": "a1", "degradation": "bilinear"}
    params = check_params(values(experiments__afigan__main=experiment))
    assert params.experiments.afigan["main"].adversarial == meant


@pytest.mark.parametrize("text", ["5e-05", "5.0e-5", "5E-5", ".5e-4", "0.00005", "5.e-5"])
def test_a_number_is_read_in_every_way_to_write_it(tmp_path, text):
    """DVC writes `5e-05` where it was given 0.00005."""
    written = yaml.safe_dump(values(train_afigan__lr="HERE")).replace("HERE", text)
    (tmp_path / "params.yaml").write_text(written, "utf-8")
    assert load_params(tmp_path / "params.yaml").train_afigan.lr == 5e-5


def test_parameters_do_not_change_after_reading():
    with pytest.raises(ValueError, match="frozen"):
        check_params(MINI).seed = 1


# --- lineage ----------------------------------------------------------------------------------------------------------


def hashes(**changes):
    params = check_params(values(**changes))
    return {key: fingerprint(params, f"evaluations/{key}") for key in params.experiments.evaluations}


BEFORE = hashes()
OF_MAIN = {"a2", "a3", "a4", "a5", "b1"}  # descend from afigan/main
OF_OTHERS = {"different", "degraded_nearest", "degraded_bicubic"}  # from other experiments of stage 1


@pytest.mark.parametrize(
    ("changes", "affected"),
    [
        ({"seed": 1}, EVALUATIONS),
        ({"threads": MINI["threads"] + 1}, EVALUATIONS),
        ({"processes": 2}, EVALUATIONS),
        ({"train_backbone__log_every": 2}, EVALUATIONS),  # the log is an output
        ({"data__shapes__train": 41}, EVALUATIONS),
        ({"model__channels": 16}, EVALUATIONS),
        ({"input__flip": not MINI["input"]["flip"]}, EVALUATIONS),
        ({"evaluate__detections": 7}, EVALUATIONS),
        ({"train_detector__lr": 0.5}, EVALUATIONS),
        ({"train_afigan__lr": 0.5}, OF_MAIN | OF_OTHERS),
        ({"train_extractor__lambda": 0.5}, OF_MAIN - {"a2"} | OF_OTHERS | {"control_nn"}),
        ({"pairs__format": "jpeg"}, OF_MAIN | OF_OTHERS | {"control_nn"}),
        ({"experiments__afigan__main__adversarial": "detached"}, OF_MAIN),
        ({"experiments__extractors__main__adversarial": "off"}, {"a3", "a4", "a5"}),
        ({"experiments__extractors__nearest__content": False}, {"degraded_nearest"}),
        ({"experiments__detectors__a5__freeze_interpolator": True}, {"a5"}),
        ({"experiments__detectors__a6__options": {"blocks": "rb"}}, {"a6"}),
        ({"experiments__detectors__a5__freeze_interpolator": False}, set()),  # its default, written down
        ({"experiments__detectors__a7": NEW}, set()),
        ({"model__head": "faster_rcnn"}, EVALUATIONS),
        ({"experiments__detectors__a6__seed": 3}, {"a6"}),
        ({"experiments__afigan__main__seed": 3}, OF_MAIN),
        ({"experiments__detectors__a6__schedule": {"lr": 0.5}}, {"a6"}),
        ({"experiments__detectors__a6__schedule": {"workers": 0}}, {"a6"}),  # the experiment's own words are in it
        ({"experiments__extractors__iterated__schedule": {"lambda": 0.5}}, {"b1"}),
        ({"experiments__backbones__main__norm": "FrozenBN"}, EVALUATIONS),
        ({"experiments__evaluations__a6__model": "detectors/a5"}, {"a6"}),
        ({"benchmark__runs": 3}, set()),
        ({"benchmark__paper_size": None}, set()),
        ({"benchmark__paper_size__height": 512}, set()),
        ({"device": "cpu"}, set()),
        ({"pairs__workers": 7}, set()),
        ({"train_detector__workers": 7}, set()),
        ({"train_detector__checkpoint_every": 7}, set()),
        ({"figures__level": "p3"}, set()),
        ({"tables__table4": {"A1": "a1"}}, set()),
    ],
)
def test_hash_changes_with_what_it_descends_from(changes, affected):
    after = hashes(**changes)
    assert {key for key in BEFORE if after[key] != BEFORE[key]} == affected


def test_hashes_do_not_depend_on_the_order_of_keys():
    def reverse(value):
        return {k: reverse(v) for k, v in reversed(value.items())} if isinstance(value, dict) else value

    params = check_params(reverse(copy.deepcopy(MINI)))
    assert {key: fingerprint(params, f"evaluations/{key}") for key in EVALUATIONS} == BEFORE


def test_parents():
    params = check_params(MINI)
    assert parents(params, "backbones/main") == []
    assert parents(params, "detectors/a1") == ["backbones/main"]
    assert parents(params, "afigan/main") == ["detectors/a1"]
    assert parents(params, "extractors/main") == ["backbones/main", "detectors/a1", "afigan/main"]
    assert parents(params, "detectors/a5") == ["backbones/main", "extractors/main"]
    assert parents(params, "evaluations/a3") == ["extractors/main"]
    zoo = check_params(composed("zoo"))
    assert parents(zoo, "pseudo_labels/swin_t_afi") == ["detectors/swin_t_afi"]
    assert parents(zoo, "students/swin_t_afi_self") == [
        "backbones/swin_t",
        "pseudo_labels/swin_t_afi",
        "extractors/swin_t",
    ]


def test_labels_of_boxes_do_not_teach_masks():
    zoo = composed("zoo")
    zoo["experiments"]["students"]["swin_t_nn_self"]["head"] = "mask_rcnn"
    with pytest.raises(
        ValueError, match=r"swin_t_nn_self\.labels: mask_rcnn needs masks, but detectors/swin_t_nn finds"
    ):
        check_params(zoo)


def test_multi_scale_is_for_the_r_cnn_family():
    zoo = composed("zoo")
    zoo["experiments"]["evaluations"]["fcos_nn"]["multi_scale"] = True
    with pytest.raises(
        ValueError, match=r"evaluations\.fcos_nn\.multi_scale: works only with faster_rcnn, mask_rcnn, "
    ):
        check_params(zoo)


def test_a_bifpn_has_no_merged_maps():
    zoo = composed("zoo")
    zoo["experiments"]["afigan"]["bifpn"]["features"] = "merged"
    with pytest.raises(ValueError, match=r"afigan\.bifpn\.features: a BiFPN has no merged maps"):
        check_params(zoo)
