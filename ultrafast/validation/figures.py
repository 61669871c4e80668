"""The values of a report: figures with their sample counts, checks against targets, accounting.

Stands on msgspec. A figure without samples is no figure: whatever is checked against it fails.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import msgspec

from ultrafast.monitoring.metrics import LatencySummary
from ultrafast.validation.machine import MachineFacts

__all__ = [
    "Accounting",
    "Figure",
    "Phase",
    "Quantity",
    "Report",
    "TargetCheck",
    "check_latency",
    "check_quantity",
    "of_histogram",
    "of_samples",
]

Phase: TypeAlias = Literal["idle", "busy"]


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """A distribution of times, in milliseconds.

    Parameters
    ----------
    name : str
    phase : {"idle", "busy"}
        Whether the system had anything else to do.
    conditions : str
        What else there is to know about it.
    samples : int
        Without any, the others are None.
    p50_ms, p95_ms, p99_ms, max_ms, mean_ms : float, optional
    median_p95_ms : float, optional
        Of a figure measured in rounds: the median of their 95th percentiles, which targets are held
        against.
    """

    name: str
    phase: Phase
    conditions: str
    samples: int
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    max_ms: float | None = None
    mean_ms: float | None = None
    median_p95_ms: float | None = None


class Quantity(msgspec.Struct, frozen=True, kw_only=True):
    """A single number, what it counts, and how many observations it stands on."""

    name: str
    unit: str
    value: float | None
    samples: int
    conditions: str = ""


class TargetCheck(msgspec.Struct, frozen=True, kw_only=True):
    """A number held against its target.

    Parameters
    ----------
    name, unit : str
    origin : {"config", "goal"}
        Whether the Config sets the target, or the project's own goals do.
    bound : {"at most", "at least"}
    target : float
    measured : float, optional
        None without samples.
    samples : int
    passed : bool
        Never without samples.
    """

    name: str
    unit: str
    origin: Literal["config", "goal"]
    bound: Literal["at most", "at least"]
    target: float
    measured: float | None
    samples: int
    passed: bool


class Accounting(msgspec.Struct, frozen=True, kw_only=True):
    """What became of every message, over all processes: sent = delivered + refused + dead-lettered.

    Parameters
    ----------
    sent, delivered, refused, dead_lettered : int
        The shared counters, since the system's start.
    paced_accepted, paced_received : int
        Paced messages that were accepted, and those that their receivers counted.
    """

    sent: int
    delivered: int
    refused: int
    dead_lettered: int
    paced_accepted: int
    paced_received: int

    @property
    def holds(self) -> bool:
        """Whether nothing is missing and nothing came twice."""
        accounted = self.delivered + self.refused + self.dead_lettered
        return self.sent == accounted and self.paced_accepted == self.paced_received


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a scenario found.

    Parameters
    ----------
    scenario : str
    passed : bool
        Whether every check passed, the accounting holds, and nothing else went wrong.
    started_at : str
        UTC, ISO 8601.
    duration_s : float
    machine : MachineFacts
    settings : dict
        What the scenario was run with.
    checks : list of TargetCheck
    figures : list of Figure
    quantities : list of Quantity
    accounting : Accounting, optional
        None when messages were not measured.
    problems : list of str
        What went wrong besides missed targets.
    """

    scenario: str
    passed: bool
    started_at: str
    duration_s: float
    machine: MachineFacts
    settings: dict[str, Any]
    checks: list[TargetCheck]
    figures: list[Figure]
    quantities: list[Quantity]
    accounting: Accounting | None
    problems: list[str]


def of_samples(name: str, phase: Phase, conditions: str, samples_ns: Sequence[int]) -> Figure:
    """A figure from every single sample; quantiles are samples (nearest rank).

    Examples
    --------
    >>> of_samples("x", "idle", "", [3_000_000, 1_000_000, 2_000_000]).p50_ms
    2.0
    >>> of_samples("x", "idle", "", []).p50_ms is None
    True
    """
    if not samples_ns:
        return Figure(name=name, phase=phase, conditions=conditions, samples=0)
    ordered = sorted(samples_ns)

    def quantile(q: float) -> float:
        return ordered[max(0, math.ceil(q * len(ordered)) - 1)] / 1e6

    return Figure(
        name=name,
        phase=phase,
        conditions=conditions,
        samples=len(ordered),
        p50_ms=quantile(0.50),
        p95_ms=quantile(0.95),
        p99_ms=quantile(0.99),
        max_ms=ordered[-1] / 1e6,
        mean_ms=sum(ordered) / len(ordered) / 1e6,
    )


def of_histogram(name: str, phase: Phase, conditions: str, summary: LatencySummary) -> Figure:
    """A figure from a shared histogram."""
    return Figure(
        name=name,
        phase=phase,
        conditions=conditions,
        samples=summary.count,
        p50_ms=summary.p50_ms,
        p95_ms=summary.p95_ms,
        p99_ms=summary.p99_ms,
        max_ms=summary.max_ms,
        mean_ms=summary.mean_ms,
    )


def check_latency(
    figure: Figure, target_ms: float, origin: Literal["config", "goal"]
) -> TargetCheck:
    """Hold a figure's 95th percentile against a target: of rounds, their median one."""
    rounds = figure.median_p95_ms is not None
    measured = figure.median_p95_ms if rounds else figure.p95_ms
    return TargetCheck(
        name=f"{figure.name} {'median ' if rounds else ''}p95, {figure.phase}",
        unit="ms",
        origin=origin,
        bound="at most",
        target=target_ms,
        measured=measured,
        samples=figure.samples,
        passed=measured is not None and measured <= target_ms,
    )


def check_quantity(
    quantity: Quantity,
    bound: Literal["at most", "at least"],
    target: float,
    origin: Literal["config", "goal"],
) -> TargetCheck:
    """Hold a number against a target."""
    value = quantity.value if quantity.samples else None
    met = value is not None and (value <= target if bound == "at most" else value >= target)
    return TargetCheck(
        name=quantity.name,
        unit=quantity.unit,
        origin=origin,
        bound=bound,
        target=target,
        measured=value,
        samples=quantity.samples,
        passed=met,
    )
