"""CARAFE: every output pixel is a weighted sum over a window of the map, with weights computed from the map.

Source: J. Wang, K. Chen, R. Xu, Z. Liu, C. C. Loy, D. Lin, "CARAFE: Content-Aware ReAssembly of FEatures", ICCV 2019,
section 3. Written from the paper's formulas for this project; no other code is in it.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from afigan.interpolators.registry import register_interpolator

COMPRESSED = 64  # channels from which the kernels are computed
SIDE = 5  # of a kernel


@register_interpolator("carafe", learned=True)
class CarafeInterpolator(nn.Module):
    """Content-aware reassembly: a 5x5 kernel for each output pixel, which all channels share.

    The kernels are a softmax over the 25 positions of the window around the output pixel's nearest input pixel. The map
    is 0 outside. The kernel at row r and column c of the 2x2 output pixels of an input pixel comes from channels
    4k + 2r + c of `content_encoder`, k = 0..24 row by row, as pixel shuffle orders them.

    Shape: (N, C, H, W) -> (N, C, 2H, 2W), any H, W >= 1. There are 74,148 parameters at C = 256.

    The public module's weights fit as they are: weights and biases of `channel_compressor` and `content_encoder` have
    the same names and order.

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channel_compressor = nn.Conv2d(channels, COMPRESSED, 1)
        self.content_encoder = nn.Conv2d(COMPRESSED, SIDE**2 * 4, 3, padding=1)
        nn.init.xavier_uniform_(self.channel_compressor.weight)
        nn.init.normal_(self.content_encoder.weight, std=0.001)
        for conv in (self.channel_compressor, self.content_encoder):
            assert conv.bias is not None
            nn.init.zeros_(conv.bias)

    def forward(self, x: Tensor, guide: Tensor | None = None) -> Tensor:
        """Upsample (N, C, H, W) to (N, C, 2H, 2W); `guide` is ignored."""
        kernels = self.content_encoder(self.channel_compressor(x))
        return reassemble(x, kernels.unflatten(1, (SIDE**2, 4)).softmax(dim=1))


def reassemble(x: Tensor, kernels: Tensor) -> Tensor:
    """Sum the window of 5x5 input pixels around each pixel with that pixel's four kernels.

    Args:
        x: (N, C, H, W).
        kernels: (N, 25, 4, H, W), one for each of the 2x2 output pixels of an input pixel.

    Returns:
        (N, C, 2H, 2W), of the type of `x`.
    """
    height, width = x.shape[-2:]
    # sums in float32: in bfloat16, 25 of them lose a hundredth of the value
    padded, kernels = F.pad(x.float(), [SIDE // 2] * 4)[:, :, None], kernels.float()[:, :, None]
    # one position of the window at a time: the windows of all pixels together are 25 times as large as the map; in one
    # place, because a new map for each sum takes three times as long where maps are large
    total = padded.new_zeros(*x.shape[:2], *kernels.shape[3:])
    for k in range(SIDE**2):
        window = padded[..., k // SIDE : k // SIDE + height, k % SIDE : k % SIDE + width]
        total.addcmul_(window, kernels[:, k])
    return F.pixel_shuffle(total.flatten(1, 2), 2).to(x.dtype)
