"""Classification backbones under the pyramids: detectron2's ResNets and timm's feature extractors (SPEC 6)."""

from typing import Any

from detectron2.layers import ShapeSpec
from detectron2.modeling.backbone import Backbone
from detectron2.modeling.backbone.resnet import BasicBlock, BasicStem, BottleneckBlock, ResNet
from torch import Tensor, nn

# blocks a stage, the first stage's channels, block
_RESNETS: dict[str, tuple[tuple[int, ...], int, Any]] = {
    "resnet_mini": ((1, 1, 1, 1), 16, BasicBlock),
    "resnet18": ((2, 2, 2, 2), 64, BasicBlock),
    "resnet34": ((3, 4, 6, 3), 64, BasicBlock),
    "resnet50": ((3, 4, 6, 3), 256, BottleneckBlock),
    "resnet101": ((3, 4, 23, 3), 256, BottleneckBlock),
}
FEATURES = ("res2", "res3", "res4", "res5")  # strides 4, 8, 16, 32


def build_backbone(name: str, *, norm: str = "FrozenBN", freeze_at: int = 0) -> Backbone:
    """Build a backbone that gives `res2`…`res5`.

    Args:
        name: `resnet_mini` (a ResNet of four blocks, 16 to 128 channels, for two CPU cores), `resnet18`, `resnet34`,
            `resnet50`, `resnet101`, or `timm/NAME` for any of timm's.
        norm: of a ResNet, detectron2's names (`FrozenBN`, `BN`, `SyncBN`). timm's backbones have their own;
            there `FrozenBN` freezes it.
        freeze_at: stages kept as they are, counted from the stem as in detectron2.

    Raises:
        ValueError: unknown name, or a timm backbone without four stages of strides 4 to 32.
    """
    if name.startswith("timm/"):
        return TimmBackbone(name.removeprefix("timm/"), norm=norm, freeze_at=freeze_at)
    if name not in _RESNETS:
        raise ValueError(f"unknown backbone {name!r}: choose one of {', '.join(_RESNETS)}, or timm/NAME")
    depths, width, block = _RESNETS[name]
    bottleneck = {"bottleneck_channels": width // 4, "stride_in_1x1": True} if block is BottleneckBlock else {}
    stem_width = 16 if name == "resnet_mini" else 64
    stages, before = [], stem_width
    for index, depth in enumerate(depths):
        channels = width * 2**index
        extra = {k: v * 2**index if k == "bottleneck_channels" else v for k, v in bottleneck.items()}
        stages.append(
            ResNet.make_stage(
                block,
                depth,
                stride_per_block=[1 if index == 0 else 2] + [1] * (depth - 1),
                in_channels=before,
                out_channels=channels,
                norm=norm,
                **extra,
            )
        )
        before = channels
    return ResNet(BasicStem(3, stem_width, norm), stages, out_features=list(FEATURES), freeze_at=freeze_at)


class TimmBackbone(Backbone):
    """A timm feature extractor as a detectron2 backbone; the last four of its maps become `res2`…`res5`."""

    def __init__(self, name: str, *, norm: str, freeze_at: int) -> None:
        import timm  # imports every model it has: seconds, so only where it is used

        super().__init__()
        if name not in timm.list_models():
            raise ValueError(f"unknown backbone timm/{name}: timm {timm.__version__} has no model of that name")
        self.net = timm.create_model(name, features_only=True)
        reductions = self.net.feature_info.reduction()
        if reductions[-4:] != [4, 8, 16, 32]:
            raise ValueError(f"backbone timm/{name} gives maps of strides {reductions}: a pyramid needs 4, 8, 16, 32")
        self._out_features = list(FEATURES)
        self._out_feature_channels = dict(zip(FEATURES, self.net.feature_info.channels()[-4:], strict=True))
        self._out_feature_strides = dict(zip(FEATURES, reductions[-4:], strict=True))
        self.channels_last = getattr(self.net, "output_fmt", "NCHW") == "NHWC"  # Swin's maps
        self.freeze_norm = norm == "FrozenBN"
        if freeze_at:
            raise ValueError(f"backbone timm/{name}: freeze_at counts the stages of a ResNet; set it to 0 here")
        if self.freeze_norm:
            for module in self.net.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.requires_grad_(False)
            self.train(self.training)

    def train(self, mode: bool = True) -> "TimmBackbone":
        """Frozen batch normalisation keeps its statistics in training too."""
        super().train(mode)
        if self.freeze_norm:
            for module in self.net.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Images (N, 3, H, W) -> `res2`…`res5`, each (N, C_i, H / stride, W / stride)."""
        maps = self.net(x)[-4:]
        if self.channels_last:
            maps = [m.permute(0, 3, 1, 2).contiguous() for m in maps]
        return dict(zip(FEATURES, maps, strict=True))

    def output_shape(self) -> dict[str, ShapeSpec]:
        return {
            name: ShapeSpec(channels=self._out_feature_channels[name], stride=self._out_feature_strides[name])
            for name in FEATURES
        }
