"""Detectors: detectron2's, and FCOS and CenterMask, on a pyramid of this project."""

from afigan.detectors.build import Architecture, Detector, build_detector

__all__ = ["Architecture", "Detector", "build_detector"]
