"""Classification backbones under the pyramids: detectron2's ResNets and timm's feature extractors (Table 1)."""

from typing import Any

from detectron2.modeling.backbone import Backbone

from afigan.backbones.resnets import FEATURES, RESNETS, build_resnet
from afigan.backbones.timm_nets import TimmBackbone

__all__ = ["FEATURES", "TimmBackbone", "build_backbone"]


def build_backbone(
    name: str, *, norm: str = "FrozenBN", freeze_at: int = 0, options: dict[str, Any] | None = None
) -> Backbone:
    """Build a backbone that gives `res2`…`res5`, each (N, C_i, ceil(H / stride), ceil(W / stride)), strides 4 to 32.

    Args:
        name: `resnet_mini` (a ResNet of four blocks, 16 to 128 channels, for two CPU cores), `resnet18`, `resnet34`,
            `resnet50`, `resnet101`, or `timm/NAME` for any of timm's, as `timm/swin_tiny_patch4_window7_224`; a tag
            behind its name (`.ms_in22k`) chooses among its pretrained weights.
        norm: for a ResNet, detectron2's names (`FrozenBN`, `BN`, `SyncBN`). timm's backbones have their own: there
            `FrozenBN` freezes batch normalisation, `SyncBN` computes it over all processes, `BN` leaves it as it is.
        freeze_at: the number of stages that are not trained, counted from the stem as in detectron2: 1 is the stem,
            2 the stem and the stage of `res2`, and so on.
        options: for a `timm/NAME`, arguments of `timm.create_model` (a tiny Swin has `embed_dim`, `depths`,
            `num_heads`, `window_size`, a tiny ResNeSt `layers`, `stem_width`, `base_width`, `channels`). The defaults
            are timm's, except for a Swin's `drop_path_rate`, 0.2. For `resnet50` and `resnet101`, `stride_in_1x1`, by
            default True as in MSRA's nets; torchvision's weights need False.

    Raises:
        ValueError: unknown name, norm or option, or a timm backbone without four stages of strides 4 to 32.
    """
    options = dict(options or {})
    if name.startswith("timm/"):
        return TimmBackbone(name.removeprefix("timm/"), norm=norm, freeze_at=freeze_at, options=options)
    if name not in RESNETS:
        raise ValueError(f"unknown backbone {name!r}: choose one of {', '.join(RESNETS)}, or timm/NAME")
    return build_resnet(name, norm=norm, freeze_at=freeze_at, options=options)
