"""A torchvision detector whose FPN upsamples with AFI-GAN's interpolator, and a plain loop over drawn images.

  python examples/torchvision_detection.py --iterations 100
  python examples/torchvision_detection.py --weights afigan-main.safetensors

It needs torch and torchvision. The weights are G's, from `afigan export --format safetensors`; they need safetensors,
and their number of channels has to be that of the FPN. Replace `draw` by your own data set.
"""

import argparse

import torch
from torch import Tensor
from torchvision.models import resnet18
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.backbone_utils import BackboneWithFPN

from afigan.torchvision import InterpolatedFPN, replace_interpolation

LAYERS = {"layer1": "0", "layer2": "1", "layer3": "2", "layer4": "3"}


def build(channels: int, side: int, interpolator: str) -> FasterRCNN:
    """Build a Faster R-CNN of torchvision, and replace its interpolation; any of its models with an FPN would do."""
    backbone = BackboneWithFPN(resnet18(), LAYERS, [64, 128, 256, 512], channels)
    model = FasterRCNN(backbone, num_classes=2, min_size=side, max_size=side)
    replace_interpolation(model, interpolator)
    return model


def draw(count: int, side: int) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """Draw images with a bright rectangle on noise, and its box, as torchvision expects them."""
    images, targets = [], []
    for _ in range(count):
        width, height = (side * (0.2 + 0.4 * torch.rand(2))).int().tolist()
        x, y = int(torch.randint(side - width, ())), int(torch.randint(side - height, ()))
        image = torch.rand(3, side, side) * 0.5
        image[:, y : y + height, x : x + width] += 0.5
        images.append(image)
        box = torch.tensor([[x, y, x + width, y + height]], dtype=torch.float32)
        targets.append({"boxes": box, "labels": torch.ones(1, dtype=torch.int64)})
    return images, targets


def main(argv: list[str] | None = None) -> list[float]:
    """Train; return the loss of every iteration."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--interpolator", default="afi", help="default: %(default)s")
    parser.add_argument("--weights", help="of the interpolator, a .safetensors file")
    parser.add_argument("--channels", type=int, default=64, help="of the FPN (default: %(default)s)")
    parser.add_argument("--side", type=int, default=128, help="of an image, in pixels (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=4, help="images per iteration (default: %(default)s)")
    parser.add_argument("--iterations", type=int, default=100, help="default: %(default)s")
    arguments = parser.parse_args(argv)

    torch.manual_seed(0)
    model = build(arguments.channels, arguments.side, arguments.interpolator)
    if arguments.weights:
        from safetensors.torch import load_file

        fpn = model.backbone.fpn
        assert isinstance(fpn, InterpolatedFPN)
        for interpolator in fpn.upsample:
            interpolator.load_state_dict(load_file(arguments.weights))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    losses = []
    for iteration in range(1, arguments.iterations + 1):
        loss = sum(model(*draw(arguments.batch, arguments.side)).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if iteration % 10 == 0 or iteration == arguments.iterations:
            print(f"iteration {iteration}: loss {loss.item():.3f}", flush=True)
    with torch.no_grad():
        found = model.eval()(draw(1, arguments.side)[0])[0]
    print(f"{len(found['boxes'])} detections in a new image")
    return losses


if __name__ == "__main__":
    main()
