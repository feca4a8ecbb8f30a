"""Detect objects in one's own images: pictures with boxes and masks, and COCO results.

  afigan predict --model detectors/a5 photo.jpg folder 'more/*.png' --out found
  afigan predict --model detectors/a5 --compare detectors/a1 folder --out found

A model is a folder with config.json and model.safetensors, wherever it is, or the name of one in models/. Nothing else
is read. The output folder gets the pictures, results.json, images.json, the COCO data set that the results' ids belong
to, and with --compare compare.json, the results of the other model.
"""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("images", nargs="+", metavar="IMAGE|FOLDER|PATTERN", help="folders with their subfolders")
    parser.add_argument("--model", required=True, help="a trained detector, such as detectors/a5")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder of the results")
    parser.add_argument("--score", type=float, default=0.5, help="least score of a detection (default: %(default)s)")
    parser.add_argument("--compare", metavar="MODEL", help="draw another detector of the same classes beside it")
    parser.add_argument(
        "--short-side", type=int, metavar="PIXELS", help="of the images that it sees (default: as in its training run)"
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: %(default)s")


def run(arguments: argparse.Namespace) -> None:
    from afigan.prediction.detector import load_detector
    from afigan.prediction.pictures import predict_pictures

    models = [arguments.model] + ([] if arguments.compare is None else [arguments.compare])
    model, *compare = [load_detector(name, arguments.device, arguments.short_side) for name in models]
    found = predict_pictures(model, arguments.images, arguments.out, arguments.score, *compare)
    objects = " and ".join(map(str, found.objects))
    print(f"predict: {found.images} images, {objects} objects: {arguments.out}")
