"""Rebalancing: idle agents of an overloaded worker are given to one that has less to do.

`Judge` says when, from figures alone. `Rebalancer` is the manager's: it takes the figures and tells
workers. `Shedding` is a worker's: it chooses which of its agents go. Stands on /proc, the spawner
and the endpoint; how an agent moves, `agents.hosting.moving` says.

A worker's load is the share of a processor's time that it took since the last look, or 1 where
its inbox held a backlog at both: then it does not keep up, whatever keeps it. It is overloaded when
its load is above a limit and well above that of the least loaded worker at several looks in a row.
It is then told to give away agents that handle as much as half the difference, so that the two come
to stand alike and the roles do not change; agents that handle more than that stay, as do those that
came lately. Between two such orders is a rest, in which their effect shows; a longer one, where the
last moved nobody.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping
from time import monotonic
from typing import Any, Final, NamedTuple

import msgspec

from ultrafast.agents.placing.relocation import Answer
from ultrafast.agents.placing.spawner import Spawner
from ultrafast.bus.endpoint import Endpoint
from ultrafast.bus.wire import CONTROL_LANE, Kind, Operation
from ultrafast.core import now_ns
from ultrafast.errors import UltrafastError
from ultrafast.metric_names import Counter

__all__ = ["Judge", "Order", "Rebalancer", "Shedding", "cpu_s"]

# Between two looks, and how many in a row must find the same.
_LOOK_S: Final = 0.5
_LOOKS: Final = 3
# By how much an overloaded worker's load is at least above the least: half of it moves.
_GAP: Final = 0.3
# Messages in an inbox that are a backlog.
_BACKLOG: Final = 256
# Between two orders: with so many agents each at most, those that move in a second are bounded.
_REST_S: Final = 2.0
_LONGEST_REST_S: Final = 64.0  # where the last orders moved nobody
_MOST: Final = 128
# How long an agent that came stays at least.
_STAY_S: Final = 30.0
# Agents that a worker looks at to choose from, how long, and how often it asks one that is busy.
_SAMPLE: Final = 4096
_SAMPLE_S: Final = 0.25
_TRIES: Final = 20
_PAUSE_S: Final = 0.01

_TICK_S: Final = 1 / os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float | None:
    """Processor time that a process took so far; None where it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The second field, a name in brackets, may hold anything.
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) * _TICK_S


class Order(NamedTuple):
    """Who is to give agents to whom, and agents of how much of what it handles."""

    worker: int
    to: int
    share: float


class Judge:
    """Says who is overloaded, from loads alone.

    Parameters
    ----------
    above : float
        Above which a worker may be.
    looks : int
        That must find it so, in a row.
    """

    def __init__(self, above: float, looks: int = _LOOKS) -> None:
        self._above = above
        self._looks = looks
        self._suspect = -1
        self._seen = 0

    def look(self, loads: Mapping[int, float]) -> Order | None:
        """What is to be done, if it is time; then it begins anew.

        Parameters
        ----------
        loads : mapping of int to float
            Of each worker, 0 to 1.

        Examples
        --------
        >>> judge = Judge(0.8, looks=2)
        >>> judge.look({0: 0.9, 1: 0.1})
        >>> judge.look({0: 1.0, 1: 0.2})
        Order(worker=0, to=1, share=0.4)
        >>> judge.look({0: 1.0, 1: 0.8})
        """
        if len(loads) < 2:
            self._seen = 0
            return None
        most = max(loads, key=loads.__getitem__)
        least = min(loads, key=loads.__getitem__)
        gap = loads[most] - loads[least]
        if loads[most] <= self._above or gap < _GAP:
            self._seen = 0
            return None
        self._seen = self._seen + 1 if most == self._suspect else 1
        self._suspect = most
        if self._seen < self._looks:
            return None
        self._seen = 0
        return Order(most, least, round(gap / 2 / loads[most], 3))


class Rebalancer:
    """Takes the workers' loads, and has an overloaded one give agents away.

    Parameters
    ----------
    endpoint, spawner
        The manager's.
    above : float
        The load above which a worker may be overloaded; 0: none ever is.
    pids : callable
        Gives the process ids of the workers that are ready, by their numbers.
    on_event : callable
        Gets `worker.overloaded`.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        spawner: Spawner,
        above: float,
        pids: Callable[[], dict[int, int]],
        on_event: Callable[[str, Any], object],
    ) -> None:
        self._endpoint = endpoint
        self._spawner = spawner
        self._above = above
        self._judge = Judge(above)
        self._pids = pids
        self._on_event = on_event
        self._next_s = 0.0
        self._rest_until_s = 0.0
        self._rest_s = _REST_S / 2
        self._moved = 0
        # Of the last look, by pid: when, the processor time then, whether there was a backlog.
        self._last: dict[int, tuple[float, float, bool]] = {}

    def tick(self) -> None:
        """Look, if it is time. Costs a file of /proc for each worker, twice a second."""
        now = monotonic()
        if self._above == 0.0 or now < self._next_s:
            return
        self._next_s = now + _LOOK_S
        loads = self._loads(now)
        order = self._judge.look(loads)
        if order is None or now < self._rest_until_s:
            return
        moved = self._endpoint.metrics.read_counter(Counter.MOVED)
        longer = min(2 * self._rest_s, _LONGEST_REST_S)
        self._rest_s = longer if moved == self._moved else _REST_S
        self._rest_until_s, self._moved = now + self._rest_s, moved
        if self._tell(order):
            told = {"worker": order.worker, "to": order.to, "share": order.share}
            self._on_event("worker.overloaded", {**told, "load": round(loads[order.worker], 3)})

    def _loads(self, now: float) -> dict[int, float]:
        loads, seen = {}, {}
        for number, pid in self._pids().items():
            spent = cpu_s(pid)
            if spent is None:
                continue
            backlog = self._endpoint.queues.length(self._spawner.host(number)) > _BACKLOG
            seen[pid] = now, spent, backlog
            if pid in self._last:
                then, before, had = self._last[pid]
                share = (spent - before) / max(now - then, _TICK_S)
                loads[number] = 1.0 if backlog and had else min(share, 1.0)
        self._last = seen
        return loads

    def _tell(self, order: Order) -> bool:
        worker, to = self._spawner.host(order.worker), self._spawner.host(order.to)
        data = msgspec.msgpack.encode((to, order.share))
        head = (int(Kind.CONTROL), 0, 0, 0, 0, now_ns(), 0, 0, int(Operation.SHED))
        return self._endpoint.post(worker, CONTROL_LANE, data, *head)


class Shedding:
    """A worker's side: which agents go.

    Parameters
    ----------
    candidates : callable
        Gives the ids of agents here that may move, in any order.
    handled : callable
        Agent's id -> messages that it has handled so far; None when it is gone.
    give_away : callable
        Ids and the queue of the worker that gets them -> an `Answer` for each.
    """

    def __init__(
        self,
        candidates: Callable[[], Iterable[int]],
        handled: Callable[[int], int | None],
        give_away: Callable[[list[int], int], list[Answer]],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._candidates = candidates
        self._handled = handled
        self._give_away = give_away
        self._sleep = sleep
        self._came: dict[int, float] = {}
        self._busy = False

    def came(self, agent_id: int) -> None:
        """Note an agent that has just moved here: it stays for a while."""
        now = monotonic()
        for each in list(itertools.takewhile(lambda i: self._came[i] < now, self._came)):
            del self._came[each]
        self._came.pop(agent_id, None)
        self._came[agent_id] = now + _STAY_S

    async def shed(self, to: int, share: float) -> int:
        """Give away agents that handle this share of all messages here, or somewhat less.

        Returns
        -------
        int
            How many went. One that is asked while it is at work is asked again, some times.
        """
        if self._busy:
            return 0
        self._busy = True
        try:
            chosen = await self._choose(share)
            went = 0
            for _ in range(_TRIES):
                answers = self._give_away(chosen, to)
                went += answers.count(Answer.BEGUN)
                chosen = [
                    each
                    for each, answer in zip(chosen, answers, strict=True)
                    if answer == Answer.BUSY
                ]
                if not chosen:
                    break
                await self._sleep(_PAUSE_S)
            return went
        except UltrafastError:
            return 0  # the system ends
        finally:
            self._busy = False

    async def _choose(self, share: float) -> list[int]:
        now = monotonic()
        before = {
            each: count
            for each in itertools.islice(self._candidates(), _SAMPLE)
            if (count := self._handled(each)) is not None
        }
        await self._sleep(_SAMPLE_S)
        rates = {
            each: after - count
            for each, count in before.items()
            if (after := self._handled(each)) is not None and after > count
        }
        left = share * sum(rates.values())
        chosen: list[int] = []
        for each in sorted(rates, key=rates.__getitem__, reverse=True):
            if len(chosen) == _MOST:
                break
            if rates[each] <= left and self._came.get(each, 0.0) < now:
                chosen.append(each)
                left -= rates[each]
        return chosen
