"""Experiments of params.yaml, each resolved once with all that it takes from the rest of the file.

That is its schedule, seed and network, the nodes whose results it reads, and a hash of every parameter that it depends
on. Nodes are those of `afigan.params.stages`.
"""

from collections.abc import Iterator
from functools import cached_property
from typing import Any

from afigan.params.experiments import BackboneExperiment
from afigan.params.registered import heads
from afigan.params.schema import Params, Schedule
from afigan.params.stages import KINDS, REFERENCES, split_node
from afigan.runtime.files import digest

_HARMLESS = {"workers", "checkpoint_every"}
_LEVELS = ("p2", "p3", "p4", "p5", "p6", "p7")


class Lineage:
    """The nodes of a params.yaml by name, resolved when they are first asked for; their references need not exist."""

    def __init__(self, params: Params) -> None:
        self.params = params
        self._nodes: dict[str, Node] = {}

    def __getitem__(self, name: str) -> "Node":
        """Return a node.

        Raises:
            KeyError: there is no such experiment.
        """
        if name not in self._nodes:
            self._nodes[name] = Node(self, name)
        return self._nodes[name]

    def get(self, name: str) -> "Node | None":
        """Return a node; None if the name is not that of an experiment."""
        if name not in self:
            return None
        return self[name]

    def __contains__(self, name: str) -> bool:
        kind, key = split_node(name)
        return kind in KINDS and key in getattr(self.params.experiments, kind)

    def of_kind(self, *kinds: str) -> "Iterator[Node]":
        """Yield the nodes of some kinds."""
        for kind in kinds:
            for key in getattr(self.params.experiments, kind):
                yield self[f"{kind}/{key}"]

    def __iter__(self) -> "Iterator[Node]":
        return self.of_kind(*KINDS)


class Node:
    """An experiment of params.yaml; see `afigan.params.stages`.

    Attributes:
        params: the complete parameters.
        name, kind, key: `detectors/a5`, `detectors`, `a5`.
        experiment: its entry under `experiments`.
    """

    def __init__(self, lineage: Lineage, name: str) -> None:
        self.lineage, self.params, self.name = lineage, lineage.params, name
        self.kind, self.key = split_node(name)
        self.experiment: Any = getattr(self.params.experiments, self.kind)[self.key]

    @cached_property
    def schedule(self) -> Schedule:
        """The section of the node's stage, with the experiment's own changes.

        Raises:
            ValueError: a change is not a key of a schedule, or has a wrong type.
        """
        base = getattr(self.params, KINDS[self.kind].schedule)
        change = self.experiment.schedule
        return type(base).model_validate(base.model_dump(by_alias=True) | change) if change else base

    @property
    def is_training(self) -> bool:
        """True if the node has iterations; a backbone whose weights are read has none."""
        return bool(KINDS[self.kind].schedule) and (self.kind != "backbones" or self.experiment.weights == "crops")

    @property
    def seed(self) -> int:
        """The seed of everything random in the node's training."""
        own = self.experiment.seed
        return self.params.seed if own is None else own

    @property
    def backbone(self) -> BackboneExperiment:
        """The backbone of a detector, a student or an extractor."""
        return self.params.experiments.backbones[self.experiment.backbone]

    @property
    def pyramid(self) -> str:
        """The pyramid of a detector, a student or an extractor."""
        return self.experiment.pyramid or self.params.model.pyramid

    @property
    def head(self) -> str:
        """The detection head of a detector, a student or an extractor."""
        return self.experiment.head or self.params.model.head

    @property
    def interpolated_levels(self) -> tuple[str, ...]:
        """N_s..N_e of the node's pyramid, fine to coarse: see `afigan.pyramids.base.Pyramid`."""
        if self.pyramid == "bifpn":
            return _LEVELS[1:]
        return _LEVELS[_LEVELS.index(heads()[self.head].traits["finest"]) : 4]

    @cached_property
    def parents(self) -> "list[Node]":
        """The nodes whose results this one reads, without this one."""
        names: dict[str, None] = {}
        for field, kind in REFERENCES.items():
            if (value := getattr(self.experiment, field, None)) is not None:
                names[f"{kind}/{value}" if kind else value] = None
        return [self.lineage[name] for name in names]

    @cached_property
    def trainings(self) -> dict[str, dict[str, Any]]:
        """Kind -> schedule of each training that a model comes from: its own, and those along `model` and `init`.

        Keys of a schedule that cannot change the result are left out.
        """
        own = {self.kind: self.schedule.model_dump(exclude=_HARMLESS)} if self.is_training else {}
        origin = getattr(self.experiment, "model", None) or getattr(self.experiment, "init", None)
        return own if origin is None else own | self.lineage[origin].trainings

    @cached_property
    def params_hash(self) -> str:
        """The hex SHA-256 of every parameter that can change the result, those of the parents included."""
        params, item = self.params, self.experiment
        # the embedded set is drawn from the seed
        data = {"data": params.data.model_dump(), "seed": params.seed if params.data.source == "shapes" else None}
        own: dict[str, object] = {"node": self.name, "experiment": item.model_dump(), "threads": params.threads, **data}
        if KINDS[self.kind].schedule:  # each process draws its own RoIs
            own |= {"seed": self.seed, "model": params.model.model_dump(), "processes": params.processes}
            if self.is_training:
                own["schedule"] = self.schedule.model_dump(exclude=_HARMLESS)
        else:
            own["evaluate"] = params.evaluate.model_dump()
        if self.kind != "backbones":
            own["input"] = params.input.model_dump()
        if hasattr(item, "degradation"):
            own["pairs"] = params.pairs.format
        return digest(own | {"parents": [parent.params_hash for parent in self.parents]})
