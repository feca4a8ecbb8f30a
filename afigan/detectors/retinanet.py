"""detectron2's RetinaNet, changed to learn at any width and to resume exactly after an interruption."""

import math
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.modeling.meta_arch.retinanet import RetinaNet

from afigan.detectors.architecture import Architecture
from afigan.detectors.heads import register_head
from afigan.detectors.normalisers import mean_over_processes

WIDTH = 256  # channels that detectron2's initial weights suit


@META_ARCH_REGISTRY.register()
class SteadyRetinaNet(RetinaNet):
    """RetinaNet with its losses' running normaliser in a buffer that checkpoints hold and its state dict does not.

    detectron2's normaliser is an attribute, so a resumed run begins with another one. It also differs between
    processes.

    detectron2 draws the head's weights with deviation 0.01, which suits C = 256 (Lin et al., Focal loss for dense
    object detection, 2017, section 4.1). A layer multiplies the deviation of its input by about 0.01 sqrt(9 C / 2). At
    C = 32, four layers without normalisation leave so little of it that hundreds of iterations learn nothing. The
    deviation here is 0.01 sqrt(256 / C): the same signal leaves the towers at any C, and at C = 256 the weights are
    detectron2's.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        for layer in self.head.modules():
            if isinstance(layer, torch.nn.Conv2d):
                layer.weight.data.mul_(math.sqrt(WIDTH / layer.in_channels))
        self.register_buffer("normalizer", torch.full((), torch.nan, dtype=torch.float64), persistent=False)

    def _ema_update(self, name: str, value: float, initial_value: float, momentum: float = 0.9) -> torch.Tensor:
        assert name == "loss_normalizer"
        mean = mean_over_processes(torch.full_like(self.normalizer, value))
        before = torch.where(self.normalizer.isnan(), initial_value, self.normalizer)
        self.normalizer.copy_(before * momentum + mean * (1 - momentum))
        return self.normalizer.clone()


@register_head("retinanet", finest="p3", masks=False, family="dense")
def configure_retinanet(cfg: CfgNode, architecture: Architecture, levels: list[str], image_scale: float) -> None:
    """Set `cfg.MODEL` for RetinaNet: three anchor sizes an octave (Lin et al., 2017, section 4)."""
    node = cfg.MODEL
    node.META_ARCHITECTURE = "SteadyRetinaNet"
    sizes = [size * image_scale for size in architecture.model.anchor_sizes]
    node.ANCHOR_GENERATOR.SIZES = [[size * 2 ** (third / 3) for third in range(3)] for size in sizes]
    node.RETINANET.IN_FEATURES = levels
    node.RETINANET.SMOOTH_L1_LOSS_BETA = 0.0  # L1, as in detectron2's recipes; its default is not theirs
    node.RETINANET.NUM_CLASSES = architecture.num_classes
