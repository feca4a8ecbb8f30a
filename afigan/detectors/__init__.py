"""Detectors: detectron2's, with a pyramid of ours underneath."""

from afigan.detectors.build import Architecture, build_detector

__all__ = ["Architecture", "build_detector"]
