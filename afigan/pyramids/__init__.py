"""Feature pyramids with any interpolator (Fig. 3); their code does not depend on the interpolator."""

from afigan.pyramids.base import Pyramid
from afigan.pyramids.bifpn import InterpolatedBiFPN
from afigan.pyramids.fpn import InterpolatedFPN
from afigan.pyramids.pafpn import InterpolatedPAFPN
from afigan.pyramids.upsampling import Upsampling

__all__ = ["InterpolatedBiFPN", "InterpolatedFPN", "InterpolatedPAFPN", "Pyramid", "Upsampling"]
