"""One round of measurements on a running system, and the report that comes of it.

Stands on `load`, `targets` and `figures`. Scenarios and the main job's check are this round on
systems that differ in what else is alive.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import msgspec

from ultrafast import UltraFastAgentManager
from ultrafast.validation.figures import Quantity, Report
from ultrafast.validation.load import Load
from ultrafast.validation.machine import CpuShares, machine_facts
from ultrafast.validation.targets import check_all

__all__ = ["HEADROOM", "Round", "measure_round"]

_BUSY_SPAWNS_MOST = 200
_THROUGHPUT_S = 2.0

HEADROOM = 4096
"""Agents that a round may need besides those that are to be alive: pools, senders, receivers."""


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """How much to measure.

    Parameters
    ----------
    warm_spawns, cold_spawns : int
        Agents to spawn, one after the other.
    rate : float
        Paced messages a second.
    duration_s : float
        Of the paced messages on an idle system; half of it on a busy one.
    """

    warm_spawns: int
    cold_spawns: int
    rate: float
    duration_s: float


async def measure_round(
    manager: UltraFastAgentManager,
    scenario: str,
    agents: int,
    round_: Round,
    *,
    settings: dict[str, Any],
    extra: tuple[Quantity, ...] = (),
) -> Report:
    """Measure a running system, and hold it against the targets.

    Parameters
    ----------
    manager : UltraFastAgentManager
        Started.
    scenario : str
        Name of the report.
    agents : int
        How many are to be alive.
    round_ : Round
    settings : dict
        Written into the report.
    extra : tuple of Quantity
        What the caller has measured itself.

    Returns
    -------
    Report
    """
    started_at = datetime.now(UTC).isoformat(timespec="seconds")
    started = time.monotonic()
    machine = machine_facts()
    shares = CpuShares(manager.pids)
    async with Load(manager) as load:
        await load.measure_spawns(round_.warm_spawns)
        await load.measure_spawns(round_.cold_spawns, cold=True)
        await load.measure_communication(round_.rate, round_.duration_s)

        async def busy() -> None:
            await load.measure_spawns(min(round_.warm_spawns, _BUSY_SPAWNS_MOST), "busy")
            await load.measure_communication(round_.rate, round_.duration_s / 2, "busy")

        await load.while_busy(busy)
        await load.measure_throughput(min(_THROUGHPUT_S, round_.duration_s))
        await load.measure_agents_and_memory()
        accounting = await load.account()
    others, ticks = shares.others_percent()
    disturbance = Quantity(
        name="other programs' load",
        unit="% of all cores",
        value=others,
        samples=ticks,
        conditions="while measuring; the more, the less the figures are this system's own",
    )
    quantities = [*extra, *load.quantities, disturbance]
    checks = check_all(load.figures, quantities, manager.config, agents)
    return Report(
        scenario=scenario,
        passed=all(check.passed for check in checks) and accounting.holds and not load.problems,
        started_at=started_at,
        duration_s=time.monotonic() - started,
        machine=machine,
        settings={
            **settings,
            "workers": len(manager.statistics().workers),
            "region_bytes": manager.statistics().region_bytes,
        },
        checks=checks,
        figures=load.figures,
        quantities=quantities,
        accounting=accounting,
        problems=load.problems,
    )
