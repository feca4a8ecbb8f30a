"""Feature pyramids whose interpolation can be chosen (Fig. 3); none of them knows which it has."""

from afigan.pyramids.fpn import InterpolatedFPN
from afigan.pyramids.upsampling import Upsampling

__all__ = ["InterpolatedFPN", "Upsampling"]
