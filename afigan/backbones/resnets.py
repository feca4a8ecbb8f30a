"""ResNets of detectron2's blocks (He et al., CVPR 2016)."""

from typing import Any

from detectron2.modeling.backbone.resnet import BasicBlock, BasicStem, BottleneckBlock, ResNet

FEATURES = ("res2", "res3", "res4", "res5")  # strides 4, 8, 16, 32

# blocks per stage, the first stage's channels, block
RESNETS: dict[str, tuple[tuple[int, ...], int, Any]] = {
    "resnet_mini": ((1, 1, 1, 1), 16, BasicBlock),
    "resnet18": ((2, 2, 2, 2), 64, BasicBlock),
    "resnet34": ((3, 4, 6, 3), 64, BasicBlock),
    "resnet50": ((3, 4, 6, 3), 256, BottleneckBlock),
    "resnet101": ((3, 4, 23, 3), 256, BottleneckBlock),
}


def build_resnet(name: str, *, norm: str, freeze_at: int, options: dict[str, Any]) -> ResNet:
    """Build one of `RESNETS`; arguments and errors are those of `afigan.backbones.build_backbone`."""
    depths, width, block = RESNETS[name]
    known = {"stride_in_1x1"} if block is BottleneckBlock else set()
    if unknown := options.keys() - known:
        raise ValueError(f"backbone {name} has no option {', '.join(sorted(unknown))}: remove it from its options")
    stride_in_1x1 = options.get("stride_in_1x1", True)
    if not isinstance(stride_in_1x1, bool):
        raise ValueError(f"backbone {name}: option stride_in_1x1 is {stride_in_1x1!r}, set it to true or false")
    stem_width = 16 if name == "resnet_mini" else 64
    stages, before = [], stem_width
    for index, depth in enumerate(depths):
        channels = width * 2**index
        bottleneck = {"bottleneck_channels": channels // 4, "stride_in_1x1": stride_in_1x1}
        stages.append(
            ResNet.make_stage(
                block,
                depth,
                stride_per_block=[1 if index == 0 else 2] + [1] * (depth - 1),
                in_channels=before,
                out_channels=channels,
                norm=norm,
                **(bottleneck if block is BottleneckBlock else {}),
            )
        )
        before = channels
    return ResNet(BasicStem(3, stem_width, norm), stages, out_features=list(FEATURES), freeze_at=freeze_at)
