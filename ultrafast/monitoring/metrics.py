"""What a system measured of itself: `MetricsReader` makes figures of shared histograms.

Stands on the metrics door. Histograms only grow, so a window is the difference of two readings; the
reader keeps one reading a second for a minute, when it is ticked.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable
from functools import cache
from typing import Any, Final

import msgspec
import numpy as np

from ultrafast.core import Agents, Metrics, bucket_upper, now_ns
from ultrafast.core.answers import Census
from ultrafast.metric_names import Counter, Histogram

__all__ = [
    "LatencySummary",
    "MetricsReader",
    "PerformanceMetrics",
    "PoolMetrics",
    "memory_bytes",
    "summarize",
]

_WINDOWS: Final = (1.0, 10.0, 60.0)
_TICK_NS: Final = 950_000_000


class LatencySummary(msgspec.Struct, frozen=True, kw_only=True):
    """A distribution of times.

    Attributes
    ----------
    count : int
        Samples. Without any, the others are None: an empty sample is no measurement.
    p50_ms, p95_ms, p99_ms, max_ms, mean_ms : float or None
        Upper edges of the buckets that the quantiles fall in: never too small, at most 0.8 % too
        large. In a window, `max_ms` is the edge of the highest bucket that got a sample.
    """

    count: int
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    max_ms: float | None = None
    mean_ms: float | None = None


class PoolMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """Agents of a type and its pool, as every process of the system sees them.

    Attributes
    ----------
    alive, warm, building, target : int
        Now: agents spawned and not ended; built ahead; being built ahead; wanted warm.
    claimed, missed : int
        Agents spawned that were warm, and those that were not, from the system's start or in the
        window.
    """

    alive: int
    warm: int
    building: int
    target: int
    claimed: int
    missed: int


class PerformanceMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """What the system measured, over all its processes.

    Attributes
    ----------
    window_s : float or None
        Of the last seconds, or of all time.
    spawn_time : LatencySummary
        From the call of `spawn_agent` to its return, warm and cold together.
    warm_spawn_time, cold_spawn_time : LatencySummary
        The same, apart.
    communication_latency, local_communication_latency : LatencySummary
        From the intended send time to the handler's entry, in another process, and in the same.
    request_time, task_time, publish_time : LatencySummary
        From the call to the answer; of `publish`, to its return.
    counters : dict of str to int
        By the names of `ultrafast.metric_names.Counter`, in lower case.
    pools : dict of str to PoolMetrics
        By the names of the types that ever had an agent.
    """

    window_s: float | None
    spawn_time: LatencySummary
    warm_spawn_time: LatencySummary
    cold_spawn_time: LatencySummary
    communication_latency: LatencySummary
    local_communication_latency: LatencySummary
    request_time: LatencySummary
    task_time: LatencySummary
    publish_time: LatencySummary
    counters: dict[str, int]
    pools: dict[str, PoolMetrics] = {}


def summarize(counts: Any, total_ns: int, max_ns: int | None = None) -> LatencySummary:
    """Quantiles of a histogram.

    Parameters
    ----------
    counts : ndarray of uint64, shape (n_buckets,)
        Samples per bucket, as `Metrics.read` returns them.
    total_ns : int
        Sum of the samples.
    max_ns : int, optional
        The largest sample; the highest bucket's edge when not given.

    Returns
    -------
    LatencySummary

    Notes
    -----
    Log-linear buckets after HdrHistogram [1]_.

    References
    ----------
    .. [1] G. Tene, https://hdrhistogram.github.io/HdrHistogram/
    """
    count = int(counts.sum())
    if count == 0:
        return LatencySummary(count=0)
    edges = _edges()
    cumulated = np.cumsum(counts, dtype=np.uint64)

    def quantile(q: float) -> float:
        rank = max(1, int(np.ceil(q * count)))
        return float(edges[int(np.searchsorted(cumulated, rank))]) / 1e6

    top = float(max_ns) / 1e6 if max_ns is not None else quantile(1.0)
    return LatencySummary(
        count=count,
        p50_ms=min(quantile(0.50), top),
        p95_ms=min(quantile(0.95), top),
        p99_ms=min(quantile(0.99), top),
        max_ms=top,
        mean_ms=total_ns / count / 1e6,
    )


@cache
def _edges() -> Any:
    """The buckets' upper edges, in nanoseconds."""
    return bucket_upper()


class _Reading(msgspec.Struct, frozen=True):
    """Every histogram and counter at one moment."""

    at_ns: int
    counts: dict[int, Any]
    sums: dict[int, int]
    maxima: dict[int, int]
    counters: dict[int, int]
    pools: dict[str, Census]


class MetricsReader:
    """Reads a region's metrics, all time or a window.

    Parameters
    ----------
    metrics : Metrics
    agents : Agents, optional
        Whose numbers are read, too.
    """

    def __init__(self, metrics: Metrics, agents: Agents | None = None) -> None:
        self._metrics = metrics
        self._agents = agents
        self._past: deque[_Reading] = deque(maxlen=62)

    def tick(self) -> None:
        """Keep a reading, for windows: one a second, however often it is called."""
        if not self._past or now_ns() - self._past[-1].at_ns > _TICK_NS:
            self._past.append(self._take())

    def read(self, window_s: float | None = None) -> PerformanceMetrics:
        """What was measured.

        Parameters
        ----------
        window_s : {1, 10, 60}, optional
            Of the last seconds; all time when not given, or as far back as readings go.

        Raises
        ------
        ValueError
            For another window.
        """
        now = self._take()
        before = None
        if window_s is not None:
            if window_s not in _WINDOWS:
                raise ValueError(f"window_s is {window_s}; it must be one of {_WINDOWS} or None")
            since = now.at_ns - int(window_s * 1e9)
            older = [reading for reading in self._past if reading.at_ns <= since]
            before = older[-1] if older else None

        def of(*histograms: Histogram) -> LatencySummary:
            return self._summary(histograms, now, before)

        start = before.counters if before is not None else {}
        return PerformanceMetrics(
            window_s=window_s,
            spawn_time=of(Histogram.SPAWN_WARM, Histogram.SPAWN_COLD),
            warm_spawn_time=of(Histogram.SPAWN_WARM),
            cold_spawn_time=of(Histogram.SPAWN_COLD),
            communication_latency=of(Histogram.COMMUNICATION),
            local_communication_latency=of(Histogram.LOCAL_COMMUNICATION),
            request_time=of(Histogram.REQUEST),
            task_time=of(Histogram.TASK),
            publish_time=of(Histogram.PUBLISH),
            counters={
                counter.name.lower(): now.counters[counter] - start.get(counter, 0)
                for counter in Counter
            },
            pools={
                name: self._pool(census, before.pools.get(name) if before is not None else None)
                for name, census in now.pools.items()
            },
        )

    @staticmethod
    def _pool(now: Census, before: Census | None) -> PoolMetrics:
        return PoolMetrics(
            alive=now.alive,
            warm=now.warm,
            building=now.building,
            target=now.target,
            claimed=now.claimed - (before.claimed if before is not None else 0),
            missed=now.cold - (before.cold if before is not None else 0),
        )

    def _types(self) -> dict[str, Census]:
        """What is counted of each type that ever had an agent, or is to have warm ones."""
        found: dict[str, Census] = {}
        if self._agents is not None:
            for number in range(self._agents.types):
                name = self._agents.type_name(number)
                if name is None:
                    continue
                census = self._agents.census(number)
                if any(census):
                    found[name] = census
        return found

    def _take(self) -> _Reading:
        counts, sums, maxima = {}, {}, {}
        for histogram in Histogram:
            counts[int(histogram)], sums[int(histogram)], maxima[int(histogram)] = (
                self._metrics.read(histogram)
            )
        return _Reading(
            at_ns=now_ns(),
            counts=counts,
            sums=sums,
            maxima=maxima,
            counters={int(c): self._metrics.read_counter(c) for c in Counter},
            pools=self._types(),
        )

    @staticmethod
    def _summary(
        histograms: Iterable[Histogram], now: _Reading, before: _Reading | None
    ) -> LatencySummary:
        names = [int(histogram) for histogram in histograms]
        counts = sum(now.counts[name] for name in names)
        total = sum(now.sums[name] for name in names)
        if before is None:
            return summarize(counts, total, max(now.maxima[name] for name in names))
        counts = counts - sum(before.counts[name] for name in names)
        return summarize(counts, total - sum(before.sums[name] for name in names))


def memory_bytes(pids: Iterable[int], region_path: str) -> int:
    """What processes take together, shared pages counted once: PSS, and the region's other pages.

    A region's pages that a process has touched are in that process's PSS already; those that nobody
    has touched are reserved all the same, so they are added.

    Parameters
    ----------
    pids : iterable of int
        A process that is gone counts nothing.
    region_path : str
    """
    total = mapped = 0
    for pid in pids:
        pss, of_region = _pss(pid, os.fsencode(region_path))
        total += pss
        mapped += of_region
    try:
        reserved = os.stat(region_path).st_blocks * 512
    except OSError:
        reserved = 0
    return total + max(0, reserved - mapped)


def _pss(pid: int, region_path: bytes) -> tuple[int, int]:
    """A process's proportional set size, and the part of it that is the region's."""
    total = of_region = 0
    in_region = False
    try:
        with open(f"/proc/{pid}/smaps", "rb") as file:
            for line in file:
                if line.startswith(b"Pss:"):
                    amount = int(line.split()[1]) * 1024
                    total += amount
                    of_region += amount if in_region else 0
                elif b"-" in line.split(b" ", 1)[0]:
                    in_region = line.rstrip().endswith(region_path)
    except OSError:
        return 0, 0
    return total, of_region
