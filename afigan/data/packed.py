"""Many records in one block of memory that data-loading processes share."""

import pickle
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch


class Packed(Sequence):
    """A sequence of records as one buffer of pickles; every access unpickles a new copy of an item.

    COCO's annotations are a hundred million Python objects, and each has a reference count. A forked process that only
    reads an object writes to its page of memory, which is then no longer shared. In the end every loading process has
    a copy of all objects. Reading a buffer does not write to it. The buffer is a tensor, because torch shares tensors
    with spawned processes too. The idea is that of detectron2's `DatasetFromList`.

    Args:
        records: any that pickle takes; they are consumed one by one.
    """

    def __init__(self, records: Iterable[Any]) -> None:
        buffer, ends = bytearray(), [0]
        for record in records:
            buffer += pickle.dumps(record, pickle.HIGHEST_PROTOCOL)
            ends.append(len(buffer))
        self._ends = torch.tensor(ends)
        self._bytes = torch.from_numpy(np.frombuffer(buffer, dtype=np.uint8))

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: int | slice) -> Any:
        """Return a record, or for a slice a list of records."""
        if isinstance(index, slice):
            return [self[n] for n in range(*index.indices(len(self)))]
        start, end = self._ends[range(len(self))[index] :][:2].tolist()
        return pickle.loads(self._bytes[start:end].numpy().data)
