"""Feature pyramids whose interpolation can be chosen (Fig. 3); none of them knows which it has."""

from afigan.pyramids.base import Pyramid
from afigan.pyramids.bifpn import InterpolatedBiFPN
from afigan.pyramids.fpn import InterpolatedFPN
from afigan.pyramids.pafpn import InterpolatedPAFPN
from afigan.pyramids.upsampling import Upsampling

__all__ = ["InterpolatedBiFPN", "InterpolatedFPN", "InterpolatedPAFPN", "Pyramid", "Upsampling"]
