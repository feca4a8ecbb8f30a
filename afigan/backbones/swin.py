"""Swin on images of any size, as a detector needs it (Liu et al., ICCV 2021). Imports timm: seconds."""

from timm.models import is_model_in_modules
from timm.models.swin_transformer import SwinTransformerBlock
from timm.models.swin_transformer_v2 import SwinTransformerV2Block
from torch import Tensor, nn
from torch.nn import functional as F

# Options of `timm.create_model`: masks follow the image, and every stage shifts its windows. timm would not shift those
# of the last stage, because its map of a classifier's image is a single window.
ANY_SIZE = {"strict_img_size": False, "always_partition": True}
DETECTION = {"drop_path_rate": 0.2}  # of Swin's detectors; timm's 0.1 is for classifiers


class _WholeWindows:
    window_size: tuple[int, int]  # of the block that this is mixed into

    def _attn(self, x: Tensor) -> Tensor:
        """Attend within windows, (N, H, W, C) -> (N, H, W, C), on a map that is padded to complete windows.

        As in Swin's detection code, the map is padded before the shift. timm pads after the shift; its mask then no
        longer separates what the shift has moved over from the opposite border (timm's issue 2438).
        """
        height, width = x.shape[1:3]
        padded = F.pad(x, (0, 0, 0, -width % self.window_size[1], 0, -height % self.window_size[0]))
        return super()._attn(padded)[:, :height, :width]  # type: ignore[misc]  # the block's


class _Block(_WholeWindows, SwinTransformerBlock):
    pass


class _BlockV2(_WholeWindows, SwinTransformerV2Block):
    pass


_ANY_SIZE_BLOCKS = {SwinTransformerBlock: _Block, SwinTransformerV2Block: _BlockV2}


def is_swin(name: str) -> bool:
    """Return whether timm's model is a Swin, version 1 or 2."""
    return is_model_in_modules(name, ["swin_transformer", "swin_transformer_v2"])


def make_any_size(net: nn.Module) -> None:
    """Let the blocks of timm's net treat borders as Swin's detection code does; the weights do not change."""
    for module in net.modules():
        if type(module) in _ANY_SIZE_BLOCKS:
            module.__class__ = _ANY_SIZE_BLOCKS[type(module)]
