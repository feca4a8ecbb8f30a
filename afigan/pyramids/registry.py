"""The way in for any detectron2 project: `add_afigan_config(cfg)` and a registered backbone.

from afigan import add_afigan_config
cfg = get_cfg()
add_afigan_config(cfg)
cfg.MODEL.BACKBONE.NAME = "build_afigan_fpn_backbone"
cfg.MODEL.AFIGAN.INTERPOLATOR = "afi"
"""

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, build_resnet_backbone
from detectron2.modeling.backbone.fpn import LastLevelMaxPool, LastLevelP6P7

from afigan.backbones import FEATURES, build_backbone
from afigan.pyramids.fpn import InterpolatedFPN


def add_afigan_config(cfg: CfgNode) -> None:
    """Add `MODEL.AFIGAN` to a detectron2 config; the defaults give AFI-GAN's interpolator."""
    cfg.MODEL.AFIGAN = CfgNode(
        {
            "INTERPOLATOR": "afi",  # any of afigan.interpolators.INTERPOLATORS
            "BLOCKS": "rdb",  # of afi: rdb or rb
            "UPSAMPLING": "per_level",  # or iterated (Table 9)
            "BACKBONE": "",  # a name of afigan.backbones; empty: detectron2's ResNet, as MODEL.RESNETS says
            "NORM": "FrozenBN",  # of that backbone
        }
    )


def _build_fpn(cfg: CfgNode, input_shape: ShapeSpec, top_block_of: type) -> InterpolatedFPN:
    node = cfg.MODEL.AFIGAN
    if node.BACKBONE:
        bottom_up = build_backbone(node.BACKBONE, norm=node.NORM, freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT)
    else:
        bottom_up = build_resnet_backbone(cfg, input_shape)
    in_features = list(cfg.MODEL.FPN.IN_FEATURES) or list(FEATURES)
    channels = cfg.MODEL.FPN.OUT_CHANNELS
    if top_block_of is LastLevelP6P7:
        top_block = LastLevelP6P7(bottom_up.output_shape()[in_features[-1]].channels, channels, in_features[-1])
    else:
        top_block = LastLevelMaxPool()
    return InterpolatedFPN(
        bottom_up=bottom_up,
        in_features=in_features,
        out_channels=channels,
        interpolator=node.INTERPOLATOR,
        options={"blocks": node.BLOCKS} if node.INTERPOLATOR == "afi" else {},
        upsampling=node.UPSAMPLING,
        top_block=top_block,
        norm=cfg.MODEL.FPN.NORM,
    )


@BACKBONE_REGISTRY.register()
def build_afigan_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> InterpolatedFPN:
    """P2-P6 for the R-CNN family, P6 by max pooling."""
    return _build_fpn(cfg, input_shape, LastLevelMaxPool)


@BACKBONE_REGISTRY.register()
def build_afigan_retinanet_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> InterpolatedFPN:
    """P3-P7 for RetinaNet, P6 and P7 by convolutions; set `MODEL.FPN.IN_FEATURES` to res3-res5."""
    return _build_fpn(cfg, input_shape, LastLevelP6P7)
