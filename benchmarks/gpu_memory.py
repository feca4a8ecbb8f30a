"""Memory that a stage's tensors take, counted storage by storage; for stage 1 predicted from shapes alone."""

import contextlib
import weakref
from collections.abc import Iterator
from typing import Any
from unittest import mock

import torch
from detectron2.structures import ImageList
from gpu_scenes import Scale, build, images, schedule
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F
from torch.optim import sgd
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

CPU = torch.device("cpu")
STEPS = 2  # the second has the optimizer's state beside everything else


class Allocated(TorchDispatchMode):
    """Count the bytes of all storages that operations create while this mode is on; `peak` is the largest sum."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._live: dict[int, weakref.ref] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for value in tree_leaves(result):
            if isinstance(value, Tensor):
                self._count(value.untyped_storage())
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        place, size = id(storage), storage.nbytes()
        if place in self._live:
            return

        def gone(reference: weakref.ref) -> None:
            self.now -= size
            del self._live[place]

        self._live[place] = weakref.ref(storage, gone)
        self.now += size
        self.peak = max(self.peak, self.now)


@contextlib.contextmanager
def shapes_only() -> Iterator[None]:
    """Let tensors have shapes and no values; modules stay where they are created, and every loss is finite."""
    with (
        FakeTensorMode(),
        mock.patch.object(nn.Module, "to", lambda module, *arguments, **options: module),
        mock.patch.object(torch, "isfinite", lambda value: True),
        mock.patch("torch.optim.sgd._fused_sgd", sgd._single_tensor_sgd),  # the fused one has no fake version
    ):
        yield


def predicted(scale: Scale, amp: bool) -> int:
    """Return the bytes that stage 1 takes at most, without computing anything; `amp`: in bfloat16."""
    with shapes_only(), Allocated() as counted:
        scene = build("stage1", scale, CPU, schedule("everywhere" if amp else False))
        teacher = scene.teacher
        assert teacher is not None

        def stacked(batch: list[dict]) -> ImageList:  # detectron2 reads the sizes from a tensor's values
            pixels = torch.stack([(item["image"] - teacher.pixel_mean) / teacher.pixel_std for item in batch])
            height, width = pixels.shape[-2:]
            return ImageList(F.pad(pixels, (0, -width % 32, 0, -height % 32)), [(height, width)] * len(batch))

        teacher.preprocess_image = stacked
        high, low = ((scale.height // f, scale.width // f) for f in (1, 2))
        batch = [
            {"image": torch.zeros(3, *high, dtype=torch.uint8), "low": {"image": torch.zeros(3, *low).byte()}}
            for _ in range(scale.batch)
        ]
        counted.peak = counted.now
        for _ in range(STEPS):
            scene.run(batch)
    return counted.peak


def counted(stage: str, scale: Scale, amp: bool) -> int:
    """Return the bytes that a stage takes at most, counted in steps on the CPU."""
    batch = images(scale)
    with Allocated() as allocated:
        scene = build(stage, scale, CPU, schedule("everywhere" if amp else False))
        allocated.peak = allocated.now
        for _ in range(STEPS):
            scene.run(batch)
    return allocated.peak
