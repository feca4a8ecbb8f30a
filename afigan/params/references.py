"""Check the references between experiments of params.yaml: the weights they start from, the rows they fill."""

from typing import Any

from pydantic import BaseModel, ValidationError

from afigan.params import stages as resolved
from afigan.params.schema import MASK_HEADS, DetectorExperiment, ExtractorExperiment, Params
from afigan.runtime.messages import shown

R_CNN = ("faster_rcnn", "mask_rcnn", "cascade_rcnn", "cascade_mask_rcnn")


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
            message = "unknown key; remove it or see afigan/params/schema.py for the names"
        elif item["type"] == "missing":
            message = "missing"
        elif not isinstance(item["input"], dict | BaseModel):
            message += f" (found {shown(item['input'])})"
        lines.append(f"{where}: {message}" if where else message)
    return lines


class _References:
    def __init__(self, params: Params) -> None:
        self.params, self.problems = params, list[str]()
        experiments = params.experiments
        for kind in resolved.STAGES:
            for key in getattr(experiments, kind):
                self._schedule(f"{kind}/{key}")
        for key in experiments.afigan:
            self._afigan(f"afigan/{key}")
        for key in experiments.extractors:
            self._extractor(f"extractors/{key}")
        for kind in ("detectors", "students"):
            for key in getattr(experiments, kind):
                self._detector(f"{kind}/{key}")
        for key in experiments.students:
            self._labels(f"students/{key}")
        for key in experiments.pseudo_labels.keys() - {item.labels for item in experiments.students.values()}:
            self._lookup(f"pseudo_labels/{key}", "model", experiments.pseudo_labels[key].model)
        for kind in ("evaluations", "submissions"):
            for key in getattr(experiments, kind):
                self._evaluation(f"{kind}/{key}")
        if experiments.submissions and not self._has_test_images():
            self._say("experiments.submissions", "needs data.test.images (for shapes: data.shapes.test)")
        if experiments.pseudo_labels and not self._has_unlabeled_images():
            self._say("experiments.pseudo_labels", "needs data.unlabeled.images (for shapes: data.shapes.unlabeled)")
        self._tables()
        self._figures()

    def _say(self, where: str, what: str) -> None:
        self.problems.append(f"{where}: {what}")

    def _lookup(self, node: str, name: str, target: str) -> Any:
        """Return the experiment that `name` of `node` refers to; if it is not there, note a problem and return None."""
        kind, key = target.split("/")
        known = getattr(self.params.experiments, kind)
        if key not in known:
            names = ", ".join(known) or "none"
            self._say(f"{_place(node)}.{name}", f"there is no experiments.{kind}.{key}; those that exist: {names}")
        return known.get(key)

    def _is_there(self, node: str) -> bool:
        kind, key = node.split("/")
        return key in getattr(self.params.experiments, kind)

    def _agree(self, node: str, name: str, ours: Any, theirs: Any) -> None:
        if ours != theirs:
            self._say(f"{_place(node)}.{name}", f"{ours!r}, but the weights it starts from have {theirs!r}")

    def _schedule(self, node: str) -> None:
        processes = self.params.processes
        try:
            size = resolved.schedule(self.params, node).batch_size
            if size % processes:
                self._say(
                    f"{_place(node)}", f"its batch_size of {size} cannot be split evenly among {processes} processes"
                )
        except ValidationError as error:
            self.problems += reasons(error, f"{_place(node)}.schedule")

    def _afigan(self, node: str) -> None:
        item = resolved.experiment(self.params, node)
        self._degradation(node, item.degradation)
        teacher = self._teacher(node, item.teacher)
        theirs = resolved.pyramid(self.params, f"detectors/{item.teacher}") if teacher is not None else None
        if item.features == "merged" and theirs == "bifpn":
            self._say(f"{_place(node)}.features", "a BiFPN has no merged maps; set it to output")

    def _extractor(self, node: str) -> None:
        item = resolved.experiment(self.params, node)
        self._degradation(node, item.degradation)
        self._network(node)
        teacher = self._teacher(node, item.teacher)
        if teacher is not None:
            theirs = f"detectors/{item.teacher}"
            pyramids = {resolved.pyramid(self.params, n) for n in (node, theirs)}
            if item.backbone != teacher.backbone or len(pyramids) > 1:
                self._say(
                    f"{_place(node)}.teacher", f"M needs the backbone and pyramid of F, but {item.teacher} has others"
                )
        start = self._lookup(node, "init", item.init)
        if item.init.startswith("afigan/"):
            if item.interpolator != "afi":
                key = item.backbone
                self._say(
                    f"{_place(node)}.init", f"{item.interpolator} takes nothing from stage 1; set it to backbones/{key}"
                )
            for name in ("blocks", "degradation", "match") if start is not None else ():
                self._agree(node, name, getattr(item, name), getattr(start, name))

    def _detector(self, node: str) -> None:
        item = resolved.experiment(self.params, node)
        self._network(node)
        start = self._lookup(node, "init", item.init)
        kind = item.init.split("/")[0]
        if item.reuse == "M" and kind != "extractors":
            self._say(f"{_place(node)}.reuse", f"M can be reused only from an extractor, but init is {item.init}")
        if kind == "afigan" and item.interpolator != "afi":
            self._say(
                f"{_place(node)}.init",
                f"{item.interpolator} takes nothing from stage 1; set it to backbones/{item.backbone}",
            )
        if start is None or kind == "backbones":
            return
        self._agree(node, "blocks", item.blocks, start.blocks)
        if isinstance(start, ExtractorExperiment):
            for name in ("interpolator", "upsampling", *(("backbone",) if item.reuse == "M" else ())):
                self._agree(node, name, getattr(item, name), getattr(start, name))
            if item.reuse == "M":
                self._agree(node, "repeats", item.repeats, start.repeats)
                ours, theirs = (resolved.pyramid(self.params, n) for n in (node, item.init))
                self._agree(node, "pyramid", ours, theirs)

    def _labels(self, node: str) -> None:
        item = resolved.experiment(self.params, node)
        labels = self._lookup(node, "labels", f"pseudo_labels/{item.labels}")
        if labels is None or self._lookup(f"pseudo_labels/{item.labels}", "model", labels.model) is None:
            return
        ours, theirs = (resolved.head(self.params, n) for n in (node, labels.model))
        if ours in MASK_HEADS and theirs not in MASK_HEADS:
            self._say(f"{_place(node)}.labels", f"{ours} needs masks, but {labels.model} finds only boxes")

    def _network(self, node: str) -> None:
        item: ExtractorExperiment | DetectorExperiment = resolved.experiment(self.params, node)
        self._lookup(node, "backbone", f"backbones/{item.backbone}")
        if item.init.startswith("backbones/") and item.init != f"backbones/{item.backbone}":
            self._say(f"{_place(node)}.init", f"is not its backbone; set it to backbones/{item.backbone}")
        if item.upsampling == "iterated" and resolved.pyramid(self.params, node) != "fpn":
            self._say(f"{_place(node)}.upsampling", "iterated works only with the pyramid fpn")

    def _teacher(self, node: str, key: str) -> Any:
        teacher = self._lookup(node, "teacher", f"detectors/{key}")
        if teacher is not None and not teacher.init.startswith("backbones/"):
            self._say(f"{_place(node)}.teacher", f"F must be trained without AFI-GAN, {key} starts from {teacher.init}")
        return teacher

    def _degradation(self, node: str, degradation: str) -> None:
        if degradation not in self.params.pairs.degradations:
            self._say(f"{_place(node)}.degradation", f"{degradation} is not among pairs.degradations; add it there")

    def _evaluation(self, node: str) -> None:
        item = resolved.experiment(self.params, node)
        if self._lookup(node, "model", item.model) is None or not item.multi_scale:
            return
        if self.params.evaluate.multi_scale is None:
            self._say(f"{_place(node)}.multi_scale", "needs evaluate.multi_scale with the sizes")
        if resolved.head(self.params, item.model) not in R_CNN:
            self._say(f"{_place(node)}.multi_scale", f"works only with {', '.join(R_CNN)}")

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
        evaluations = self.params.experiments.evaluations
        for table, rows in self.params.tables.items():
            for row, keys in rows.items():
                for key in keys:
                    if key not in evaluations:
                        self._say(f"tables.{table}.{row}", f"there is no experiments.evaluations.{key}")
                models = [evaluations[key].model for key in keys if key in evaluations]
                seeds = [resolved.seed(self.params, model) for model in models if self._is_there(model)]
                if len(set(seeds)) < len(seeds):
                    self._say(f"tables.{table}.{row}", f"{', '.join(keys)} need different seeds, but have {seeds}")

    def _figures(self) -> None:
        figures, experiments = self.params.figures, self.params.experiments
        if figures.afigan not in experiments.afigan:
            self._say("figures.afigan", f"there is no experiments.afigan.{figures.afigan}")
        elif self._is_there(teacher := f"detectors/{experiments.afigan[figures.afigan].teacher}"):
            levels = resolved.interpolated_levels(self.params, teacher)
            if figures.level not in levels:
                self._say("figures.level", f"{figures.level}, but G learns on {', '.join(levels)} of {teacher}")
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


def _place(node: str) -> str:
    return f"experiments.{node.replace('/', '.')}"
