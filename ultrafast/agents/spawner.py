"""`Spawner`: agents begun and ended, from any process of the system.

Stands on the agent records and the inboxes of the workers that host agents. A warm agent is claimed
by one CAS; without one, a fresh record goes to the next worker, which builds the agent. It keeps no
list: the records are the list.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any, Final

from ultrafast.bus import tracing
from ultrafast.bus.endpoint import Endpoint
from ultrafast.bus.wire import CONTROL_LANE, LANES, Kind, Operation, lane_of
from ultrafast.core import now_ns
from ultrafast.core._agents import ACTIVE, DRAINING, STARTING, STOPPED
from ultrafast.core._status import OK, STALE
from ultrafast.errors import AgentTypeUnknown, NoAgentSlot, QueueFull, WorkerFailed
from ultrafast.metric_names import Counter, Histogram

__all__ = ["HOSTS", "Spawner", "inbox_name"]

# The queue names of processes that host agents.
HOSTS: Final = "host-"
_ADMISSION_S: Final = 5.0
_BATCH: Final = 256


def inbox_name(index: int) -> str:
    """The inbox of the index-th host; its name outlives the process that empties it."""
    return f"{HOSTS}{index}"


class Spawner:
    """Spawns and terminates agents.

    Parameters
    ----------
    endpoint : Endpoint
        This process's.
    hosts : int
        How many processes host agents: one a worker, or the manager itself.
    mailbox_capacity : int
        Messages that may wait for one agent, unless its type says otherwise.
    max_agents : int
        Live agents at most.
    """

    def __init__(
        self, endpoint: Endpoint, *, hosts: int, mailbox_capacity: int, max_agents: int
    ) -> None:
        self._endpoint = endpoint
        self._agents = endpoint.agents
        self._metrics = endpoint.metrics
        self._capacity = mailbox_capacity
        self._max_agents = max_agents
        self.limits: dict[str, int] = {}
        self.say: Callable[[str, Any], None] = _nobody
        self._types: dict[str, int] = {}
        self._count = hosts
        self._hosts: list[int] = []
        self._next = itertools.count(endpoint.region.slot)

    def type_of(self, name: str) -> int:
        """The number of a registered type."""
        number = self._types.get(name)
        if number is None:
            number = self._agents.type(name, False)
            if number is None:
                raise AgentTypeUnknown(
                    f"agent type {name!r} is not registered; call register({name!r}, YourAgent)"
                )
            self._types[name] = number
        return number

    async def spawn(self, name: str, priority: str | int) -> int:
        """One agent; see `SystemContext.spawn_agent`."""
        started = now_ns()
        number = self.type_of(name)
        lane = lane_of(priority)
        agent_id, worker, warm = self._claim(number, name, lane, started)
        posted = await self._endpoint.post_within(
            _ADMISSION_S, worker, CONTROL_LANE, b"", *self._start(agent_id, number)
        )
        if not posted:
            self._agents.move(agent_id, STARTING, STOPPED)
            raise QueueFull(
                f"host queue {worker} took no new agent within {_ADMISSION_S:g} s; "
                "spawn more slowly or raise queue_capacity"
            )
        self._metrics.record(
            Histogram.SPAWN_WARM if warm else Histogram.SPAWN_COLD, now_ns() - started
        )
        self._metrics.add(Counter.SPAWNED)
        self.say("agent.spawned", {"type": name, "agents": [agent_id]})
        return agent_id

    async def spawn_many(self, name: str, n: int, priority: str | int) -> list[int]:
        """Many agents; see `SystemContext.spawn_agents`."""
        number = self.type_of(name)
        lane = lane_of(priority)
        ids: list[int] = []
        while len(ids) < n:
            started = now_ns()
            batches: dict[int, list[int]] = {}
            for _ in range(min(_BATCH, n - len(ids))):
                agent_id, worker, _ = self._claim(number, name, lane, started)
                batches.setdefault(worker, []).append(agent_id)
            for worker, batch in batches.items():
                await self._start_batch(worker, number, batch)
                ids += batch
                self.say("agent.spawned", {"type": name, "agents": batch})
            self._metrics.add(Counter.SPAWNED, sum(map(len, batches.values())))
            await asyncio.sleep(0)
        return ids

    async def terminate(self, agent_id: int, drain: bool, timeout_s: float) -> bool:
        """Stop an agent; see `SystemContext.terminate_agent`."""
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout_s
        while (status := self._agents.move(agent_id, ACTIVE, DRAINING)) != OK:
            info = self._agents.look(agent_id)
            if status == STALE or info is None or info.state not in (STARTING, ACTIVE):
                return False
            if loop.time() > until:
                raise TimeoutError(f"agent {agent_id:#x} was not started within {timeout_s:g} s")
            await asyncio.sleep(0.001)
        # From here on nobody can send to it. A marker in each lane tells the host when it has seen
        # the last message of that lane.
        info = self._agents.look(agent_id)
        if info is None:
            return True
        operation = int(Operation.STOP if drain else Operation.STOP_NOW)
        correlation = self._endpoint.correlation()
        answer = self._endpoint.expect(correlation, until - loop.time())
        reply = self._endpoint.index + 1
        for lane in range(LANES) if drain else (CONTROL_LANE,):
            marker = (int(Kind.CONTROL), 0, 0, agent_id, correlation, now_ns(), reply, 0, operation)
            if not await self._endpoint.post_within(
                until - loop.time(), info.worker, lane, b"", *marker
            ):
                answer.cancel()
                raise QueueFull(
                    f"the host of agent {agent_id:#x} took no word within {timeout_s:g} s"
                )
        (await answer).release()
        return True

    def counts(self) -> dict[str, dict[str, int]]:
        """Agents by type and state."""
        tally = self._agents.tally()
        names = ("free", "building", "warm", "starting", "active", "draining", "stopped", "failed")
        found: dict[str, dict[str, int]] = {}
        for number, row in enumerate(tally):
            if row.any():
                name = self._agents.type_name(number) or str(number)
                found[name] = {names[s]: int(c) for s, c in enumerate(row) if c}
        return found

    def alive(self) -> int:
        """Agents spawned and not yet ended, over all processes."""
        read = self._metrics.read_counter
        return int(read(Counter.SPAWNED) - read(Counter.TERMINATED))

    # --- helpers

    def _start(self, agent_id: int, number: int) -> tuple[int, ...]:
        return (int(Kind.CONTROL), 0, 0, agent_id, number, now_ns(), 0, 0, int(Operation.START))

    def _claim(self, number: int, name: str, lane: int, started: int) -> tuple[int, int, bool]:
        """An id in state STARTING, the queue of its host, and whether it was warm."""
        claimed = self._agents.claim(number, lane, 0, started)
        if claimed is not None:
            return claimed[0], claimed[1], True
        if self.alive() >= self._max_agents:
            raise self._full()
        worker = self.next_host()
        limit = self.limits.get(name, self._capacity)
        try:
            agent_id = self._agents.new(number, worker, lane, STARTING, limit, 0, started)
        except NoAgentSlot:
            raise self._full() from None
        return agent_id, worker, False

    def _full(self) -> NoAgentSlot:
        return NoAgentSlot(
            f"no room for another agent: {self.alive()} are alive and max_concurrent_agents is "
            f"{self._max_agents}; terminate some or raise it"
        )

    async def _start_batch(self, worker: int, number: int, batch: list[int]) -> None:
        items = []
        for agent_id in batch:
            kind, codec, sender, receiver, correlation, sent, reply, flags, extra = self._start(
                agent_id, number
            )
            items.append(
                (b"", kind, codec, sender, receiver, correlation, sent, reply, flags, extra)
            )
        queues = self._endpoint.queues
        until = asyncio.get_running_loop().time() + _ADMISSION_S
        while items:
            sent_now = queues.send_batch(worker, CONTROL_LANE, items, tracing.current())
            items = items[max(0, sent_now) :]
            if not items:
                return
            if asyncio.get_running_loop().time() > until:
                for item in items:
                    self._agents.move(item[4], STARTING, STOPPED)
                raise QueueFull(
                    f"host queue {worker} took no new agent within {_ADMISSION_S:g} s; "
                    f"{len(items)} of a batch were not spawned"
                )
            await asyncio.sleep(0.001)

    def next_host(self) -> int:
        """The queue of a host, each in turn."""
        if len(self._hosts) < self._count:
            found = map(self._endpoint.queues.find, map(inbox_name, range(self._count)))
            self._hosts = [queue for queue in found if queue is not None]
            if not self._hosts:
                raise WorkerFailed("no process of this system hosts agents yet")
        return self._hosts[next(self._next) % len(self._hosts)]


def _nobody(subject: str, payload: Any) -> None:
    """Whom events are told until there is an event bus."""
