"""`Population`: the agents of a system, spawned, found, watched and ended from any process.

Stands on the spawner, the cards and the bus. Hosts no agent.
"""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any

from ultrafast.agents.cards import Cards
from ultrafast.agents.hosting.rollcall import call_roll
from ultrafast.agents.monitors import Monitor, Watch
from ultrafast.agents.placing.ending import Ender
from ultrafast.agents.placing.relocation import relocate
from ultrafast.agents.placing.spawner import Spawner
from ultrafast.agents.state import forget_state as delete_state
from ultrafast.bus.bus import UltraFastCommunicationBus
from ultrafast.bus.endpoint import Endpoint
from ultrafast.errors import AgentGone

__all__ = ["Population"]


class Population:
    """Agents, by id, by name and by group.

    Parameters
    ----------
    endpoint : Endpoint
        This process's.
    bus, spawner
        Built on it.
    """

    def __init__(
        self, endpoint: Endpoint, bus: UltraFastCommunicationBus, spawner: Spawner
    ) -> None:
        self._endpoint = endpoint
        self.bus = bus
        self._spawner = spawner
        self.ender = Ender(endpoint)
        self.cards = Cards(endpoint.table, endpoint.agents)
        self._watch = Watch(endpoint, self.cards)
        self._turn = itertools.count(endpoint.region.slot)

    # Types that hosts are to be told of before the next spawn: only a manager has some.
    _unsent: Sequence[str] = ()

    async def _send_types(self) -> None:
        """Tell hosts of these types."""

    def host_here(self, start: Callable[[Iterable[int]], object]) -> None:
        """Say who starts the agents that are spawned into this process."""
        self._spawner.here = start

    def spawn_agent(
        self,
        agent_type: str,
        *,
        priority: str | int = "normal",
        name: str | None = None,
        affinity: int | None = None,
        groups: Iterable[str] = (),
        parent: int = 0,
    ) -> Coroutine[Any, Any, int]:
        """Spawn an agent: a warm one if there is one, a cold one otherwise.

        Parameters
        ----------
        agent_type : str
        priority : str or int
            Of the agent; messages carry their own.
        name : str, optional
            `lookup` finds it by this name, in every process, until it ends.
        affinity : int, optional
            An agent whose worker is to have it, too; it is then built cold.
        groups : iterable of str
            Groups that it is a member of from the beginning.
        parent : int
            The agent that spawns it, to which its failure may be escalated; 0 is none.

        Returns
        -------
        int
            Its id, valid at once: messages sent to it are delivered after its `on_start`.

        Raises
        ------
        AgentTypeUnknown
            Nobody registered the type.
        NoAgentSlot, AgentTypeFull
            `max_concurrent_agents`, or `max_agents` of the type, are alive.
        NameTaken
            A living agent has the name.
        AgentGone
            The agent of `affinity` is no more.
        QueueFull
            The worker's queue took no more within five seconds.
        """
        if self._unsent:
            return self._spawn_told(agent_type, priority, name, affinity, tuple(groups), parent)
        if name is None and groups == ():
            return self._spawner.spawn(agent_type, priority, parent, affinity)
        member_of = tuple(groups)

        def prepare(agent_id: int) -> None:
            try:
                if name is not None:
                    self.cards.claim(name, agent_id)
                for group in member_of:
                    self.cards.join(group, agent_id)
            except BaseException:  # cancelled too: raised again, and the name is free
                self.cards.drop(agent_id)
                raise

        return self._spawner.spawn(agent_type, priority, parent, affinity, prepare)

    async def _spawn_told(
        self,
        agent_type: str,
        priority: str | int,
        name: str | None,
        affinity: int | None,
        groups: Iterable[str],
        parent: int,
    ) -> int:
        await self._send_types()
        return await self.spawn_agent(
            agent_type,
            priority=priority,
            name=name,
            affinity=affinity,
            groups=groups,
            parent=parent,
        )

    async def spawn_agents(
        self,
        agent_type: str,
        n: int,
        *,
        priority: str | int = "normal",
        affinity: int | None = None,
        parent: int = 0,
    ) -> list[int]:
        """Spawn `n` agents of a type; as `spawn_agent`, in batches."""
        if self._unsent:
            await self._send_types()
        return await self._spawner.spawn_many(agent_type, n, priority, parent, affinity)

    async def terminate_agent(
        self,
        agent_id: int,
        *,
        drain: bool = True,
        timeout_s: float = 30.0,
        forget_state: bool = False,
    ) -> bool:
        """Stop an agent: whether it was alive. All that was its is given back.

        Parameters
        ----------
        drain : bool
            Handle the messages that it has first; otherwise they become dead letters, a task that
            it has begun is stopped, with its model call, and a handler that waits for something is
            cancelled, its message a dead letter too. What runs in a thread runs to its end.
        timeout_s : float
            How long to wait for it to have stopped; then `TimeoutError`, and it goes on stopping,
            but one that had not started in that time. One that moves to another worker stops as
            any: at once where it is, or where it goes to when it has handled what it has.
        forget_state : bool
            Delete the `state` of an agent with a name as well; that of others goes with them.
        """
        card = self.cards.read(agent_id) if forget_state else None
        stopped = await self.ender.terminate(agent_id, drain, timeout_s)
        if card is not None and card.name:
            delete_state(self._endpoint.table, agent_id, card.name)
        return stopped

    async def move_agent(
        self,
        agent_id: int,
        *,
        worker: int | None = None,
        affinity: int | None = None,
        timeout_s: float = 5.0,
    ) -> bool:
        """Have an idle agent live in another worker: whether it moved, or False: it lives there.

        Its type must have been registered with ``movable=True``. What it keeps in `self.state` goes
        with it, and nothing else: its object is built anew there, as after a restart. No message is
        lost, and of no sender a message overtakes an earlier one.

        Parameters
        ----------
        worker : int, optional
            The number of the worker, from 0 on.
        affinity : int, optional
            An agent whose worker is to have it, too. Without either it goes to the worker that has
            the fewest agents, its own left out.
        timeout_s : float
            How long to wait for it to be idle, and to have moved; then `TimeoutError`, and a move
            that has begun goes on.

        Raises
        ------
        AgentGone
            It, or the agent of `affinity`, does not live.
        InvalidArgument
            Its type is not movable, or there is no such worker.
        """
        return await relocate(
            self._endpoint, agent_id, self._home(agent_id, worker, affinity), timeout_s
        )

    def _home(self, agent_id: int, worker: int | None, affinity: int | None) -> int:
        """The queue of the worker that an agent is to move to."""
        if worker is not None:
            return self._spawner.host(worker)
        info = self._endpoint.agents.look(agent_id if affinity is None else affinity)
        if info is None:
            raise AgentGone(f"agent {affinity or agent_id:#x} does not live")
        return info.worker if affinity is not None else self._spawner.other_host(info.worker)

    def tell_host(self, worker: int, ids: array[int]) -> None:
        """Have the host with a queue start agents that are to be there."""
        self._spawner.tell_host(worker, ids)

    def host_number(self, queue: int) -> int:
        """The number of the worker with a queue."""
        return self._spawner.host_number(queue)

    async def ping_agents(
        self, agent_ids: Iterable[int] | None = None, *, timeout_s: float = 10.0
    ) -> int:
        """Ask each agent for a sign of life: how many answered in time.

        The answer comes from the agent's worker: at once where the agent is free, through its
        mailbox where it is busy. All live agents are asked when no ids are given.
        """
        return await call_roll(self._endpoint, self.bus, agent_ids, timeout_s)

    # --- names and groups

    def lookup(self, name: str) -> int | None:
        """The living agent with a name; None if there is none."""
        return self.cards.lookup(name)

    def join(self, group: str, agent_id: int) -> None:
        """Make an agent a member of a group, until it leaves or ends.

        Raises
        ------
        AgentGone
            It does not live.
        StoreFull
            There is no room to write it down.
        """
        self.cards.join(group, agent_id)

    def leave(self, group: str, agent_id: int) -> None:
        """Make an agent a member no more; nothing happens if it is none."""
        self.cards.leave(group, agent_id)

    def members(self, group: str) -> list[int]:
        """The living members of a group, in no order that means something."""
        return self.cards.members(group)

    def pick(self, group: str) -> int | None:
        """One living member of a group, each in turn; None if there is none."""
        members = self.cards.members(group)
        return members[next(self._turn) % len(members)] if members else None

    async def broadcast(
        self, sender: int | None, group: str, body: Any, *, priority: str | int = "normal"
    ) -> int:
        """Send a message to every member of a group, the sender left out: how many accepted it."""
        items = [(each, body) for each in self.cards.members(group) if each != sender]
        return sum(self.bus.send_many_nowait(sender, items, priority=priority))

    # --- watching

    def monitor(self, agent_id: int) -> Monitor:
        """Watch for the end of an agent. A restart is not its end.

        Returns
        -------
        Monitor
            Await it, or iterate over it: it gives one `AgentEnded`, however the agent ends, and
            also if it had ended already.

        Raises
        ------
        StoreFull
            There is no room to write it down.
        """
        return self._watch.monitor(agent_id)
