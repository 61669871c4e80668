"""What figures are held against: the Config's targets, and the project's goals.

Stands on `figures` and the Config. A figure that should be there and is not fails like a missed
one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ultrafast import Config
from ultrafast.validation.figures import (
    Figure,
    Quantity,
    TargetCheck,
    check_latency,
    check_quantity,
)

__all__ = ["GOALS_MS", "MEMORY_GOAL_MIB", "REQUIRED", "check_all"]

GOALS_MS: dict[str, float] = {
    "warm spawn": 1.0,
    "cold spawn": 1.0,
    "warm spawn to answer": 5.0,
    "cold spawn to answer": 5.0,
    "communication": 1.0,
}
"""95th percentiles at most, on a system that has nothing else to do."""

MEMORY_GOAL_MIB = 1024.0
"""Memory of all processes and the region at most, for up to `MEMORY_GOAL_AGENTS` agents."""

_MEMORY_GOAL_AGENTS = 12_000

REQUIRED = ("warm spawn", "cold spawn", "warm spawn to answer", "communication")
"""Figures that every report must have."""


def check_all(
    figures: Sequence[Figure], quantities: Iterable[Quantity], config: Config, agents: int
) -> list[TargetCheck]:
    """Hold what was measured against what was wanted.

    Parameters
    ----------
    figures, quantities : sequence
        What `Load` found.
    config : Config
        Its two targets apply to every phase, the goals to the idle one.
    agents : int
        How many are to be alive.

    Returns
    -------
    list of TargetCheck
    """
    present = {(figure.name, figure.phase) for figure in figures}
    missing = [
        Figure(name=name, phase="idle", conditions="not measured", samples=0)
        for name in REQUIRED
        if (name, "idle") not in present
    ]
    checks: list[TargetCheck] = []
    for figure in (*figures, *missing):
        if figure.name in ("warm spawn", "cold spawn"):
            checks.append(check_latency(figure, config.max_spawn_time_ms, "config"))
        elif figure.name == "communication":
            checks.append(check_latency(figure, config.max_communication_latency_ms, "config"))
        if figure.phase == "idle" and figure.name in GOALS_MS:
            checks.append(check_latency(figure, GOALS_MS[figure.name], "goal"))
    by_name = {quantity.name: quantity for quantity in quantities}
    nothing = Quantity(name="", unit="", value=None, samples=0)
    live = by_name.get("live agents", nothing)
    checks.append(check_quantity(live, "at least", float(agents), "goal"))
    if agents <= _MEMORY_GOAL_AGENTS:
        memory = by_name.get("memory", nothing)
        checks.append(check_quantity(memory, "at most", MEMORY_GOAL_MIB, "goal"))
    return checks
