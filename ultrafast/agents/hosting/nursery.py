"""`Nursery`: the agent types that a process knows, and the agents that it builds, warm or at once.

Stands on the agent records. It hands agents out and hosts none.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Container
from typing import Any

from ultrafast.agents.agent import Agent
from ultrafast.agents.registry import AgentType, load, number_of
from ultrafast.agents.restarts import Restart
from ultrafast.bus.endpoint import Endpoint
from ultrafast.core import now_ns
from ultrafast.core._agents import BUILDING, FREE, STARTING, WARM
from ultrafast.errors import AgentTypeUnknown, NoAgentSlot

__all__ = ["Nursery", "is_overridden"]

log = logging.getLogger(__name__)


class Nursery:
    """Builds agents of the types it was told.

    Parameters
    ----------
    endpoint : Endpoint
        This process's.
    hosted : container of int
        Ids of the agents that are hosted here by now.
    """

    def __init__(self, endpoint: Endpoint, hosted: Container[int]) -> None:
        self._hosted = hosted
        self._agents = endpoint.agents
        self._index = endpoint.index
        self._types: dict[int, tuple[AgentType, type[Agent]]] = {}
        self._warm: dict[int, Agent] = {}
        # Messages that an agent handles at a time, where its type says more than one.
        self.concurrent: dict[int, int] = {}
        # Types whose agents are never begun again.
        self.never: set[int] = set()

    def learn(self, kind: AgentType) -> None:
        """Know a type from now on; `WorkerFailed` when its class can't be loaded here."""
        cls = load(kind)
        number = number_of(self._agents, kind.name)
        self._types[number] = (kind, cls)
        self.concurrent.pop(number, None)
        self.never.discard(number)
        if kind.restart.when == "never":
            self.never.add(number)
        if kind.concurrency > 1:
            self.concurrent[number] = kind.concurrency

    def policy(self, number: int) -> Restart:
        """What is done when an agent of a type failed."""
        found = self._types.get(number)
        return found[0].restart if found is not None else Restart()

    def is_movable(self, number: int) -> bool:
        """Whether agents of a type may be given to another worker."""
        return number in self._types and self._types[number][0].movable

    def empty(self, number: int) -> Agent:
        """An object that stands in for an agent of a type until it can be built."""
        agent = Agent()
        agent.type = self._types[number][0].name if number in self._types else str(number)
        return agent

    def build(self, number: int) -> tuple[Agent, Any]:
        """A new agent, and what its on_warm gave: None, or something to wait for."""
        agent = self._new(number)
        return agent, agent.on_warm() if is_overridden(agent, "on_warm") else None

    def take(self, agent_id: int) -> Agent | None:
        """The warm agent with this id, which is the caller's now."""
        return self._warm.pop(agent_id, None)

    def has(self, agent_id: int) -> bool:
        """Whether an agent with this id is warm here."""
        return agent_id in self._warm

    async def warm_up(self, number: int) -> bool:
        """Build one agent ahead of its spawn: whether it could be."""
        try:
            kind = self._types[number][0] if number in self._types else None
            limit = kind.mailbox_capacity if kind is not None else 1
            agent_id = self._agents.new(number, self._index, 2, BUILDING, limit, 0, now_ns())
        except NoAgentSlot:
            return False  # the records are needed for live agents
        agent = await self._warmed(number)
        if agent is None:
            self._agents.move(agent_id, BUILDING, FREE)
            return False
        self._warm[agent_id] = agent
        self._agents.move(agent_id, BUILDING, WARM)
        return True

    async def warm_again(self, agent_id: int, number: int) -> None:
        """Build the object of a warm agent, for its spawn unless that came first."""
        agent = await self._warmed(number)
        if agent is None:
            self._agents.move(agent_id, WARM, FREE)
            return
        info = self._agents.look(agent_id)
        if info is not None and info.state in (WARM, STARTING) and agent_id not in self._hosted:
            self._warm[agent_id] = agent

    def close(self) -> None:
        """Let go of the warm agents."""
        for agent_id in self._warm:
            self._agents.move(agent_id, WARM, FREE)
        self._warm.clear()

    async def _warmed(self, number: int) -> Agent | None:
        """A new agent after its on_warm; None when it could not be built, which is logged."""
        try:
            agent, warming = self.build(number)
            if inspect.isawaitable(warming):
                await warming
        except Exception as error:
            log.error("an agent of type %d could not be built", number, exc_info=error)
            return None
        return agent

    def _new(self, number: int) -> Agent:
        found = self._types.get(number)
        if found is None:
            name = self._agents.type_name(number)
            raise AgentTypeUnknown(f"agent type {name!r} is not known in this worker")
        agent = found[1]()
        agent.type = found[0].name
        return agent


_overridden: dict[tuple[type[Agent], str], bool] = {}


def is_overridden(agent: Agent, hook: str) -> bool:
    """Whether an agent's class has a hook of its own; looked up once for each class."""
    key = (type(agent), hook)
    known = _overridden.get(key)
    if known is None:
        known = _overridden[key] = getattr(key[0], hook) is not getattr(Agent, hook)
    return known
