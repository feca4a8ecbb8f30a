"""A timm backbone, torchvision's FPN with AFI-GAN's interpolator, and a plain loop: where in an image is the disc?

  python examples/timm_features.py --model resnet18 --iterations 100

It needs torch, torchvision and timm; the images are drawn. Replace `draw` and `head` by your own task.
"""

import argparse

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from afigan.torchvision import InterpolatedFPN

STRIDE = 4  # of the finest map


class Network(nn.Module):
    """Images (N, 3, H, W) -> logits of the disc, (N, 1, H / 4, W / 4)."""

    def __init__(self, backbone: str, interpolator: str, channels: int, pretrained: bool) -> None:
        super().__init__()
        self.backbone = timm.create_model(backbone, features_only=True, out_indices=(1, 2, 3, 4), pretrained=pretrained)
        reductions = self.backbone.feature_info.reduction()
        if reductions != [4, 8, 16, 32]:
            raise ValueError(f"{backbone} has maps of strides {reductions}: this example needs 4, 8, 16, 32")
        self.fpn = InterpolatedFPN(self.backbone.feature_info.channels(), channels, interpolator=interpolator)
        self.head = nn.Conv2d(channels, 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        maps = {f"p{level}": value for level, value in enumerate(self.backbone(images), start=2)}
        return self.head(self.fpn(maps)["p2"])


def draw(count: int, side: int) -> tuple[Tensor, Tensor]:
    """Draw images with a bright disc on noise, and the disc's mask at the finest map's size."""
    centres, radii = torch.rand(count, 2, 1, 1) * side, (0.1 + 0.2 * torch.rand(count, 1, 1)) * side
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    inside = ((rows - centres[:, 0]) ** 2 + (columns - centres[:, 1]) ** 2 < radii**2).float()[:, None]
    images = torch.randn(count, 3, side, side) * 0.5 + inside
    return images, F.avg_pool2d(inside, STRIDE).round()


def main(argv: list[str] | None = None) -> list[float]:
    """Train; return the loss of every iteration."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet18", help="a timm model (default: %(default)s)")
    parser.add_argument("--pretrained", action="store_true", help="start from timm's weights, which are downloaded")
    parser.add_argument("--interpolator", default="afi", help="default: %(default)s")
    parser.add_argument("--channels", type=int, default=64, help="of the FPN (default: %(default)s)")
    parser.add_argument("--side", type=int, default=128, help="of an image, in pixels (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=8, help="images per iteration (default: %(default)s)")
    parser.add_argument("--iterations", type=int, default=100, help="default: %(default)s")
    arguments = parser.parse_args(argv)

    torch.manual_seed(0)
    network = Network(arguments.model, arguments.interpolator, arguments.channels, arguments.pretrained)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    losses = []
    for iteration in range(1, arguments.iterations + 1):
        images, masks = draw(arguments.batch, arguments.side)
        loss = F.binary_cross_entropy_with_logits(network(images), masks)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if iteration % 10 == 0 or iteration == arguments.iterations:
            print(f"iteration {iteration}: loss {loss.item():.3f}", flush=True)
    return losses


if __name__ == "__main__":
    main()
