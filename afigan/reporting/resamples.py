"""The bootstrap over images of a complete run: the AP of every evaluation on the same resampled sets of images.

All evaluations share the resamples, so a difference of two rows is computed on the same image sets. The seed of the
draw is fixed: the same files give the same intervals on every machine.
"""

from pathlib import Path

import numpy as np

from afigan.evaluation.matches import read_matches
from afigan.reporting.bootstrap import image_weights, replicate_ap
from afigan.reporting.metrics import REDO, Metrics

REPLICATES = 1000
SEED = 0
ROUNDING = 1e-6  # percent; AP of metrics files is rounded to nine digits


class Resamples:
    """AP of the evaluations whose matches are beside their metrics, each computed once.

    Args:
        metrics_dir: results/metrics, with KEY.json and KEY.matches.npz.
    """

    def __init__(self, metrics_dir: Path) -> None:
        self._folder = Path(metrics_dir)
        self._found: dict[tuple[str, str], np.ndarray] = {}
        self._images: np.ndarray | None = None
        self._weights: np.ndarray | None = None

    @property
    def images(self) -> int:
        """The number of images in each resample; 0 before the first evaluation has been read."""
        return 0 if self._images is None else len(self._images)

    def ap(self, run: Metrics, kind: str) -> np.ndarray:
        """Return AP in percent of an evaluation, (REPLICATES,). kind: `box` or `mask`.

        Raises:
            ValueError: the matches are missing or damaged, have other images than another evaluation, or do not give
                the AP of the metrics file.
        """
        if (run.key, kind) not in self._found:
            self._read(run)
        return self._found[run.key, kind]

    def _read(self, run: Metrics) -> None:
        path = self._folder / f"{run.key}.matches.npz"
        for kind, matches in read_matches(path).items():
            if self._images is None:
                self._images = matches.image_ids
                drawn = image_weights(len(self._images), REPLICATES, SEED)
                self._weights = np.concatenate([np.ones_like(drawn[:1]), drawn])
            if not np.array_equal(matches.image_ids, self._images):
                raise ValueError(f"{path} has other images than the evaluations before it; {REDO}")
            assert self._weights is not None
            whole, *replicates = replicate_ap(matches, self._weights)
            measured = run.values[f"{kind}_AP"]
            if measured is None:  # there are no objects: nothing is compared
                continue
            if not abs(whole - measured) < ROUNDING:
                found = f"gives a {kind} AP of {whole}, but {run.key}.json says {measured}"
                raise ValueError(f"{path} {found}; delete both and {REDO}")
            self._found[run.key, kind] = np.array(replicates)
        for kind in ("box", "mask"):
            if run.values[f"{kind}_AP"] is not None and (run.key, kind) not in self._found:
                raise ValueError(f"{path} has no matches of the kind '{kind}'; delete it and {REDO}")
