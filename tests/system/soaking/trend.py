"""Whether a figure that was sampled over a run grew. Stands on NumPy; samples nothing itself.

The slope is the median of the slopes of all pairs of samples (Theil 1950, Sen 1968), which the
peaks after a death do not move. Its product with the time is the growth, and a bound on it is
something that a leak exceeds.
"""

from __future__ import annotations

import msgspec
import numpy as np

__all__ = ["Bound", "Trend", "table", "trend"]

_WARM_UP = 0.25
_SAMPLES_MIN = 8


class Bound(msgspec.Struct, frozen=True):
    """How much growth over the judged part of a run is none.

    Attributes
    ----------
    amount : float
        In the figure's unit.
    share : float
        Of the figure's median; the larger of the two counts.
    """

    amount: float
    share: float = 0.0


class Trend(msgspec.Struct, frozen=True, kw_only=True):
    """A figure over a run.

    Attributes
    ----------
    name : str
    first, median, last, peak : float
        The first and the last are medians of a fifth of the judged samples each.
    growth : float
        Slope times length of the judged part.
    allowed : float
    seconds : float
        Judged, without the warm-up.
    samples : int
    """

    name: str
    first: float
    median: float
    last: float
    peak: float
    growth: float
    allowed: float
    seconds: float
    samples: int

    @property
    def passed(self) -> bool:
        """It was sampled often enough, and did not grow."""
        return self.samples >= _SAMPLES_MIN and self.growth <= self.allowed


def trend(name: str, times: list[float], values: list[float], bound: Bound) -> Trend:
    """Judge a figure; its first quarter is the time to warm up."""
    if not values:
        return Trend(
            name=name,
            first=0.0,
            median=0.0,
            last=0.0,
            peak=0.0,
            growth=0.0,
            allowed=0.0,
            seconds=0.0,
            samples=0,
        )
    t, v = np.asarray(times, dtype=float), np.asarray(values, dtype=float)
    judged = t >= t[0] + (t[-1] - t[0]) * _WARM_UP
    t, v = t[judged], v[judged]
    before, after = np.triu_indices(len(t), 1)
    steps = t[after] - t[before]
    apart = steps > 0
    slopes = (v[after] - v[before])[apart] / steps[apart]
    seconds = float(t[-1] - t[0])
    fifth = max(1, len(v) // 5)
    median = float(np.median(v))
    return Trend(
        name=name,
        first=float(np.median(v[:fifth])),
        median=median,
        last=float(np.median(v[-fifth:])),
        peak=float(v.max()),
        growth=float(np.median(slopes)) * seconds if len(slopes) else 0.0,
        allowed=max(bound.amount, bound.share * abs(median)),
        seconds=seconds,
        samples=len(v),
    )


def table(trends: list[Trend]) -> list[str]:
    """Lines that show them, those that grew marked."""
    lines = ["", f"{'':44}{'first':>10}{'last':>10}{'peak':>10}{'growth':>10}{'allowed':>10}"]
    for each in trends:
        values = (each.first, each.last, each.peak, each.growth, each.allowed)
        mark = "" if each.passed else "  <-- grows"
        lines.append(f"{each.name:44}" + "".join(f"{value:10,.1f}" for value in values) + mark)
    return lines
