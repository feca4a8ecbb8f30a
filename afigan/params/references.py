"""Check the references between experiments of params.yaml: the weights they start from, the rows they fill."""

import re
from typing import Any

from pydantic import BaseModel, ValidationError

from afigan.params.experiments import ExtractorExperiment
from afigan.params.lineage import Lineage, Node
from afigan.params.registered import has_masks, heads, interpolators, is_learned, wrong_options
from afigan.params.schema import Params
from afigan.params.stages import TRAINED
from afigan.runtime.messages import shown

# keys of earlier versions -> their present names
RENAMED = {
    r"(train_\w+|experiments\.\w+\.\w+\.schedule)\.schedule": "lr_schedule",
    r"(train_\w+|experiments\.\w+\.\w+\.schedule)\.clip": "clip_norm",
    r"model\.(roi_heads|rpn)\.batch_size": "batch_size_per_image",
    r"experiments\.\w+\.\w+\.blocks": "options: {blocks: …}",
}


def broken_references(params: Params) -> list[str]:
    """Return the broken references between experiments: a line for each, with its key."""
    return _References(params).problems


def reasons(error: ValidationError, *place: str) -> list[str]:
    """Return the errors that the schema has found: a line for each, with its key under `place`."""
    lines = []
    for item in error.errors():
        parts = [str(part) for part in item["loc"] if part != "[key]"]
        where = ".".join([*place, *(part if part and part.isprintable() else repr(part) for part in parts)])
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            names = [name for pattern, name in RENAMED.items() if re.fullmatch(pattern, where)]
            message = f"is now called {names[0]}" if names else "unknown key; remove it or see afigan/params/schema.py"
        elif item["type"] == "missing":
            message = "missing"
        elif not isinstance(item["input"], dict | BaseModel):
            message += f" (found {shown(item['input'])})"
        lines.append(f"{where}: {message}" if where else message)
    return lines


class _References:
    def __init__(self, params: Params) -> None:
        self.params, self.problems, self.lineage = params, list[str](), Lineage(params)
        experiments, of_kind = params.experiments, self.lineage.of_kind
        for node in of_kind(*TRAINED):
            self._schedule(node)
        for node in of_kind("afigan"):
            self._afigan(node)
        for node in of_kind("extractors"):
            self._extractor(node)
        for node in of_kind("detectors", "students"):
            self._detector(node)
        for node in of_kind("students"):
            self._labels(node)
        used = {item.labels for item in experiments.students.values()}
        for node in of_kind("pseudo_labels"):
            if node.key not in used:
                self._lookup(node, "model", node.experiment.model)
        for node in of_kind("evaluations", "submissions"):
            self._evaluation(node)
        if experiments.submissions and not self._has_test_images():
            self._say("experiments.submissions", "needs data.test.images (for shapes: data.shapes.test)")
        if experiments.pseudo_labels and not self._has_unlabeled_images():
            self._say("experiments.pseudo_labels", "needs data.unlabeled.images (for shapes: data.shapes.unlabeled)")
        self._tables()
        self._figures()

    def _say(self, where: str, what: str) -> None:
        self.problems.append(f"{where}: {what}")

    def _lookup(self, node: Node, name: str, target: str) -> Node | None:
        """Return the node that `name` of `node` refers to; if it is not there, note a problem and return None."""
        if target in self.lineage:
            return self.lineage[target]
        kind, key = target.split("/")
        names = ", ".join(getattr(self.params.experiments, kind)) or "none"
        self._say(f"{_place(node)}.{name}", f"there is no experiments.{kind}.{key}; those that exist: {names}")
        return None

    def _agree(self, node: Node, name: str, ours: Any, theirs: Any) -> None:
        if ours != theirs:
            self._say(f"{_place(node)}.{name}", f"{ours!r}, but the weights it starts from have {theirs!r}")

    def _schedule(self, node: Node) -> None:
        processes = self.params.processes
        try:
            size = node.schedule.batch_size
            if size % processes:
                self._say(_place(node), f"its batch_size of {size} cannot be split evenly among {processes} processes")
        except ValidationError as error:
            self.problems += reasons(error, *_place(node).split("."), "schedule")

    def _afigan(self, node: Node) -> None:
        item = node.experiment
        self._degradation(node)
        self._options(node)
        if not is_learned(item.interpolator):
            learned = ", ".join(name for name in interpolators() if is_learned(name))
            self._say(
                f"{_place(node)}.interpolator", f"{item.interpolator} has nothing to learn; choose from {learned}"
            )
        elif interpolators()[item.interpolator].traits.get("guided"):
            self._say(
                f"{_place(node)}.interpolator",
                f"{item.interpolator} needs a finer map, which stage 1 has not; start stage 2 from a backbone",
            )
        teacher = self._teacher(node)
        if item.features == "merged" and teacher is not None and teacher.pyramid == "bifpn":
            self._say(f"{_place(node)}.features", "a BiFPN has no merged maps; set it to output")

    def _extractor(self, node: Node) -> None:
        item = node.experiment
        self._degradation(node)
        self._network(node)
        teacher = self._teacher(node)
        if teacher is not None and (item.backbone != teacher.experiment.backbone or node.pyramid != teacher.pyramid):
            self._say(
                f"{_place(node)}.teacher", f"M needs the backbone and pyramid of F, but {item.teacher} has others"
            )
        if item.match == "different" and interpolators()[item.interpolator].traits.get("guided"):
            self._say(f"{_place(node)}.match", f"{item.interpolator} needs a finer map; set it to same")
        start = self._lookup(node, "init", item.init)
        if start is not None and start.kind == "afigan":
            self._same_interpolator(node, start)
            for name in ("degradation", "match"):
                self._agree(node, name, getattr(item, name), getattr(start.experiment, name))

    def _detector(self, node: Node) -> None:
        item = node.experiment
        self._network(node)
        start = self._lookup(node, "init", item.init)
        if item.reuse == "M" and not item.init.startswith("extractors/"):
            self._say(f"{_place(node)}.reuse", f"M can be reused only from an extractor, but init is {item.init}")
        if start is None or start.kind == "backbones":
            return
        self._same_interpolator(node, start)
        if isinstance(start.experiment, ExtractorExperiment):
            for name in ("upsampling", *(("backbone", "repeats") if item.reuse == "M" else ())):
                self._agree(node, name, getattr(item, name), getattr(start.experiment, name))
            if item.reuse == "M":
                self._agree(node, "pyramid", node.pyramid, start.pyramid)
            shared = interpolators()[item.interpolator].traits.get("shared")
            ours, theirs = node.interpolated_levels, start.interpolated_levels
            if is_learned(item.interpolator) and not shared and ours != theirs:
                self._say(
                    f"{_place(node)}.init",
                    f"{item.interpolator} has a module for each place of a pyramid, and those of {start.name} are "
                    f"{', '.join(theirs)}, not {', '.join(ours)}; set init to an extractor with a head as {node.head}",
                )

    def _same_interpolator(self, node: Node, start: Node) -> None:
        item, theirs = node.experiment, start.experiment
        if item.interpolator != theirs.interpolator:
            self._say(
                f"{_place(node)}.init",
                f"{start.name} has {theirs.interpolator}, and {item.interpolator} takes nothing from it; set init to "
                f"backbones/{item.backbone}, or the same interpolator",
            )
        else:
            self._agree(node, "options", item.options, theirs.options)

    def _labels(self, node: Node) -> None:
        labels = self._lookup(node, "labels", f"pseudo_labels/{node.experiment.labels}")
        model = self._lookup(labels, "model", labels.experiment.model) if labels is not None else None
        if model is not None and has_masks(node.head) and not has_masks(model.head):
            self._say(f"{_place(node)}.labels", f"{node.head} needs masks, but {model.name} finds only boxes")

    def _network(self, node: Node) -> None:
        item = node.experiment
        self._options(node)
        self._lookup(node, "backbone", f"backbones/{item.backbone}")
        if item.init.startswith("backbones/") and item.init != f"backbones/{item.backbone}":
            self._say(f"{_place(node)}.init", f"is not its backbone; set it to backbones/{item.backbone}")
        if item.upsampling == "iterated":
            if node.pyramid != "fpn":
                self._say(f"{_place(node)}.upsampling", "iterated works only with the pyramid fpn")
            if interpolators()[item.interpolator].traits.get("guided"):
                self._say(f"{_place(node)}.upsampling", f"iterated has no finer map, which {item.interpolator} needs")

    def _options(self, node: Node) -> None:
        traits = interpolators()[node.experiment.interpolator].traits
        if self.params.deterministic and self.params.device != "cpu" and traits.get("unrepeatable"):
            self._say(
                f"{_place(node)}.interpolator",
                f"on a GPU torch cannot repeat the gradient of {node.experiment.interpolator}; set deterministic to "
                "false, or device to cpu",
            )
        for problem in wrong_options(node.experiment.interpolator, node.experiment.options):
            self._say(f"{_place(node)}.options", problem)

    def _teacher(self, node: Node) -> Node | None:
        key = node.experiment.teacher
        teacher = self._lookup(node, "teacher", f"detectors/{key}")
        if teacher is not None and not (init := teacher.experiment.init).startswith("backbones/"):
            self._say(f"{_place(node)}.teacher", f"F must be trained without AFI-GAN, {key} starts from {init}")
        return teacher

    def _degradation(self, node: Node) -> None:
        degradation = node.experiment.degradation
        if degradation not in self.params.pairs.degradations:
            self._say(f"{_place(node)}.degradation", f"{degradation} is not among pairs.degradations; add it there")

    def _evaluation(self, node: Node) -> None:
        item = node.experiment
        model = self._lookup(node, "model", item.model)
        if model is None or not item.multi_scale:
            return
        if self.params.evaluate.multi_scale is None:
            self._say(f"{_place(node)}.multi_scale", "needs evaluate.multi_scale with the sizes")
        if heads()[model.head].traits["family"] != "rcnn":
            able = ", ".join(name for name, head in heads().items() if head.traits["family"] == "rcnn")
            self._say(f"{_place(node)}.multi_scale", f"works only with {able}")

    def _has_test_images(self) -> bool:
        data = self.params.data
        return data.shapes.test > 0 if data.source == "shapes" else "test" in data.annotation_files

    def _has_unlabeled_images(self) -> bool:
        data = self.params.data
        return data.shapes.unlabeled > 0 if data.source == "shapes" else data.unlabeled.images is not None

    def _pixels(self, key: str) -> str | None:
        """Return the channel order of an evaluation's detector; None if something that it refers to is not there."""
        evaluation = self.params.experiments.evaluations.get(key)
        detector = self.params.experiments.detectors.get(evaluation.model.split("/")[1]) if evaluation else None
        backbone = self.params.experiments.backbones.get(detector.backbone) if detector else None
        return backbone.pixel_format if backbone else None

    def _tables(self) -> None:
        evaluations, detectors = self.params.experiments.evaluations, self.params.experiments.detectors
        for table, rows in self.params.tables.items():
            for row, keys in rows.items():
                for key in keys:
                    if key not in evaluations:
                        hint = f"; add it: {key}: {{model: detectors/{key}}}" if key in detectors else ""
                        self._say(f"tables.{table}.{row}", f"there is no experiments.evaluations.{key}{hint}")
                models = [evaluations[key].model for key in keys if key in evaluations]
                seeds = [self.lineage[model].seed for model in models if model in self.lineage]
                if len(set(seeds)) < len(seeds):
                    self._say(f"tables.{table}.{row}", f"{', '.join(keys)} need different seeds, but have {seeds}")

    def _figures(self) -> None:
        figures, experiments = self.params.figures, self.params.experiments
        if figures.afigan not in experiments.afigan:
            self._say("figures.afigan", f"there is no experiments.afigan.{figures.afigan}")
        elif (teacher := f"detectors/{experiments.afigan[figures.afigan].teacher}") in self.lineage:
            levels = self.lineage[teacher].interpolated_levels
            if figures.level not in levels:
                self._say(
                    "figures.level",
                    f"{figures.level}, but G learns on {', '.join(levels)} of {teacher}: set it to {levels[0]}",
                )
        images = self.params.data.shapes.val
        if self.params.data.source == "shapes" and figures.image >= images:
            self._say("figures.image", f"{figures.image}, but the validation set has {images} images: lower it")
        named = {"nearest": figures.nearest, "afi": figures.afi}
        named |= {f"gradcam.{title}": key for title, key in figures.gradcam.items()}
        for name, key in named.items():
            if key not in experiments.evaluations:
                self._say(f"figures.{name}", f"there is no experiments.evaluations.{key}")
            elif not experiments.evaluations[key].model.startswith("detectors/"):
                self._say(f"figures.{name}", f"experiments.evaluations.{key} does not evaluate a detector")
            elif self._pixels(key) != self._pixels(figures.nearest):
                self._say(f"figures.{name}", f"{key} and {figures.nearest} differ in pixel_format")


def _place(node: Node) -> str:
    return f"experiments.{node.kind}.{node.key}"
