"""ultrafast's ways: agents that spawn and ask agents, the manager doing so, one loop for all."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import ultrafast
from ultrafast import AgentPoolConfig, Config, UltraFastAgentManager
from ultrafast.config import KIB, MIB

from ..teams import now_ns
from .stage import (
    CHATS_PER_S,
    Contestant,
    Crowd,
    LoopStage,
    Population,
    Stage,
    chatters_of,
    check_alive,
    check_count,
    pss_bytes,
)

__all__ = ["Beside", "Managed", "OneLoop", "Spawning"]

_WAIT_S = 300.0
_TRIES = 64  # agents spawned until one is where it is wanted
_TRIPS_MAX = 150_000  # their times go into one message, which has a mebibyte at most
_AGENT_BYTES = KIB // 4  # of messages, beside what is there for all
_PID = os.getpid()  # of the worker that imported this


class Answering(ultrafast.Agent):
    """Answers with its process."""

    def on_message(self, message: Any) -> int:
        return _PID


class Counting(ultrafast.Agent):
    """Counts; asked "how many", says so and begins anew; asked anything less, its process."""

    counted = 0

    def on_message(self, message: Any) -> int | None:
        if not message.wants_answer:
            self.counted += 1
            return None
        if message.body is None:
            return _PID
        counted, self.counted = self.counted, 0
        return counted


class Chatting(ultrafast.Agent):
    """Told whom to ask and how often, does so until it is told to stop; then says how often."""

    chats = 0
    task: asyncio.Task[None] | None = None

    def on_message(self, message: Any) -> int:
        if message.body is None:
            return _PID
        other, pause_s = message.body
        if self.task is not None:
            self.task.cancel()
            self.task = None
        if other:
            self.chats = 0
            self.task = asyncio.create_task(self._chat(other, pause_s))
        return self.chats

    async def _chat(self, other: int, pause_s: float) -> None:
        while True:
            await self.context.request(other, None, timeout_s=_WAIT_S)
            self.chats += 1
            if pause_s:
                await asyncio.sleep(pause_s)


class Leading(ultrafast.Agent):
    """Does through its context what it is told."""

    async def on_message(self, message: Any) -> Any:
        method, arguments = message.body
        return await getattr(self, method)(*arguments)

    async def spawn(self, agents: int) -> list[int]:
        spawn, times, begun = self.context.spawn_agent, [], []
        for _ in range(agents):
            start = now_ns()
            begun.append(await spawn("answering"))
            times.append(now_ns() - start)
        check_alive(await self.context.system.ping_agents(begun, timeout_s=_WAIT_S), agents)
        return times

    async def answers(self, agents: int, across: bool, beside: bool) -> list[int]:
        spawn, request, times = self.context.spawn_agent, self.context.request, []
        affinity = self.id if beside else None
        # Where none is said, the next host in turn has the agent, so that of N agents not all are
        # where they are asked for; all are alive in the end.
        for _ in range(agents):
            start = now_ns()
            agent = await spawn("answering", affinity=affinity)
            pid = await request(agent, None, timeout_s=_WAIT_S)
            passed = now_ns() - start
            if (pid != _PID) == across:
                times.append(passed)
        return times

    async def population(self, agents: int) -> tuple[int, int, int]:
        system = self.context.system
        start = now_ns()
        begun = await system.spawn_agents("answering", agents)
        returned = now_ns()
        alive = await system.ping_agents(begun, timeout_s=_WAIT_S)
        return alive, returned - start, now_ns() - start

    async def trips(self, other: int, turn_s: float) -> list[int]:
        times: list[int] = []
        request = self.context.request
        until = now_ns() + int(turn_s * 1e9)
        while (start := now_ns()) < until and len(times) < _TRIPS_MAX:
            await request(other, None, timeout_s=_WAIT_S)
            times.append(now_ns() - start)
        return times

    async def count(self, counter: int, messages: int) -> int:
        send = self.context.send
        start = now_ns()
        for number in range(messages):
            if not await send(counter, number, timeout_s=_WAIT_S):
                raise RuntimeError(f"a message was refused for {_WAIT_S:g} s")
        counted = await self.context.request(counter, "how many", timeout_s=_WAIT_S)
        passed = now_ns() - start
        check_count(counted, messages)
        return passed

    async def pid(self) -> int:
        return _PID


class _Stage(LoopStage):
    """A manager, and agents that are told what to do."""

    def __init__(self, agents: int, workers: int) -> None:
        super().__init__()
        self._agents = agents
        self._workers = workers
        self._manager: UltraFastAgentManager | None = None

    async def manager(self, *, pool: int = 0) -> UltraFastAgentManager:
        """The running manager, started on first use, with so many answering agents warm."""
        if self._manager is None:
            manager = UltraFastAgentManager(
                Config(
                    workers=self._workers,
                    max_concurrent_agents=self._agents + pool + 200,
                    shared_buffer_size=128 * MIB + (self._agents + pool) * _AGENT_BYTES,
                    memory_store_size=8 * MIB,
                    max_processes=16,
                    agent_pool=AgentPoolConfig(pre_warm={}, dynamic_scaling=False),
                    enable_performance_monitoring=False,  # it would report the load that we make
                    blocking_warning_ms=0.0,  # some scenarios keep loops from turning on purpose
                )
            )
            manager.register("answering", Answering, pre_warm=pool)
            for cls in (Counting, Chatting, Leading):
                manager.register(cls.__name__.lower(), cls)
            await manager.start()
            self._manager = manager
        return self._manager

    async def agent(self, kind: str, pid: int, across: bool) -> int:
        """An agent of a type in this process, or in another."""
        manager = await self.manager()
        for _ in range(_TRIES):
            agent = await manager.spawn_agent(kind)
            where = await manager.request(None, agent, None, timeout_s=_WAIT_S)
            if (where != pid) == across:
                return agent
        raise RuntimeError(f"{_TRIES} agents were spawned, and none of them in the process wanted")

    async def leader(self) -> tuple[int, int]:
        """An agent that is told what to do, and its process."""
        manager = await self.manager()
        agent = await manager.spawn_agent("leading")
        return agent, await self.lead(agent, "pid")

    async def lead(self, leader: int, method: str, *arguments: Any) -> Any:
        manager = await self.manager()
        return await manager.request(None, leader, (method, arguments), timeout_s=_WAIT_S)

    def close(self) -> None:
        if self._manager is not None:
            self.run(self._manager.shutdown(timeout_s=1.0))
        super().close()


class _ContextStage(_Stage):
    beside = False

    def spawn(self, agents: int) -> list[int]:
        return self.run(self._lead_pooled(agents, "spawn", agents))

    def spawn_to_answer(self, agents: int, across: bool, warm: bool) -> list[int]:
        pool = agents if warm else 0
        return self.run(self._lead_pooled(pool, "answers", agents, across, self.beside))

    async def _lead_pooled(self, pool: int, method: str, *arguments: Any) -> list[int]:
        await self.manager(pool=pool)
        leader, _ = await self.leader()
        times: list[int] = await self.lead(leader, method, *arguments)
        return times

    def population(self, agents: int) -> Population:
        return self.run(self._population(agents))

    async def _population(self, agents: int) -> Population:
        leader, _ = await self.leader()
        before = pss_bytes()
        alive, returned, answered = await self.lead(leader, "population", agents)
        return Population(
            alive=alive,
            returned_ns=returned,
            answered_ns=answered,
            before_bytes=before,
            held_bytes=pss_bytes(),
        )

    def trips(self, turn_s: float, across: bool, busy: bool) -> list[int]:
        return self.run(self._trips(turn_s, across, busy))

    async def _trips(self, turn_s: float, across: bool, busy: bool) -> list[int]:
        leader, pid = await self.leader()
        other = await self.agent("answering", pid, across)
        chatters = []
        if busy:
            for elsewhere in (False, True):
                pair = [await self.agent("chatting", pid, elsewhere) for _ in range(2)]
                chatters += await self._chat(pair, 0.0)
        times: list[int] = await self.lead(leader, "trips", other, turn_s)
        chats = await self._hush(chatters)
        if busy and chats < 100 * turn_s:
            raise RuntimeError(f"both processes were to be busy: {chats} round trips in them")
        return times

    def count(self, messages: int, across: bool) -> int:
        return self.run(self._count(messages, across))

    async def _count(self, messages: int, across: bool) -> int:
        leader, pid = await self.leader()
        counter = await self.agent("counting", pid, across)
        passed: int = await self.lead(leader, "count", counter, messages)
        return passed

    def crowd(self, agents: int, turn_s: float) -> Crowd:
        return self.run(self._crowd(agents, turn_s))

    async def _crowd(self, agents: int, turn_s: float) -> Crowd:
        manager = await self.manager()
        some = chatters_of(agents)
        chatters = await manager.spawn_agents("chatting", some)
        crowd = chatters + await manager.spawn_agents("answering", agents - some)
        alive = await manager.ping_agents(crowd, timeout_s=_WAIT_S)
        leader, pid = await self.leader()
        other = await self.agent("answering", pid, False)
        await self.lead(leader, "trips", other, turn_s / 5)
        idle = await self.lead(leader, "trips", other, turn_s)
        await self._chat(chatters, 1 / CHATS_PER_S)
        await asyncio.sleep(1 / CHATS_PER_S)
        chatter = await self.lead(leader, "trips", other, turn_s)
        chats = await self._hush(chatters)
        return Crowd(alive=alive, idle_ns=idle, chatter_ns=chatter, chats=chats)

    async def _chat(self, chatters: list[int], pause_s: float) -> list[int]:
        """Have each ask the next one; the asked answer beside asking."""
        manager = await self.manager()
        for one, other in zip(chatters, [*chatters[1:], chatters[0]], strict=True):
            await manager.request(None, one, (other, pause_s), timeout_s=_WAIT_S)
        return chatters

    async def _hush(self, chatters: list[int]) -> int:
        """Have them stop: how often they asked."""
        manager = await self.manager()
        asks = [manager.request(None, each, (0, 0.0), timeout_s=_WAIT_S) for each in chatters]
        return sum(await asyncio.gather(*asks))


class _ManagerStage(_Stage):
    def spawn(self, agents: int) -> list[int]:
        return self.run(self._spawn(agents))

    async def _spawn(self, agents: int) -> list[int]:
        manager = await self.manager(pool=agents)
        times, begun = [], []
        for _ in range(agents):
            start = now_ns()
            begun.append(await manager.spawn_agent("answering"))
            times.append(now_ns() - start)
        check_alive(await manager.ping_agents(begun, timeout_s=_WAIT_S), agents)
        return times

    def spawn_to_answer(self, agents: int, across: bool, warm: bool) -> list[int]:
        return self.run(self._spawn_to_answer(agents, agents if warm else 0))

    async def _spawn_to_answer(self, agents: int, pool: int) -> list[int]:
        manager = await self.manager(pool=pool)
        times = []
        for _ in range(agents):
            start = now_ns()
            agent = await manager.spawn_agent("answering")
            await manager.request(None, agent, None, timeout_s=_WAIT_S)
            times.append(now_ns() - start)
        return times

    def population(self, agents: int) -> Population:
        return self.run(self._population(agents))

    async def _population(self, agents: int) -> Population:
        manager = await self.manager()
        await manager.ping_agents(await manager.spawn_agents("answering", 8))
        before = pss_bytes()
        start = now_ns()
        begun = await manager.spawn_agents("answering", agents)
        returned = now_ns()
        alive = await manager.ping_agents(begun, timeout_s=_WAIT_S)
        answered = now_ns()
        return Population(
            alive=alive,
            returned_ns=returned - start,
            answered_ns=answered - start,
            before_bytes=before,
            held_bytes=pss_bytes(),
        )


class _Ours(Contestant):
    ours = True

    @classmethod
    def missing(cls) -> str | None:
        return None

    @classmethod
    def version(cls) -> str:
        return f"ultrafast {ultrafast.__version__}"


class Spawning(_Ours):
    """Agents that do everything through their context, in two workers."""

    name = "ultrafast"
    how = "two workers; an agent spawns and asks others through its context; a warm pool of N"
    does = frozenset(
        {
            "spawn",
            "spawn-to-answer",
            "spawn-to-answer-cold",
            "spawn-to-answer-across",
            "population",
            "population-large",
            "population-million",
            "round-trip",
            "round-trip-across",
            "round-trip-across-busy",
            "counting",
            "counting-across",
            "crowd",
        }
    )

    @staticmethod
    def open(agents: int) -> Stage:
        return _ContextStage(agents, 2)


class _BesideStage(_ContextStage):
    beside = True


class Beside(_Ours):
    """The same where who spawns an agent has it in its own worker."""

    name = "uf beside"
    how = "as `ultrafast`, but it spawns agents beside itself (affinity=), which uses no pool"
    does = frozenset({"spawn-to-answer-cold"})

    @staticmethod
    def open(agents: int) -> Stage:
        return _BesideStage(agents, 2)


class Managed(_Ours):
    """The manager, which is outside of its workers."""

    name = "uf manager"
    how = "two workers; the manager's own process spawns and asks agents; a warm pool of N"
    does = frozenset(
        {"spawn", "spawn-to-answer-across", "population", "population-large", "population-million"}
    )

    @staticmethod
    def open(agents: int) -> Stage:
        return _ManagerStage(agents, 2)


class OneLoop(_Ours):
    """No workers: the manager's loop hosts the agents, as plain tasks would be."""

    name = "uf one loop"
    how = "workers=0: agents on the caller's uvloop, through their context; a warm pool of N"
    does = frozenset(
        {
            "spawn",
            "spawn-to-answer",
            "spawn-to-answer-cold",
            "population",
            "population-large",
            "population-million",
            "round-trip",
            "counting",
            "crowd",
        }
    )

    @staticmethod
    def open(agents: int) -> Stage:
        return _ContextStage(agents, 0)
