"""From times to figures: percentiles, rates, medians over rounds, ratios round by round.

Stands on the standard library. Nothing here measures; an empty sample is an error everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median

__all__ = ["EmptySample", "latencies_us", "medians", "percentile", "rate_per_s", "ratios"]

_PERCENTILES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}


class EmptySample(ValueError):
    """A figure was asked for where nothing was measured."""


def percentile(ordered: Sequence[int], share: float) -> int:
    """The smallest sample that at least this share of all does not exceed.

    Parameters
    ----------
    ordered : sequence of int
        Samples, ascending.
    share : float
        In (0, 1].

    Returns
    -------
    int
        One of the samples, never something between two.

    Raises
    ------
    EmptySample

    Examples
    --------
    >>> percentile([10, 20, 30, 40], 0.5), percentile([10, 20, 30, 40], 0.51)
    (20, 30)
    """
    if not ordered:
        raise EmptySample(f"no samples to take the {share:.0%} percentile of")
    if not 0 < share <= 1:
        raise ValueError(f"{share} is no share of the samples; it must be above 0, at most 1")
    return ordered[math.ceil(share * len(ordered)) - 1]


def latencies_us(samples_ns: Sequence[int]) -> dict[str, float]:
    """Percentiles of times, in microseconds.

    Examples
    --------
    >>> latencies_us([3_000, 1_000, 2_000])
    {'p50': 2.0, 'p95': 3.0, 'p99': 3.0}
    """
    ordered = sorted(samples_ns)
    return {name: percentile(ordered, share) / 1e3 for name, share in _PERCENTILES.items()}


def rate_per_s(count: int, passed_ns: int) -> dict[str, float]:
    """Messages a second.

    Examples
    --------
    >>> rate_per_s(500, 250_000_000)
    {'per_s': 2000.0}
    """
    if count <= 0:
        raise EmptySample("no message was received, so there is no rate")
    if passed_ns <= 0:
        raise EmptySample(f"{count} messages in {passed_ns} ns: no time passed that could be told")
    return {"per_s": count / passed_ns * 1e9}


def medians(rounds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The median over rounds of each figure.

    Examples
    --------
    >>> medians([{"p50": 3.0}, {"p50": 9.0}, {"p50": 4.0}])
    {'p50': 4.0}
    """
    if not rounds:
        raise EmptySample("no round was made, so there is no median over rounds")
    return {name: median(each[name] for each in rounds) for name in rounds[0]}


def ratios(
    ours: Sequence[Mapping[str, float]], theirs: Sequence[Mapping[str, float]]
) -> dict[str, float]:
    """Our figure over theirs, the median of what it was round by round.

    Both sides of a round ran within seconds of each other: what slowed one slowed the other.

    Parameters
    ----------
    ours, theirs : sequence of mapping
        The figures of the same rounds, in the same order.

    Examples
    --------
    >>> ratios([{"p50": 2.0}, {"p50": 8.0}], [{"p50": 4.0}, {"p50": 16.0}])
    {'p50': 0.5}
    """
    if len(ours) != len(theirs):
        raise ValueError(f"{len(ours)} rounds of ours against {len(theirs)} of theirs")
    if any(value <= 0 for each in theirs for value in each.values()):
        raise EmptySample("a figure of theirs is zero, so it was not measured")
    return medians(
        [{name: a[name] / b[name] for name in a} for a, b in zip(ours, theirs, strict=True)]
    )
