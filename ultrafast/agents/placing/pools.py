"""`PoolKeeper`: keeps warm agents of each type ready, more of those in demand.

Stands on the agent records and the hosts' inboxes. It asks hosts to build agents and counts what
the records say; claiming one is the spawner's business, and building them gently the hosts'.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Coroutine
from typing import Any, Final

import msgspec

from ultrafast.agents.placing.demand import Forecast
from ultrafast.agents.placing.spawner import Spawner
from ultrafast.bus.endpoint import Endpoint
from ultrafast.bus.wire import Kind, Operation
from ultrafast.config import AgentPoolConfig
from ultrafast.core import now_ns
from ultrafast.core.answers import Census
from ultrafast.errors import AgentTypeUnknown, UltrafastError

__all__ = ["PoolKeeper", "PoolState"]

log = logging.getLogger(__name__)

_LOW_LANE: Final = 3
_GROWTH: Final = 2
# A pool is scaled up to this many times its configured size, and down to that size.
_MAX_GROWTH: Final = 16
# Demand is sampled so often, and forecast for so many samples: two seconds.
_SAMPLE_NS: Final = 100_000_000
_AHEAD: Final = 20
# So many forecasts in a row must ask for a larger pool, or a smaller one: one burst is no demand.
_SURE_SAMPLES: Final = 10
# A host has so long to answer for what it was asked to build; then others are asked.
_BUILD_S: Final = 5.0
# Warm agents given back in one tick, when a pool has become smaller.
_GIVEN_BACK: Final = 64


class PoolState(msgspec.Struct, frozen=True, kw_only=True):
    """A type's pool.

    Attributes
    ----------
    target, warm, building : int
        Warm agents wanted, there, and on their way.
    demand_per_s : float
        Agents of the type spawned a second, smoothed.
    forecast : float
        Those expected to be spawned in the next two seconds.
    """

    target: int
    warm: int
    building: int
    demand_per_s: float = 0.0
    forecast: float = 0.0


class _Pool:
    """What is known of a pool between two looks."""

    def __init__(self, base: int) -> None:
        self.base = base
        self.target = base
        self.calm = self.rising = 0
        self.supplied = 0  # by hosts, over all
        self.filled = False
        self.ordered = 0  # hosts were asked for, and have not answered yet
        self.built = 0  # hosts said so since the last look
        # Agents spawned of the type: from the system's start, at the last look, and since the last
        # sample; and of those, at the last look, the ones that were not warm.
        self.spawned: int | None = None
        self.cold = 0
        self.demanded = 0
        self.empty = False  # a spawn found no warm agent, and none has come since
        self.demand = Forecast()

    def look(self, census: Census) -> int:
        """Count what became of the pool since the last look: spawns that found it empty."""
        missed = 0
        spawned = census.claimed + census.cold
        if self.spawned is not None:
            self.demanded += spawned - self.spawned
            missed = census.cold - self.cold
        self.spawned, self.cold = spawned, census.cold
        self.supplied += self.built
        self.filled |= max(census.warm, self.supplied) >= self.target
        self.built = 0
        return missed

    def sample(self, samples: float) -> None:
        """Take what was counted for the demand of so many intervals."""
        self.demand.add(self.demanded / samples)
        self.demanded = 0


class PoolKeeper:
    """Refills the pools whenever `tick` is called, on the running loop.

    Parameters
    ----------
    endpoint, spawner
        The manager's.
    config : AgentPoolConfig
        Sizes to begin with, thresholds, and whether to scale.
    on_event : callable
        Called with a subject and a payload when a pool is scaled, or found empty.
    max_agents : int
        Live agents at most; pools together take no record that these may need.
    clock : callable
        Gives the time in nanoseconds.

    Notes
    -----
    The used share of a pool is 1 - warm / target. Above `scale_up_threshold` the target doubles; it
    goes as far as it must where two seconds of the forecast demand (see `Forecast`) would use more
    than that share for a second. It goes up to 16 times its first size. When the used share and
    that of the forecast have been below `scale_down_threshold` for a second, it halves, down to its
    first size, and warm agents beyond it are given back. Between the thresholds it stays.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        spawner: Spawner,
        config: AgentPoolConfig,
        on_event: Callable[[str, Any], object],
        *,
        max_agents: int,
        clock: Callable[[], int] = now_ns,
    ) -> None:
        self._endpoint = endpoint
        self._spawner = spawner
        self._config = config
        self._on_event = on_event
        self._room = max(0, endpoint.agents.capacity - max_agents)
        self._clock = clock
        self._sampled_ns = clock()
        self._pools: dict[str, _Pool] = {}
        self._tasks: set[asyncio.Task[object]] = set()

    def add(self, name: str, size: int) -> None:
        """Keep a pool for a type; size 0: none."""
        if size > 0:
            self._pools[name] = _Pool(size)

    def states(self) -> dict[str, PoolState]:
        """The pools, as the records say."""
        return {
            name: self._state(self._pools[name], census) for name, census in self._look().items()
        }

    def _state(self, pool: _Pool, census: Census) -> PoolState:
        return PoolState(
            target=pool.target,
            warm=census.warm,
            building=census.building,
            demand_per_s=pool.demand.level * 1e9 / _SAMPLE_NS,
            forecast=pool.demand.ahead(_AHEAD),
        )

    def _look(self) -> dict[str, Census]:
        """What is counted of the types that have a pool."""
        agents = self._endpoint.agents
        agents.mend()
        found = {}
        for name in self._pools:
            try:
                found[name] = agents.census(self._spawner.type_of(name))
            except AgentTypeUnknown:
                continue  # registered just now: no worker knows it yet
        return found

    def tick(self) -> bool:
        """Scale and refill once: whether every pool is full."""
        full = True
        samples = (self._clock() - self._sampled_ns) / _SAMPLE_NS
        if samples >= 1.0:
            self._sampled_ns = self._clock()
        for name, census in self._look().items():
            pool = self._pools[name]
            missed = pool.look(census)
            if samples >= 1.0:
                pool.sample(samples)
                if self._config.dynamic_scaling and pool.filled:
                    self._scale(name, pool, self._state(pool, census))
            if census.target != pool.target:
                self._endpoint.agents.set_target(self._spawner.type_of(name), pool.target)
            self._say_empty(name, pool, census, missed)
            full &= pool.target <= census.warm
            missing = pool.target - census.warm - max(census.building, pool.ordered)
            if missing > 0:
                self._build(name, pool, missing)
            elif pool.ordered == 0 and census.warm > pool.target:
                number = self._spawner.type_of(name)
                self._endpoint.agents.dismiss(number, min(census.warm - pool.target, _GIVEN_BACK))
        return full

    def _say_empty(self, name: str, pool: _Pool, census: Census, missed: int) -> None:
        """Once until it has warm agents again."""
        if census.warm:
            pool.empty = False
        elif missed > 0 and not pool.empty:
            pool.empty = True
            self._on_event("pool.empty", {"type": name, "missed": missed, "target": pool.target})

    def _scale(self, name: str, pool: _Pool, state: PoolState) -> None:
        up, down = self._config.scale_up_threshold, self._config.scale_down_threshold
        before, used, forecast = (
            pool.target,
            1 - state.warm / pool.target,
            pool.demand.ahead(_AHEAD),
        )
        wanted = math.ceil(forecast / up) if up else 0
        exhausted = used > up and state.building == 0 and pool.ordered == 0
        pool.rising = pool.rising + 1 if wanted > pool.target else 0
        if exhausted or pool.rising >= _SURE_SAMPLES:
            wanted = max(wanted, _GROWTH * pool.target if exhausted else 0)
            others = sum(each.target for each in self._pools.values()) - pool.target
            limit = min(pool.base * _MAX_GROWTH, self._room - others)
            pool.target = max(pool.target, min(wanted, limit))
            pool.calm = 0
        elif used < down and forecast / pool.target < down and pool.target > pool.base:
            pool.calm += 1
            if pool.calm >= _SURE_SAMPLES:
                pool.target = max(pool.target // _GROWTH, pool.base, wanted)
                pool.calm = 0
        else:
            pool.calm = 0
        if pool.target != before:
            self._on_event(
                "pool.scaled",
                {"type": name, "from": before, "to": pool.target, "forecast": round(forecast, 1)},
            )

    def _build(self, name: str, pool: _Pool, missing: int) -> None:
        """Ask the hosts, each for its share; what does not come is asked for again."""
        number = self._spawner.type_of(name)
        shares: dict[int, int] = {}
        for _ in range(missing):
            host = self._spawner.next_host()
            shares[host] = shares.get(host, 0) + 1
        for host, share in shares.items():
            pool.ordered += share
            self._keep(self._order(pool, host, number, share))

    def _keep(self, coroutine: Coroutine[Any, Any, object]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _order(self, pool: _Pool, host: int, number: int, share: int) -> None:
        try:
            answer = await self._endpoint.ask(
                host,
                _LOW_LANE,
                msgspec.msgpack.encode((number, share)),
                Kind.CONTROL,
                timeout_s=_BUILD_S,
                extra=int(Operation.WARM),
            )
            pool.built += int(memoryview(answer.tobytes()).cast("Q")[0])
            answer.release()
        except (UltrafastError, TimeoutError):
            pass  # its worker died, or takes its time: the records say what there is
        finally:
            pool.ordered -= share
