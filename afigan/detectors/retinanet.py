"""detectron2's RetinaNet, whose losses survive an interruption and do not depend on the number of processes."""

from typing import Any

import torch
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.modeling.meta_arch.retinanet import RetinaNet

from afigan.detectors.normalisers import mean_over_processes


@META_ARCH_REGISTRY.register()
class SteadyRetinaNet(RetinaNet):
    """RetinaNet with its losses' running normaliser among the buffers, which checkpoints hold; not in its state dict.

    detectron2's is an attribute: a run that goes on begins with another one. It is that of one process, too.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.register_buffer("normalizer", torch.full((), torch.nan, dtype=torch.float64), persistent=False)

    def _ema_update(self, name: str, value: float, initial_value: float, momentum: float = 0.9) -> torch.Tensor:
        assert name == "loss_normalizer"
        mean = mean_over_processes(torch.full_like(self.normalizer, value))
        before = torch.where(self.normalizer.isnan(), initial_value, self.normalizer)
        self.normalizer.copy_(before * momentum + mean * (1 - momentum))
        return self.normalizer.clone()
