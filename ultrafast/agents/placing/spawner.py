"""`Spawner`: agents begun, from any process of the system.

Stands on the agent records and the inboxes of the workers that host agents. A warm agent is claimed
by one CAS; without one, a fresh record goes to the worker that has the fewest agents, which builds
the agent. It keeps no list: the records are the list.
"""

from __future__ import annotations

import asyncio
import contextvars
import itertools
from array import array
from collections.abc import Callable, Iterable
from typing import Any, Final

from ultrafast.agents.placing.loads import Loads
from ultrafast.agents.registry import AgentType, number_of
from ultrafast.bus.endpoint import Endpoint
from ultrafast.bus.wire import CONTROL_LANE, Kind, Operation, lane_of
from ultrafast.core import now_ns
from ultrafast.core._agents import (
    STARTING,
    STATES,
    STOPPED,
    Places,
)
from ultrafast.core._status import BUSY, FULL
from ultrafast.errors import (
    AgentGone,
    AgentTypeFull,
    AgentTypeUnknown,
    InvalidArgument,
    NoAgentSlot,
    QueueFull,
    WorkerFailed,
)
from ultrafast.metric_names import Counter, Histogram

__all__ = ["HOSTS", "Spawner", "inbox_name"]

# The queue names of processes that host agents.
HOSTS: Final = "host-"
_ADMISSION_S: Final = 5.0
_RETRY_S: Final = 0.001
# Agents spawned between two turns of the loop, and those that one message names.
_BATCH: Final = 1024
# A place is lost to others only where a death is mended meanwhile: seldom once.
_TRIES: Final = 8
_CHUNK: Final = 128


def inbox_name(index: int) -> str:
    """The inbox of the index-th host; its name outlives the process that empties it."""
    return f"{HOSTS}{index}"


class Spawner:
    """Spawns agents.

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
        self._loads = Loads(endpoint.agents, endpoint.region.slot)
        # Starts agents that live in this process; None where none do.
        self.here: Callable[[Iterable[int]], object] | None = None
        self._begun: list[tuple[int, str, int]] = []
        self._telling = False
        self._refused: dict[int, array[int]] = {}
        # What is started is started outside of anybody's trace.
        self._context = contextvars.copy_context()

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

    def learn(self, kind: AgentType) -> None:
        """Hold to what a type's registration says."""
        self.limits[kind.name] = kind.mailbox_capacity

    def publish(self, kind: AgentType) -> None:
        """Have every process hold to the `max_agents` of a type."""
        if kind.max_agents is None:
            number = self._agents.type(kind.name, False)
        else:
            number = number_of(self._agents, kind.name)
        if number is not None:
            self._agents.set_limit(number, kind.max_agents or 0)
        self.learn(kind)

    async def spawn(
        self,
        name: str,
        priority: str | int,
        parent: int = 0,
        beside: int | None = None,
        prepare: Callable[[int], None] | None = None,
    ) -> int:
        """One agent; see `SystemContext.spawn_agent`.

        Parameters
        ----------
        parent : int
            The agent that spawns it, or 0.
        beside : int, optional
            An agent whose worker is to have it, too.
        prepare : callable, optional
            Called with the id before its worker is told; what it raises ends the spawn.
        """
        started = now_ns()
        number = self._types.get(name)
        if number is None:
            number = self.type_of(name)
        lane = lane_of(priority)
        agent_id, worker, warm = self._claim(number, name, lane, started, parent, beside)
        if prepare is not None:
            try:
                prepare(agent_id)
            except BaseException:  # cancelled too: raised again, and its worker lets it go
                self._agents.end(agent_id, STARTING, STOPPED)
                raise
        self._metrics.add(Counter.SPAWNED)
        # Its host is told at the loop's next turn, of all that were spawned in this one. A message
        # that comes to an agent before that starts it as well; then there is no need to tell.
        self._begun.append((worker, name, agent_id))
        if len(self._begun) == 1:
            asyncio.get_running_loop().call_soon(self._tell_now, context=self._context)
        elif len(self._begun) >= _CHUNK:
            self._outside(self._tell)
        if worker in self._refused:
            await self._admitted(worker, (agent_id,))
        self._metrics.record(
            Histogram.SPAWN_WARM if warm else Histogram.SPAWN_COLD, now_ns() - started
        )
        return agent_id

    def tell(self) -> None:
        """Tell hosts of the agents that were just spawned now, and not at the loop's next turn."""
        if self._begun:
            self._outside(self._tell)

    async def spawn_many(
        self, name: str, n: int, priority: str | int, parent: int = 0, beside: int | None = None
    ) -> list[int]:
        """Many agents; see `SystemContext.spawn_agents`."""
        number = self.type_of(name)
        lane = lane_of(priority)
        self._look_ahead(number, name, n)
        ids: list[int] = []
        while len(ids) < n:
            part = min(_BATCH, n - len(ids))
            batches = self._claim_many(number, name, lane, part, parent, beside)
            self._metrics.add(Counter.SPAWNED, sum(map(len, batches.values())))
            for worker, batch in batches.items():
                self._outside(self._start, worker, batch)
                if worker in self._refused:
                    await self._admitted(worker, batch)
                begun = batch.tolist()
                ids += begun
                self.say("agent.spawned", {"type": name, "agents": begun})
            await asyncio.sleep(0)
        return ids

    def counts(self) -> dict[str, dict[str, int]]:
        """Agents by type and state."""
        tally = self._agents.tally()
        found: dict[str, dict[str, int]] = {}
        for number, row in enumerate(tally):
            if row.any():
                name = self._agents.type_name(number) or str(number)
                found[name] = {STATES[s]: int(c) for s, c in enumerate(row) if c}
        return found

    def alive(self) -> int:
        """Agents spawned and not yet ended, over all processes."""
        return self._agents.census().alive

    # --- telling hosts

    def _tell(self) -> None:
        """Tell hosts, and who listens, of the agents that were spawned since the last time."""
        begun, self._begun = self._begun, []
        starting = self._agents.starting
        by_worker: dict[int, array[int]] = {}
        by_name: dict[str, list[int]] = {}
        for worker, name, agent_id in begun:
            by_worker.setdefault(worker, array("Q")).append(agent_id)
            by_name.setdefault(name, []).append(agent_id)
        for worker, ids in by_worker.items():
            if worker != self._endpoint.index:
                ids = array("Q", (each for each in ids if starting(each, worker) >= 0))
            if ids:
                self._start(worker, ids)
        for name, spawned in by_name.items():
            self.say("agent.spawned", {"type": name, "agents": spawned})

    def _tell_now(self) -> None:
        self._telling = True
        try:
            self._tell()
        finally:
            self._telling = False

    def _outside(self, call: Callable[..., None], *arguments: Any) -> None:
        """Call in the context that is nobody's; what is started there may come here again."""
        if self._telling:
            call(*arguments)
            return
        self._telling = True
        try:
            self._context.run(call, *arguments)
        finally:
            self._telling = False

    def _start(self, worker: int, ids: array[int]) -> None:
        """Have a host start agents; what its queue refuses is tried again."""
        if worker == self._endpoint.index and self.here is not None:
            self.here(ids)
            return
        waiting = self._refused.get(worker)
        if waiting is not None:
            waiting.extend(ids)
        elif left := self._send(worker, ids):
            self._refused[worker] = left
            asyncio.get_running_loop().call_later(_RETRY_S, self._send_again)

    def _send(self, worker: int, ids: array[int]) -> array[int]:
        """Send words of agents to start: those of the ids that the queue did not take."""
        head = (int(Kind.CONTROL), 0, 0, 0, 0, now_ns(), 0, 0, int(Operation.START))
        chunks = [(ids[at : at + _CHUNK], *head) for at in range(0, len(ids), _CHUNK)]
        sent = max(0, self._endpoint.queues.send_batch(worker, CONTROL_LANE, chunks))
        return ids[sent * _CHUNK :]

    def _send_again(self) -> None:
        if self._endpoint.closed:
            return
        for worker, ids in list(self._refused.items()):
            left = self._send(worker, ids)
            if left:
                self._refused[worker] = left
            else:
                del self._refused[worker]
        if self._refused:
            asyncio.get_running_loop().call_later(_RETRY_S, self._send_again)

    async def _admitted(self, worker: int, ids: Iterable[int]) -> None:
        """Wait until a host has taken the word of its agents, or give up on these."""
        until = now_ns() + int(_ADMISSION_S * 1e9)
        while worker in self._refused:
            if now_ns() > until:
                waiting, ours = self._refused[worker], set(ids)
                given_up = ours.intersection(waiting)
                self._refused[worker] = array("Q", (i for i in waiting if i not in ours))
                for agent_id in given_up:
                    self._agents.end(agent_id, STARTING, STOPPED)
                self._metrics.add(Counter.TERMINATED, len(given_up))
                if given_up:
                    raise QueueFull(
                        f"host queue {worker} took no new agent within {_ADMISSION_S:g} s; "
                        f"{len(given_up)} were not spawned: spawn more slowly or raise "
                        "queue_capacity"
                    )
                return
            await asyncio.sleep(_RETRY_S)

    # --- claiming

    def _claim(
        self, number: int, name: str, lane: int, started: int, parent: int, beside: int | None
    ) -> tuple[int, int, bool]:
        """An id in state STARTING, the queue of its host, and whether it was warm."""
        agents = self._agents
        for _ in range(_TRIES):
            if beside is None:
                found = agents.spawn(number, lane, parent, started)
                if isinstance(found, tuple):
                    return found[0], found[1], True
                if found == BUSY:
                    continue
            else:
                found = agents.admit(number, 1)
            places = self._granted(found, number, name, 1)
            try:
                new, worker = self._new(number, name, lane, started, parent, beside)
            except BaseException:
                agents.settle(places, 0)
                raise
            if agents.settle(places, 1):
                return new, worker, False
            agents.drop(new)
        raise self._full()

    def _new(
        self, number: int, name: str, lane: int, started: int, parent: int, beside: int | None
    ) -> tuple[int, int]:
        if beside is None:
            worker = self._loads.least(self._known_hosts(), started)
        else:
            worker = self._host_of(beside)
        limit = self.limits.get(name, self._capacity)
        try:
            new = self._agents.new(number, worker, lane, STARTING, limit, parent, started)
        except NoAgentSlot:
            raise self._full() from None
        return new, worker

    def _claim_many(
        self, number: int, name: str, lane: int, n: int, parent: int, beside: int | None
    ) -> dict[int, array[int]]:
        """Ids in state STARTING, `n` or fewer, by the queues of their hosts."""
        agents = self._agents
        now = now_ns()
        for _ in range(_TRIES):
            places = self._granted(agents.admit(number, n), number, name, n)
            found: dict[int, array[int]] = {}
            try:
                if beside is None:
                    found = agents.claim_many(number, lane, parent, now, len(places))
                left = len(places) - sum(map(len, found.values()))
                limit = self.limits.get(name, self._capacity)
                if beside is None:
                    shares = self._loads.shares(self._known_hosts(), left, now)
                else:
                    shares = {self._host_of(beside): left}
                for worker, share in shares.items():
                    made = agents.new_many(
                        number, worker, lane, STARTING, limit, parent, now, share
                    )
                    found.setdefault(worker, array("Q")).extend(made)
            except BaseException:
                agents.settle(places, sum(map(len, found.values())))
                for agent_id in itertools.chain(*found.values()):
                    agents.end(agent_id, STARTING, STOPPED)
                raise
            if not any(found.values()):
                agents.settle(places, 0)
                raise self._full()
            if agents.settle(places, sum(map(len, found.values()))):
                return found
            for agent_id in itertools.chain(*found.values()):
                agents.drop(agent_id)
        raise self._full()

    def _granted(self, places: Places | int, number: int, name: str, wanted: int) -> Places:
        """Places for agents of a type, `wanted` or fewer, if there is any."""
        if isinstance(places, Places):
            return places
        if places == FULL:
            raise self._type_full(number, name, wanted)
        raise self._full()

    def _look_ahead(self, number: int, name: str, wanted: int) -> None:
        """Refuse at once what a type has no room for. Counts may be too high after a death."""
        census = self._agents.census(number)
        if census.most and census.alive + wanted > census.most:
            self._agents.mend()
            if self._agents.census(number).alive + wanted > census.most:
                raise self._type_full(number, name, wanted)

    def _type_full(self, number: int, name: str, wanted: int) -> AgentTypeFull:
        census = self._agents.census(number)
        return AgentTypeFull(
            f"{census.alive} agents of type {name!r} are alive, {wanted} more were asked for, and "
            f"its max_agents is {census.most}; terminate some, or register the type with more"
        )

    def _host_of(self, agent_id: int) -> int:
        info = self._agents.look(agent_id)
        if info is None:
            raise AgentGone(f"agent {agent_id:#x}, beside which one was to be spawned, is gone")
        return info.worker

    def _full(self) -> NoAgentSlot:
        return NoAgentSlot(
            f"no room for another agent: {self.alive()} are alive and max_concurrent_agents is "
            f"{self._max_agents}; terminate some or raise it"
        )

    def tell_host(self, worker: int, ids: array[int]) -> None:
        """Have a host start agents that are to be there; what its queue refuses is tried again."""
        self._outside(self._start, worker, ids)

    def host(self, number: int) -> int:
        """The queue of the host with a number; `InvalidArgument` when there is none."""
        hosts = self._known_hosts()
        if not 0 <= number < len(hosts):
            raise InvalidArgument(
                f"there is no worker {number}: this system has {len(hosts)}, from 0 on"
            )
        return hosts[number]

    def host_number(self, queue: int) -> int:
        """The number of the host with a queue; -1 when it is none's."""
        hosts = self._known_hosts()
        return hosts.index(queue) if queue in hosts else -1

    def other_host(self, queue: int) -> int:
        """The host that has the fewest agents but for one; that one, where there is no other."""
        others = [each for each in self._known_hosts() if each != queue]
        return self._loads.least(others, now_ns()) if others else queue

    def next_host(self) -> int:
        """The queue of the host that has the fewest agents, which is to get one."""
        return self._loads.least(self._known_hosts(), now_ns())

    def _known_hosts(self) -> list[int]:
        if len(self._hosts) < self._count:
            found = map(self._endpoint.queues.find, map(inbox_name, range(self._count)))
            self._hosts = [queue for queue in found if queue is not None]
            if not self._hosts:
                raise WorkerFailed("no process of this system hosts agents yet")
        return self._hosts


def _nobody(subject: str, payload: Any) -> None:
    """Whom events are told until there is an event bus."""
