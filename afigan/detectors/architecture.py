"""The values that a detector's modules depend on, from params.yaml or from beside its weights."""

from dataclasses import asdict, dataclass, field
from typing import Any

from afigan.params.experiments import BackboneExperiment
from afigan.params.lineage import Node
from afigan.params.registered import has_masks, heads
from afigan.params.schema import Model


@dataclass(frozen=True)
class Architecture:
    """The values that a detector's modules depend on, as saved beside its weights.

    Args:
        model: `model` of params.yaml: the sizes that all detectors share.
        backbone: the backbone's experiment in params.yaml.
        num_classes: of the data set.
        head: one of `afigan.detectors.heads.HEADS`.
        pyramid: fpn, pafpn or bifpn; `repeats` is for bifpn, None for its default.
        interpolator, options: of the pyramid; see `afigan.interpolators.build_interpolator`.
        upsampling: of the pyramid.
    """

    model: Model
    backbone: BackboneExperiment
    num_classes: int
    head: str = "mask_rcnn"
    pyramid: str = "fpn"
    repeats: int | None = None
    interpolator: str = "nearest"
    options: dict[str, Any] = field(default_factory=dict)
    upsampling: str = "per_level"

    @classmethod
    def of(cls, node: Node, num_classes: int) -> "Architecture":
        """Return the architecture of an extractor, a detector or a student."""
        item = node.experiment
        return cls(
            model=node.params.model,
            backbone=node.backbone,
            num_classes=num_classes,
            head=node.head,
            pyramid=node.pyramid,
            **{name: getattr(item, name) for name in ("repeats", "interpolator", "options", "upsampling")},
        )

    @property
    def has_masks(self) -> bool:
        return has_masks(self.head)

    @property
    def starts_at_p2(self) -> bool:
        """True for the levels P2-P6, False for P3-P7, as in every BiFPN."""
        return heads()[self.head].traits["finest"] == "p2" and self.pyramid != "bifpn"

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"model": self.model.model_dump(), "backbone": self.backbone.model_dump()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Architecture":
        sections = {
            "model": Model.model_validate(values["model"]),
            "backbone": BackboneExperiment.model_validate(values["backbone"]),
        }
        return cls(**values | sections)
