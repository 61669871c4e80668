"""Spawn, communication and memory of a system with a number of live agents.

Stands on `measure`. The agents are spawned one after the other and timed, and are then those that
paced messages go to.
"""

from __future__ import annotations

import msgspec

from ultrafast import UltraFastAgentManager
from ultrafast.validation.figures import Report
from ultrafast.validation.measure import HEADROOM, Round, measure_round
from ultrafast.validation.registry import ScenarioSettings

__all__ = ["run"]

NAME = "baseline-performance"
_COLD_MOST = 200


async def run(settings: ScenarioSettings) -> Report:
    """Measure a system of its own; see `ScenarioSettings`.

    Returns
    -------
    Report
    """
    room = max(settings.config.max_concurrent_agents, settings.agents + HEADROOM)
    config = msgspec.structs.replace(settings.config, max_concurrent_agents=room)
    async with UltraFastAgentManager(config) as manager:
        return await measure_round(
            manager,
            NAME,
            settings.agents,
            Round(
                warm_spawns=settings.agents,
                cold_spawns=min(settings.agents, _COLD_MOST),
                rate=settings.rate,
                duration_s=settings.duration_s,
            ),
            settings={
                "agents": settings.agents,
                "duration_s": settings.duration_s,
                "rate": settings.rate,
            },
        )
