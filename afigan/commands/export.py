"""Write the interpolator of a trained model for other programs: any batch, height and width.

  afigan export --model afigan/main --format onnx          checked against onnxruntime at three sizes
  afigan export --model afigan/main --format torch         for torch.export.load, without this package
  afigan export --model afigan/main --format safetensors   for afigan.interpolators.build_interpolator

A model is a folder with config.json and model.safetensors, wherever it is, or the name of one in models/. Whole
detectors are not exported: docs/use.md says how far they can be.
"""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", required=True, help="a trained model, such as afigan/main or detectors/a5")
    parser.add_argument("--format", required=True, choices=("onnx", "torch", "safetensors"))
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: KIND-KEY.SUFFIX in this folder")
    parser.add_argument(
        "--place",
        type=int,
        metavar="N",
        help="place in the pyramid, 0 from the coarsest map; needed if every place has weights of its own",
    )


def run(arguments: argparse.Namespace) -> None:
    from afigan.export.formats import export_interpolator

    print(f"export: {export_interpolator(arguments.model, arguments.out, arguments.format, arguments.place)}")
