"""`Forecast`: how many agents of a type will be asked for in the next seconds, from how many were.

Stands on nothing; asks no clock.
"""

from __future__ import annotations

from typing import Final

__all__ = ["Forecast"]

# How much the newest sample weighs in the level, and the newest change of level in the trend.
_LEVEL: Final = 0.1
_TREND: Final = 0.02


class Forecast:
    """Holt's linear exponential smoothing of a demand, sampled at equal intervals.

    Attributes
    ----------
    level, trend : float
        Demand in one interval, smoothed, and its change from one interval to the next.

    Notes
    -----
    With weights a and b, a sample x moves the level to ``a x + (1 - a)(level + trend)`` and the
    trend to ``b (new level - level) + (1 - b) trend``; k intervals ahead, ``level + k trend`` is
    expected, and never less than nothing [1]_.

    References
    ----------
    .. [1] C. C. Holt, "Forecasting seasonals and trends by exponentially weighted moving averages",
       ONR Memorandum 52, 1957; International Journal of Forecasting 20 (2004), 5-10.

    Examples
    --------
    >>> forecast = Forecast()
    >>> for _ in range(500):
    ...     forecast.add(3.0)
    >>> round(forecast.ahead(20), 3)
    60.0
    """

    def __init__(self) -> None:
        self.level = 0.0
        self.trend = 0.0

    def add(self, sample: float) -> None:
        """Take the demand of one more interval into account."""
        before = self.level
        self.level = _LEVEL * sample + (1 - _LEVEL) * (before + self.trend)
        self.trend = _TREND * (self.level - before) + (1 - _TREND) * self.trend

    def ahead(self, intervals: int) -> float:
        """The demand expected in so many intervals from now on, together."""
        return sum(max(0.0, self.level + k * self.trend) for k in range(1, intervals + 1))
