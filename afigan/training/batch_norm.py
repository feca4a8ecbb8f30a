"""Batch normalisation over the complete batch of several processes, as over the batch of one process."""

import torch
from fvcore.nn.distributed import differentiable_all_reduce
from timm.layers import BatchNormAct2d, convert_sync_batchnorm
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def synchronise(module: nn.Module) -> None:
    """Let the batch normalisations inside `module` see the inputs of all ranks; frozen ones do not change.

    Names and parameters do not change, so optimizers stay valid. On GPUs this is torch's `SyncBatchNorm`, which has no
    CPU version.

    Args:
        module: a module that is already on its device and is not itself a batch normalisation.
    """
    if next(module.parameters()).device.type == "cuda":
        convert_sync_batchnorm(module)
        return
    for part in module.modules():
        if isinstance(part, BatchNormAct2d):
            part.__class__ = WholeBatchNormAct2d  # type: ignore[assignment]  # no subclass, but with the same attributes
        elif isinstance(part, _BatchNorm):
            part.__class__ = WholeBatchNorm


class WholeBatchNorm(_BatchNorm):
    """Batch normalisation over the batches of all ranks, whose sizes may differ: (N, C, ...) -> the same shape."""

    def _check_input_dim(self, input: Tensor) -> None:
        assert input.dim() >= 2

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        assert self.track_running_stats and self.affine and self.momentum is not None
        kind, input = input.dtype, input.float()  # bfloat16 has too few digits for sums, and for a number of elements
        places = [dim for dim in range(input.dim()) if dim != 1]
        shape = [-1] + [1] * (input.dim() - 2)  # the shape of one value per channel
        totals = differentiable_all_reduce(
            torch.cat([input.sum(places), input.new_tensor([input.numel() / input.shape[1]])])
        )
        count = totals[-1].detach()
        if count <= 1:
            raise ValueError(f"batch normalisation of {tuple(input.shape)}: expected more than one value per channel")
        mean = totals[:-1] / count
        centred = input - mean.view(shape)
        variance = differentiable_all_reduce(centred.square().sum(places)) / count
        assert self.num_batches_tracked is not None and self.running_mean is not None and self.running_var is not None
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale.view(shape) + self.bias.view(shape)).to(kind)


class WholeBatchNormAct2d(WholeBatchNorm):
    """The same for timm's batch normalisation with an activation in it."""

    act: nn.Module
    drop: nn.Module

    def forward(self, input: Tensor) -> Tensor:
        return self.act(self.drop(super().forward(input)))
