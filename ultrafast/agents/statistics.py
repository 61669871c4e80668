"""`ManagerStatistics`: what `manager.statistics()` answers. Stands on msgspec; counts nothing."""

from __future__ import annotations

import msgspec

from ultrafast.agents.placing.pools import PoolState
from ultrafast.agents.processes.workers import WorkerState

__all__ = ["ManagerStatistics"]


class ManagerStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """A system at one moment.

    Attributes
    ----------
    name, region_path : str
    region_bytes : int
    agents : dict
        Numbers of agents by type and state, from their records.
    pools : dict of str to PoolState
    workers : list of WorkerState
    spares, pids : list of int
        Processes that wait to take a dead worker's place; the manager, the workers and the spares.
    """

    name: str
    region_path: str
    region_bytes: int
    agents: dict[str, dict[str, int]]
    pools: dict[str, PoolState]
    workers: list[WorkerState]
    spares: list[int]
    pids: list[int]
