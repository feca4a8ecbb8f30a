"""The entry point for any detectron2 project: `add_afigan_config(cfg)` and a registered backbone.

from afigan import add_afigan_config
cfg = get_cfg()
add_afigan_config(cfg)
cfg.MODEL.BACKBONE.NAME = "build_afigan_fpn_backbone"
cfg.MODEL.AFIGAN.PYRAMID = "pafpn"
cfg.MODEL.AFIGAN.INTERPOLATOR = "afi"
"""

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, build_resnet_backbone
from detectron2.modeling.backbone.fpn import LastLevelMaxPool, LastLevelP6P7

from afigan.backbones import FEATURES, build_backbone
from afigan.pyramids.base import Pyramid
from afigan.pyramids.bifpn import REPEATS, InterpolatedBiFPN
from afigan.pyramids.fpn import InterpolatedFPN
from afigan.pyramids.pafpn import InterpolatedPAFPN

PYRAMIDS = ("fpn", "pafpn", "bifpn")


def add_afigan_config(cfg: CfgNode) -> None:
    """Add `MODEL.AFIGAN` to a detectron2 config; the defaults choose AFI-GAN's interpolator."""
    cfg.MODEL.AFIGAN = CfgNode(
        {
            "PYRAMID": "fpn",  # or pafpn, bifpn
            "REPEATS": REPEATS,  # of bifpn
            "P6_FROM": "res5",  # of fpn and pafpn with P3-P7: res5 as RetinaNet, or p5 as FCOS
            "INTERPOLATOR": "afi",  # any of afigan.interpolators.INTERPOLATORS
            "OPTIONS": CfgNode(new_allowed=True),  # of the interpolator, as in `build_interpolator`
            "UPSAMPLING": "per_level",  # or, of fpn, iterated (Table 9)
            "BACKBONE": "",  # a name of afigan.backbones; empty: detectron2's ResNet, as MODEL.RESNETS says
            "BACKBONE_OPTIONS": CfgNode(new_allowed=True),  # of a timm model
            "NORM": "FrozenBN",  # of that backbone
        }
    )


def _build_pyramid(cfg: CfgNode, input_shape: ShapeSpec, finest: str) -> Pyramid:
    """Build the pyramid of `MODEL.AFIGAN` with five levels, from `finest` (p2 or p3) on."""
    node = cfg.MODEL.AFIGAN
    if node.PYRAMID not in PYRAMIDS:
        raise ValueError(f"unknown MODEL.AFIGAN.PYRAMID {node.PYRAMID!r}: choose one of {', '.join(PYRAMIDS)}")
    if node.PYRAMID != "fpn" and node.UPSAMPLING != "per_level":
        raise ValueError(
            f"MODEL.AFIGAN.UPSAMPLING {node.UPSAMPLING!r} needs pyramid fpn: {node.PYRAMID} needs per_level"
        )
    expected = list(FEATURES) if finest == "p2" else list(FEATURES[1:])
    in_features = list(cfg.MODEL.FPN.IN_FEATURES) or expected
    if in_features != expected:
        raise ValueError(f"MODEL.FPN.IN_FEATURES is {in_features}: five levels from {finest} on need {expected}")

    if node.BACKBONE:
        bottom_up = build_backbone(
            node.BACKBONE,
            norm=node.NORM,
            freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT,
            options=dict(node.BACKBONE_OPTIONS),
        )
    else:
        bottom_up = build_resnet_backbone(cfg, input_shape)
    shapes = bottom_up.output_shape()
    if missing := [name for name in in_features if name not in shapes]:
        raise ValueError(f"the backbone has no output {', '.join(missing)}: add it to MODEL.RESNETS.OUT_FEATURES")

    channels = cfg.MODEL.FPN.OUT_CHANNELS
    arguments = {
        "bottom_up": bottom_up,
        "out_channels": channels,
        "interpolator": node.INTERPOLATOR,
        "options": dict(node.OPTIONS),
    }
    if node.PYRAMID == "bifpn":
        return InterpolatedBiFPN(**arguments, repeats=node.REPEATS, norm=cfg.MODEL.FPN.NORM or "BN")
    top_block = LastLevelMaxPool() if finest == "p2" else _p6_p7(node.P6_FROM, shapes["res5"].channels, channels)
    arguments |= {"in_features": in_features, "top_block": top_block, "norm": cfg.MODEL.FPN.NORM}
    if node.PYRAMID == "pafpn":
        return InterpolatedPAFPN(**arguments)
    return InterpolatedFPN(**arguments, upsampling=node.UPSAMPLING)


def _p6_p7(source: str, res5_channels: int, channels: int) -> LastLevelP6P7:
    """Build P6 and P7 by convolutions of res5, or of the pyramid's map p5."""
    in_channels = {"res5": res5_channels, "p5": channels}
    if source not in in_channels:
        raise ValueError(f"unknown MODEL.AFIGAN.P6_FROM {source!r}: choose {' or '.join(in_channels)}")
    return LastLevelP6P7(in_channels[source], channels, source)


@BACKBONE_REGISTRY.register()
def build_afigan_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> Pyramid:
    """Build P2-P6 for the R-CNN family, P6 by max pooling.

    Raises:
        ValueError: a part of `MODEL.AFIGAN` or `MODEL.FPN` is not possible, or the pyramid is bifpn, which has no P2.
    """
    if cfg.MODEL.AFIGAN.PYRAMID == "bifpn":
        raise ValueError("bifpn has P3-P7: set MODEL.BACKBONE.NAME to build_afigan_retinanet_fpn_backbone")
    return _build_pyramid(cfg, input_shape, "p2")


@BACKBONE_REGISTRY.register()
def build_afigan_retinanet_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> Pyramid:
    """Build P3-P7 for RetinaNet, FCOS and all with a BiFPN; P6 and P7 by convolutions, in a BiFPN by pooling.

    Raises:
        ValueError: a part of `MODEL.AFIGAN` or `MODEL.FPN` is not possible.
    """
    return _build_pyramid(cfg, input_shape, "p3")
