"""timm's feature extractors as backbones of a detector (Table 1: ResNeSt and Swin)."""

from typing import TYPE_CHECKING, Any, cast

import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling.backbone import Backbone
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from afigan.backbones.resnets import FEATURES

if TYPE_CHECKING:
    from timm.models import FeatureInfo

_STRIDE = 32  # of res5; images are padded to a multiple of it


def names_in_extractor(name: str) -> tuple[str, ...]:
    """Return the names that a layer of timm's complete model may have in its extractor: `layers_0` for `layers.0`."""
    return name, name.replace(".", "_", 1), f"model.{name}", f"body.{name}"


class TimmBackbone(Backbone):
    """A timm feature extractor as a detectron2 backbone; the last four of its maps become `res2`…`res5`.

    Each map of a transformer that keeps channels last (Swin) goes through a LayerNorm, as in Swin's detection code.
    Maps are returned as (N, C, H, W).

    Args:
        name: of timm's model.
        norm: `FrozenBN`, `SyncBN` or `BN`, which leaves batch normalisation as it is.
        freeze_at: the first `freeze_at` of stem, res2, res3, res4, res5 keep their weights and statistics and are
            always in evaluation mode. The LayerNorms of maps learn.
        options: arguments of `timm.create_model`; a Swin's drop path rate is 0.2 by default.

    Raises:
        ValueError: timm has no such model or refuses the options, or the model's maps do not have strides 4 to 32.
    """

    def __init__(self, name: str, *, norm: str, freeze_at: int, options: dict[str, Any]) -> None:
        import timm  # imports all its models, which takes seconds, so only where it is used
        from timm.layers import convert_sync_batchnorm

        from afigan.backbones.swin import ANY_SIZE, DETECTION, is_swin, make_any_size

        super().__init__()
        if not timm.is_model(name):
            raise ValueError(f"unknown backbone timm/{name}: timm {timm.__version__} has no model of that name")
        if norm not in ("FrozenBN", "BN", "SyncBN"):
            raise ValueError(f"backbone timm/{name}: its norm is FrozenBN, BN or SyncBN, not {norm!r}")
        self.name = name
        self.options = (ANY_SIZE | DETECTION if is_swin(name) else {}) | options
        try:
            self.net = timm.create_model(name, pretrained=False, features_only=True, **self.options)
        except Exception as error:  # each of timm's models has its own kinds of errors
            raise ValueError(f"backbone timm/{name} with options {options}: timm refuses them: {error}") from None
        make_any_size(self.net)
        reductions, channels = self._info.reduction(), self._info.channels()[-4:]
        if reductions[-4:] != [4, 8, 16, 32]:
            raise ValueError(f"backbone timm/{name} gives maps of strides {reductions}: a pyramid needs 4, 8, 16, 32")
        self._out_features = list(FEATURES)
        self._out_feature_channels = dict(zip(FEATURES, channels, strict=True))
        self._out_feature_strides = dict(zip(FEATURES, reductions[-4:], strict=True))
        channels_last = getattr(self.net, "output_fmt", "NCHW") == "NHWC"
        self.norms = nn.ModuleList(nn.LayerNorm(width) for width in channels) if channels_last else None
        if norm == "SyncBN":
            self.net = convert_sync_batchnorm(self.net)
        self._frozen = self._first_stages(freeze_at)
        if norm == "FrozenBN":
            self._frozen += [module for module in self.net.modules() if isinstance(module, _BatchNorm)]
        for module in self._frozen:
            module.requires_grad_(False)
        self.train(self.training)

    @property
    def _info(self) -> "FeatureInfo":
        return cast("FeatureInfo", self.net.feature_info)  # timm says only that the net is a module

    def _first_stages(self, number: int) -> list[nn.Module]:
        """Return the modules of the first `number` of stem and stages; timm registers them in order of use."""
        if number == 0:
            return []
        modules = dict(self.net.named_modules())
        ends = self._info.module_name()[-4:]
        end = ends[min(max(number - 2, 0), 3)]  # the module that gives res2 or a later map
        stage = next((name for name in names_in_extractor(end) if name in modules), None)
        if stage is None:
            raise ValueError(f"backbone timm/{self.name} does not say where its stages end: set freeze_at to 0")
        names = list(modules)
        inside = [n for n, name in enumerate(names) if name == stage or name.startswith(f"{stage}.")]
        first = {modules[name] for name in names[: inside[0] if number == 1 else inside[-1] + 1]}
        return [module for module in first if first.issuperset(module.modules())]

    def whole_model(self, *, pretrained: bool = False, device: str = "cpu") -> nn.Module:
        """Build the timm classifier that this extracts from, with random weights or with timm's pretrained ones."""
        import timm

        with torch.device(device):
            return timm.create_model(self.name, pretrained=pretrained, **self.options)

    def train(self, mode: bool = True) -> "TimmBackbone":
        """Set the mode, except for frozen modules: they keep their statistics in training too."""
        super().train(mode)
        for module in self._frozen:
            module.eval()
        return self

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Map images (N, 3, H, W) to `res2`…`res5`, each (N, C_i, ceil(H / stride), ceil(W / stride))."""
        height, width = x.shape[-2:]
        # zeros, as detectron2 pads a batch's images; many of timm's nets drop the border of other sizes, or refuse them
        maps = self.net(F.pad(x, (0, -width % _STRIDE, 0, -height % _STRIDE)))[-4:]
        if self.norms is not None:
            maps = [norm(m).permute(0, 3, 1, 2).contiguous() for norm, m in zip(self.norms, maps, strict=True)]
        strides = self._out_feature_strides
        return {
            name: m[..., : -(-height // strides[name]), : -(-width // strides[name])]
            for name, m in zip(FEATURES, maps, strict=True)
        }

    def output_shape(self) -> dict[str, ShapeSpec]:
        return {
            name: ShapeSpec(channels=self._out_feature_channels[name], stride=self._out_feature_strides[name])
            for name in FEATURES
        }
