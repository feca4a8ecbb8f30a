"""Detectors: detectron2's, and FCOS and CenterMask, on a pyramid of this project."""

from afigan.detectors.architecture import Architecture
from afigan.detectors.build import Detector, build_detector

__all__ = ["Architecture", "Detector", "build_detector"]
