"""Plain asyncio: an agent is a task with a queue."""

from __future__ import annotations

import asyncio
import platform
from importlib.metadata import version
from typing import Any

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

__all__ = ["AsyncioTasks"]

Inbox = asyncio.Queue[Any]


class _Agent:
    """Answers a body that comes with a queue by putting it there; counts one without."""

    __slots__ = ("counted", "inbox", "task")

    def __init__(self) -> None:
        self.inbox: Inbox = asyncio.Queue()
        self.counted = 0
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        get = self.inbox.get
        while True:
            body, answers = await get()
            if answers is not None:
                answers.put_nowait(body)
            else:
                self.counted += 1


class _TasksStage(LoopStage):
    def spawn(self, agents: int) -> list[int]:
        return self.run(self._spawn(agents))

    async def _spawn(self, agents: int) -> list[int]:
        times, begun = [], []
        for _ in range(agents):
            start = now_ns()
            begun.append(_Agent())
            times.append(now_ns() - start)
        check_alive(await _ask_all(begun), agents)
        await _end(begun)
        return times

    def spawn_to_answer(self, agents: int, across: bool, warm: bool) -> list[int]:
        return self.run(self._spawn_to_answer(agents))

    async def _spawn_to_answer(self, agents: int) -> list[int]:
        times, begun = [], []
        answers: Inbox = asyncio.Queue()
        for _ in range(agents):
            start = now_ns()
            agent = _Agent()
            agent.inbox.put_nowait((1, answers))
            await answers.get()
            times.append(now_ns() - start)
            begun.append(agent)
        await _end(begun)
        return times

    def population(self, agents: int) -> Population:
        return self.run(self._population(agents))

    async def _population(self, agents: int) -> Population:
        before = pss_bytes()
        start = now_ns()
        begun = [_Agent() for _ in range(agents)]
        returned = now_ns()
        alive = await _ask_all(begun)
        answered = now_ns()
        found = Population(
            alive=alive,
            returned_ns=returned - start,
            answered_ns=answered - start,
            before_bytes=before,
            held_bytes=pss_bytes(),
        )
        await _end(begun)
        return found

    def trips(self, turn_s: float, across: bool, busy: bool) -> list[int]:
        return self.run(self._trips(turn_s))

    async def _trips(self, turn_s: float) -> list[int]:
        other = _Agent()
        times = await asyncio.create_task(_asking(other, turn_s))
        await _end([other])
        return times

    def count(self, messages: int, across: bool) -> int:
        return self.run(self._count(messages))

    async def _count(self, messages: int) -> int:
        counter = _Agent()
        passed = await asyncio.create_task(_sending(counter, messages))
        check_count(counter.counted, messages)
        await _end([counter])
        return passed

    def crowd(self, agents: int, turn_s: float) -> Crowd:
        return self.run(self._crowd(agents, turn_s))

    async def _crowd(self, agents: int, turn_s: float) -> Crowd:
        crowd = [_Agent() for _ in range(agents)]
        alive = await _ask_all(crowd)
        other = _Agent()
        idle = await asyncio.create_task(_asking(other, turn_s))
        chats = [0]
        chatters = crowd[: chatters_of(agents)]
        chatting = [asyncio.create_task(_chatting(each, chats)) for each in chatters]
        await asyncio.sleep(1 / CHATS_PER_S)
        chatter = await asyncio.create_task(_asking(other, turn_s))
        for task in chatting:
            task.cancel()
        await _end([*crowd, other])
        return Crowd(alive=alive, idle_ns=idle, chatter_ns=chatter, chats=chats[0])


async def _asking(other: _Agent, turn_s: float) -> list[int]:
    """What the asking agent does, as a task of its own."""
    answers: Inbox = asyncio.Queue()
    put, get, times = other.inbox.put_nowait, answers.get, []
    until = now_ns() + int(turn_s * 1e9)
    while (start := now_ns()) < until:
        put((1, answers))
        await get()
        times.append(now_ns() - start)
    return times


async def _sending(counter: _Agent, messages: int) -> int:
    answers: Inbox = asyncio.Queue()
    put = counter.inbox.put_nowait
    start = now_ns()
    for number in range(messages):
        put((number, None))
    put((0, answers))
    await answers.get()
    return now_ns() - start


async def _chatting(other: _Agent, chats: list[int]) -> None:
    answers: Inbox = asyncio.Queue()
    while True:
        other.inbox.put_nowait((1, answers))
        await answers.get()
        chats[0] += 1
        await asyncio.sleep(1 / CHATS_PER_S)


async def _ask_all(agents: list[_Agent]) -> int:
    answers: Inbox = asyncio.Queue()
    for number, agent in enumerate(agents):
        agent.inbox.put_nowait((number, answers))
    return len({await answers.get() for _ in agents})


async def _end(agents: list[_Agent]) -> None:
    for agent in agents:
        agent.task.cancel()
    await asyncio.gather(*(agent.task for agent in agents), return_exceptions=True)


class AsyncioTasks(Contestant):
    """A task with an `asyncio.Queue`, on one loop, in one process."""

    name = "asyncio tasks"
    how = "a task with an asyncio.Queue each, on one uvloop; an answer goes into the asker's queue"
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

    @classmethod
    def missing(cls) -> str | None:
        return None

    @classmethod
    def version(cls) -> str:
        return f"CPython {platform.python_version()}, uvloop {version('uvloop')}"

    @staticmethod
    def open(agents: int) -> Stage:
        return _TasksStage()
