"""The axis of the interval plots: linear about 0, logarithmic beyond, the same for all cards of a page."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from afigan.reporting.intervals import LINEAR
from afigan.reporting.verdicts import MARGIN

TICKS = (10, 5, 50, 20, 100, 2)  # AP; the first ones have precedence
DECADE = 4.0  # AP
APART = 14.0  # percent of the axis between two labels
ROOM = 1.0  # at both ends, because a dot has a width


def bend(value: float) -> float:
    """Return the place of a difference on an axis in AP that is linear to ±LINEAR; tenfold values are DECADE apart."""
    size = abs(value)
    return math.copysign(size if size <= LINEAR else LINEAR + DECADE * math.log10(size / LINEAR), value)


@dataclass(frozen=True)
class Scale:
    """An axis from `low` to `high`, both in AP."""

    low: float
    high: float

    @classmethod
    def around(cls, values: Iterable[float]) -> "Scale":
        """Return the axis that has all values, 0 and both margins."""
        ends = [-2 * MARGIN, 2 * MARGIN, *values]
        return cls(min(ends), max(ends))

    def percent(self, value: float) -> float:
        """Return the place of a value in percent of the axis, to a hundredth."""
        first, last = bend(self.low) - ROOM, bend(self.high) + ROOM
        return round(100 * (bend(value) - first) / (last - first), 2)

    def ticks(self) -> dict[str, float]:
        """Return label -> place in percent, 0 always, and no two closer than APART."""
        chosen = {"0": self.percent(0)}
        for size in TICKS:
            for value in (size, -size):
                place = self.percent(value)
                if 4 <= place <= 96 and all(abs(place - other) >= APART for other in chosen.values()):
                    chosen[f"{value:+d}"] = place
        return dict(sorted(chosen.items(), key=lambda item: item[1]))
