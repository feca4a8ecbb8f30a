"""FADE: kernels from both the coarse map and the finer lateral map, and a gate that lets the finer map through.

Source: H. Lu, W. Liu, H. Fu, Z. Cao, "FADE: Fusing the Assets of Decoder and Encoder for Task-Agnostic Upsampling",
ECCV 2022, section 3. Written from the paper's formulas for this project; no other code is in it.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from afigan.interpolators.registry import register_interpolator

COMPRESSED = 64  # channels from which the kernels are computed
SIDE = 5  # of a kernel


@register_interpolator("fade", learned=True, guided=True)
class FadeInterpolator(nn.Module):
    """Reassembly of 5x5 windows with kernels from both maps, then a gate between the result and the guide.

    e = encoder(guide), d = decoder(x); the kernels are softmax_25(kernel(e) + kernel(d)), and the gate is
    sigmoid(gate(x)), both with the values of an input pixel for its 2x2 output pixels. The output is
    gate * guide + (1 - gate) * reassembled.

    Shape: x (N, C, H, W), guide (N, C, h, w) with 2H - 1 <= h <= 2H and w alike -> (N, C, 2H, 2W), any H, W >= 1. A
    guide of an odd size is continued by its last row and column; a pyramid crops these pixels. There are 47,514
    parameters at C = 256.

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.encoder = nn.Conv2d(channels, COMPRESSED, 1)
        self.decoder = nn.Conv2d(channels, COMPRESSED, 1, bias=False)
        self.kernel = nn.Conv2d(COMPRESSED, SIDE**2, 3, padding=1)
        self.gate = nn.Conv2d(channels, 1, 1)
        for conv in (self.encoder, self.decoder, self.kernel, self.gate):
            nn.init.xavier_uniform_(conv.weight)
            if conv.bias is not None:
                nn.init.zeros_(conv.bias)

    def forward(self, x: Tensor, guide: Tensor | None = None) -> Tensor:
        """Upsample (N, C, H, W) to (N, C, 2H, 2W).

        Args:
            x: the coarse map.
            guide: the finer lateral map, (N, C, 2H or 2H - 1, 2W or 2W - 1).

        Raises:
            ValueError: there is no guide, or it has another size.
        """
        guide = _completed(x, guide)
        encoded = F.pixel_unshuffle(self.kernel(self.encoder(guide)), 2).unflatten(1, (SIDE**2, 4))
        kernels = (encoded + self.kernel(self.decoder(x))[:, :, None]).softmax(dim=1)
        gate = F.interpolate(self.gate(x).sigmoid(), scale_factor=2.0, mode="nearest").float()
        return torch.lerp(_reassemble(x, kernels), guide.float(), gate).to(x.dtype)


def _completed(x: Tensor, guide: Tensor | None) -> Tensor:
    """Return the guide of a map (N, C, H, W) as (N, C, 2H, 2W)."""
    if guide is None:
        raise ValueError(
            "fade upsamples a map only together with the finer lateral map: give it as guide, (N, C, 2H, 2W), or "
            "choose an interpolator that is not guided, such as carafe"
        )
    height, width = 2 * x.shape[2], 2 * x.shape[3]
    missing = height - guide.shape[2], width - guide.shape[3]
    if guide.shape[:2] != x.shape[:2] or missing[0] not in (0, 1) or missing[1] not in (0, 1):
        raise ValueError(
            f"fade cannot guide a map of the shape {tuple(x.shape)} by one of {tuple(guide.shape)}: the guide needs "
            "the same batch and channels, and twice the height and width, or one less"
        )
    if missing != (0, 0):
        guide = F.pad(guide, (0, missing[1], 0, missing[0]), mode="replicate")
    return guide.to(x.dtype)


def _reassemble(x: Tensor, kernels: Tensor) -> Tensor:
    """Sum 5x5 windows of (N, C, H, W) with kernels (N, 25, 4, H, W), as CARAFE does: (N, C, 2H, 2W) in float32."""
    # carafe.py has the same lines: each of the two files can be copied into another project by itself
    height, width = x.shape[-2:]
    padded, kernels = F.pad(x.float(), [SIDE // 2] * 4)[:, :, None], kernels.float()[:, :, None]
    total = padded.new_zeros(*x.shape[:2], *kernels.shape[3:])
    for k in range(SIDE**2):
        window = padded[..., k // SIDE : k // SIDE + height, k % SIDE : k % SIDE + width]
        total.addcmul_(window, kernels[:, k])
    return F.pixel_shuffle(total.flatten(1, 2), 2)
