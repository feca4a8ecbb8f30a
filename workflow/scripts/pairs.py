"""Write the low-resolution training images of one degradation, in shards: data/pairs/DEGRADATION/."""

from pathlib import Path
from typing import Any

from _stage import main


def run(params: Any, degradation: str) -> None:
    from afigan.data.pairs import write_pairs

    write_pairs(
        Path("data/prepared/train.json"),
        degradation,
        Path("data/pairs", degradation),
        image_format=params.pairs.format,
        shard_size=params.pairs.shard_size,
        workers=params.pairs.workers,
    )


if __name__ == "__main__":
    main(__doc__, run, "degradation", "pairs.degradations")
