"""Swin on images of any size, as a detector needs it (Liu et al., ICCV 2021). Imports timm: seconds."""

from timm.models import is_model_in_modules
from timm.models.swin_transformer import SwinTransformerBlock
from timm.models.swin_transformer_v2 import SwinTransformerV2Block
from torch import Tensor, nn
from torch.nn import functional as F

# Options of `timm.create_model`: masks follow the image, and every stage shifts its windows. timm would leave those of
# the last stage where they are, for its map of a classifier's image is a single window.
ANY_SIZE = {"strict_img_size": False, "always_partition": True}
DETECTION = {"drop_path_rate": 0.2}  # of Swin's detectors; timm's 0.1 is a classifier's


class _WholeWindows:
    def _attn(self, x: Tensor) -> Tensor:
        """Tokens (N, H, W, C) -> (N, H, W, C), attention within the windows of a map padded to whole ones.

        As in Swin's detection code the map is padded before it is shifted. timm pads behind the shift, where its mask
        no longer parts what the shift brought over from the opposite border (its issue 2438).
        """
        height, width = x.shape[1:3]
        padded = F.pad(x, (0, 0, 0, -width % self.window_size[1], 0, -height % self.window_size[0]))
        return super()._attn(padded)[:, :height, :width]


class _Block(_WholeWindows, SwinTransformerBlock):
    pass


class _BlockV2(_WholeWindows, SwinTransformerV2Block):
    pass


_ANY_SIZE_BLOCKS = {SwinTransformerBlock: _Block, SwinTransformerV2Block: _BlockV2}


def is_swin(name: str) -> bool:
    """Whether timm's model is a Swin, version 1 or 2."""
    return is_model_in_modules(name, ["swin_transformer", "swin_transformer_v2"])


def make_any_size(net: nn.Module) -> None:
    """Let the blocks of timm's net treat borders as Swin's detection code does; its weights stay as they are."""
    for module in net.modules():
        if type(module) in _ANY_SIZE_BLOCKS:
            module.__class__ = _ANY_SIZE_BLOCKS[type(module)]
