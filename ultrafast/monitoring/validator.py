"""`PerformanceValidator`: compares what was measured with the targets, at every interval.

Stands on `MetricsReader`. It reports; it changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import msgspec

from ultrafast.config import Config
from ultrafast.monitoring.metrics import LatencySummary, MetricsReader, memory_bytes

__all__ = ["Check", "PerformanceValidator", "ValidationReport"]

log = logging.getLogger(__name__)


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One figure against its target.

    Attributes
    ----------
    name, unit : str
    target : float
        The figure must not exceed it.
    measured : float or None
        None when there was no sample.
    samples : int
    passed : bool
        False without samples.
    """

    name: str
    unit: str
    target: float
    measured: float | None
    samples: int
    passed: bool


class ValidationReport(msgspec.Struct, frozen=True, kw_only=True):
    """Every check of one validation.

    Attributes
    ----------
    passed : bool
        Whether all passed.
    checks : list of Check
    """

    passed: bool
    checks: list[Check]


class PerformanceValidator:
    """Validates a running system.

    Parameters
    ----------
    reader : MetricsReader
    config : Config
    pids : callable
        Gives the process ids of the system.
    region_path : str
    on_event : callable
        Called with `alert.raised` and `alert.cleared`.
    """

    def __init__(
        self,
        reader: MetricsReader,
        config: Config,
        pids: Callable[[], list[int]],
        region_path: str,
        on_event: Callable[[str, Any], object],
    ) -> None:
        self._reader = reader
        self._config = config
        self._pids = pids
        self._region_path = region_path
        self._on_event = on_event
        self._raised: set[str] = set()
        self._cpu = _cpu_times()

    async def run(self, interval_s: float) -> None:
        """Tick the reader and look for alerts, for ever."""
        while True:
            await asyncio.sleep(interval_s)
            self._reader.tick()
            self.check_alerts()

    def validate(self) -> ValidationReport:
        """The targets of the Config against all samples so far."""
        metrics = self._reader.read()
        config = self._config
        checks = [
            _latency("spawn_time_p95", config.max_spawn_time_ms, metrics.spawn_time),
            _latency(
                "communication_latency_p95",
                config.max_communication_latency_ms,
                metrics.communication_latency,
            ),
        ]
        return ValidationReport(passed=all(check.passed for check in checks), checks=checks)

    def check_alerts(self) -> set[str]:
        """Compare the last ten seconds with the alert thresholds: the names of those exceeded."""
        metrics = self._reader.read(10.0)
        limits = self._config.alert_thresholds
        found = {
            "spawn_time_p95_ms": (metrics.spawn_time.p95_ms, limits.spawn_time_p95_ms),
            "communication_latency_p95_ms": (
                metrics.communication_latency.p95_ms,
                limits.communication_latency_p95_ms,
            ),
            "memory_usage_percent": (_memory_percent(), limits.memory_usage_percent),
            "cpu_usage_percent": (self._cpu_percent(), limits.cpu_usage_percent),
        }
        exceeded = {
            name for name, (value, limit) in found.items() if value is not None and value > limit
        }
        for name in exceeded - self._raised:
            value, limit = found[name]
            log.warning("alert: %s is %.3f, above %.3f", name, value, limit)
            self._on_event("alert.raised", {"name": name, "value": value, "limit": limit})
        for name in self._raised - exceeded:
            self._on_event("alert.cleared", {"name": name})
        self._raised = exceeded
        return exceeded

    def memory_bytes(self) -> int:
        """What the system takes; see `ultrafast.monitoring.metrics.memory_bytes`."""
        return memory_bytes(self._pids(), self._region_path)

    def _cpu_percent(self) -> float | None:
        """The machine's busy share since the last call."""
        before, self._cpu = self._cpu, _cpu_times()
        total = self._cpu[0] - before[0]
        return 100.0 * (self._cpu[1] - before[1]) / total if total > 0 else None


def _latency(name: str, target_ms: float, summary: LatencySummary) -> Check:
    return Check(
        name=name,
        unit="ms",
        target=target_ms,
        measured=summary.p95_ms,
        samples=summary.count,
        passed=summary.p95_ms is not None and summary.p95_ms <= target_ms,
    )


def _cpu_times() -> tuple[int, int]:
    """Ticks of all cores so far: all, and those that were not idle."""
    with open("/proc/stat", "rb") as file:
        ticks = [int(word) for word in file.readline().split()[1:9]]
    return sum(ticks), sum(ticks) - ticks[3] - ticks[4]


def _memory_percent() -> float:
    """The machine's memory in use."""
    found: dict[bytes, int] = {}
    with open("/proc/meminfo", "rb") as file:
        for line in file:
            name, _, rest = line.partition(b":")
            found[name] = int(rest.split()[0])
    return 100.0 * (1 - found[b"MemAvailable"] / found[b"MemTotal"])
