"""Which of several rounds of one measurement count: those that others disturbed least.

Stands on the latency summaries. A virtual machine whose host is busy, or a program beside this one,
delays wake-ups by milliseconds, and no system can help it. So a measurement is made in rounds. A
round in which others had more than `CALM_PERCENT` of the cores' time is repeated, so often and no
oftener; then the calmest count. What decides is the others' share, never what a round came to, and
a report says how many rounds were made and how much others had.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

import msgspec

from ultrafast.monitoring.metrics import LatencySummary, summarize

__all__ = ["CALM_PERCENT", "Lap", "calmest", "enough", "laps_of", "median_p95_ms", "merged"]

CALM_PERCENT = 2.0
"""Of all cores' time: with less of it taken by others, a round is calm."""

_LAP_S = 2.0
_LEAST_S = 1.0
_REPEATS = 4


class Disturbed(Protocol):
    """A round, as far as the choice between rounds looks at it."""

    @property
    def others_percent(self) -> float:
        """Of all cores' time, during the round, that other programs and a hypervisor had."""


AnyLap = TypeVar("AnyLap", bound=Disturbed)


class Lap(msgspec.Struct, frozen=True, kw_only=True):
    """One round of a measurement.

    Parameters
    ----------
    counts : numpy.ndarray
        What the histogram got, shape (buckets,).
    total_ns : int
        Sum of the samples.
    others_percent : float
        Of all cores' time, during the round, that other programs and a hypervisor had.
    """

    counts: Any
    total_ns: int
    others_percent: float


def laps_of(duration_s: float) -> tuple[int, float]:
    """How many rounds are wanted for a measurement of some seconds, and the length of each.

    Examples
    --------
    >>> laps_of(10.0), laps_of(3.0), laps_of(0.5)
    ((5, 2.0), (2, 1.5), (1, 0.5))
    """
    wanted = max(1, round(duration_s / _LAP_S))
    if duration_s >= 2 * _LEAST_S:
        wanted = max(2, wanted)
    return wanted, duration_s / wanted


def enough(laps: Sequence[Disturbed], wanted: int) -> bool:
    """Whether as many calm rounds were made as are wanted, or all that will be made."""
    calm = sum(lap.others_percent <= CALM_PERCENT for lap in laps)
    return calm >= wanted or len(laps) >= _REPEATS * wanted


def calmest(laps: Sequence[AnyLap], wanted: int) -> list[AnyLap]:
    """The rounds that count, in the order in which they were made."""
    by_calm = sorted(range(len(laps)), key=lambda i: laps[i].others_percent)
    return [laps[i] for i in sorted(by_calm[:wanted])]


def merged(laps: Sequence[Lap]) -> LatencySummary:
    """All samples of some rounds, at least one, in one summary."""
    return summarize(sum(lap.counts for lap in laps), sum(lap.total_ns for lap in laps))


def median_p95_ms(laps: Sequence[Lap]) -> float | None:
    """Median over rounds of their 95th percentiles; None if one has no sample."""
    found = [summarize(lap.counts, lap.total_ns).p95_ms for lap in laps]
    values = [value for value in found if value is not None]
    return statistics.median(values) if values and len(values) == len(found) else None
