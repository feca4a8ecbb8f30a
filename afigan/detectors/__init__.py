"""Detectors: detectron2's, and FCOS and CenterMask, on a pyramid of this project."""

from afigan.detectors.build import Architecture, build_detector

__all__ = ["Architecture", "build_detector"]
