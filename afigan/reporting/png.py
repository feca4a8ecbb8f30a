"""Figures of matplotlib as PNG files whose bytes depend only on the input."""

from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from afigan.runtime.files import atomic_path


def save(figure: Figure, out: Path) -> None:
    """Write a figure as PNG atomically, without any metadata that differs from run to run."""
    FigureCanvasAgg(figure)
    with atomic_path(out) as temporary:
        figure.savefig(temporary, format="png", dpi=110, metadata={"Software": None})
