"""`PoolKeeper`: keeps warm agents of each type ready, more of those in demand.

Stands on the agent records and the hosts' inboxes. It asks hosts to build agents and counts what
the records say; claiming one is the spawner's business.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

import msgspec

from ultrafast.agents.spawner import Spawner
from ultrafast.bus.endpoint import Endpoint
from ultrafast.bus.wire import Kind, Operation
from ultrafast.config import AgentPoolConfig
from ultrafast.core._agents import BUILDING, WARM
from ultrafast.errors import AgentTypeUnknown

__all__ = ["PoolKeeper", "PoolState"]

log = logging.getLogger(__name__)

_LOW_LANE: Final = 3
_GROWTH: Final = 2
# A pool is scaled up to this many times its configured size, and down to that size.
_MAX_GROWTH: Final = 16
_CALM_TICKS: Final = 10


class PoolState(msgspec.Struct, frozen=True, kw_only=True):
    """A type's pool.

    Attributes
    ----------
    target, warm, building : int
        Warm agents wanted, there, and on their way.
    """

    target: int
    warm: int
    building: int


class _Pool:
    def __init__(self, base: int) -> None:
        self.base = base
        self.target = base
        self.calm = 0
        self.filled = False


class PoolKeeper:
    """Refills the pools whenever `tick` is called.

    Parameters
    ----------
    endpoint, spawner
        The manager's.
    config : AgentPoolConfig
        Sizes to begin with, thresholds, and whether to scale.
    on_event : callable
        Called with a subject and a payload when a pool is scaled.

    Notes
    -----
    The used share of a pool is 1 - warm / target. Above `scale_up_threshold` the target doubles, up
    to 16 times its first size; below `scale_down_threshold` for ten ticks in a row it halves, down
    to its first size.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        spawner: Spawner,
        config: AgentPoolConfig,
        on_event: Callable[[str, Any], object],
    ) -> None:
        self._endpoint = endpoint
        self._spawner = spawner
        self._config = config
        self._on_event = on_event
        self._pools: dict[str, _Pool] = {}

    def add(self, name: str, size: int) -> None:
        """Keep a pool for a type; size 0: none."""
        if size > 0:
            self._pools[name] = _Pool(size)

    def states(self) -> dict[str, PoolState]:
        """The pools, as the records say."""
        if not self._pools:
            return {}  # spares the pass over all records
        tally = self._endpoint.agents.tally()
        states = {}
        for name, pool in self._pools.items():
            try:
                number = self._spawner.type_of(name)
            except AgentTypeUnknown:
                continue  # registered just now: no worker knows it yet
            states[name] = PoolState(
                target=pool.target,
                warm=int(tally[number, WARM]),
                building=int(tally[number, BUILDING]),
            )
        return states

    def tick(self) -> bool:
        """Scale and refill once: whether every pool is full."""
        full = True
        for name, state in self.states().items():
            pool = self._pools[name]
            pool.filled |= state.warm >= pool.target
            if self._config.dynamic_scaling and pool.filled:
                self._scale(name, pool, state)
            missing = pool.target - state.warm - state.building
            full &= pool.target <= state.warm
            if missing > 0:
                self._build(name, missing)
        return full

    def _scale(self, name: str, pool: _Pool, state: PoolState) -> None:
        used = 1 - state.warm / pool.target
        before = pool.target
        if used > self._config.scale_up_threshold and state.building == 0:
            pool.target = min(pool.target * _GROWTH, pool.base * _MAX_GROWTH)
            pool.calm = 0
        elif used < self._config.scale_down_threshold and pool.target > pool.base:
            pool.calm += 1
            if pool.calm >= _CALM_TICKS:
                pool.target = max(pool.target // _GROWTH, pool.base)
                pool.calm = 0
        else:
            pool.calm = 0
        if pool.target != before:
            self._on_event("pool.scaled", {"type": name, "from": before, "to": pool.target})

    def _build(self, name: str, missing: int) -> None:
        """Ask the hosts, each for its share; a full inbox is asked again at the next tick."""
        number = self._spawner.type_of(name)
        shares: dict[int, int] = {}
        for _ in range(missing):
            host = self._spawner.next_host()
            shares[host] = shares.get(host, 0) + 1
        for host, share in shares.items():
            order = msgspec.msgpack.encode((number, share))
            self._endpoint.post(
                host, _LOW_LANE, order, int(Kind.CONTROL), 0, 0, 0, 0, 0, 0, 0, int(Operation.WARM)
            )
