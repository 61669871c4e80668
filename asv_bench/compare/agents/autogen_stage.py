"""autogen-core's stage. Imported only where autogen-core is installed."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from autogen_core import (
    AgentId,
    MessageContext,
    RoutedAgent,
    SingleThreadedAgentRuntime,
    TopicId,
    TypeSubscription,
    message_handler,
)

from ..teams import now_ns
from .stage import (
    CHATS_PER_S,
    Crowd,
    LoopStage,
    Population,
    chatters_of,
    check_count,
    pss_bytes,
)

__all__ = ["AutogenStage"]


@dataclass
class Ask:
    """Answered with the same."""

    number: int


@dataclass
class Add:
    """Counted."""


@dataclass
class Counted:
    """Answered with the count, which begins anew."""


@dataclass
class Lead:
    """Answered when the agent has done what it was given to do."""


class Answering(RoutedAgent):
    """Answers, and counts."""

    def __init__(self) -> None:
        super().__init__("answers and counts")
        self.counted = 0

    @message_handler
    async def on_ask(self, message: Ask, ctx: MessageContext) -> Ask:
        return message

    @message_handler
    async def on_add(self, message: Add, ctx: MessageContext) -> None:
        self.counted += 1

    @message_handler
    async def on_counted(self, message: Counted, ctx: MessageContext) -> Ask:
        counted, self.counted = self.counted, 0
        return Ask(counted)


class Leading(RoutedAgent):
    """Does what it is told."""

    def __init__(self) -> None:
        super().__init__("leads")
        # Not in the message: the runtime logs messages as JSON.
        self.do: Callable[[Leading], Any]
        self.found: Any = None

    @message_handler
    async def on_lead(self, message: Lead, ctx: MessageContext) -> Ask:
        self.found = await self.do(self)
        return Ask(0)


class AutogenStage(LoopStage):
    """A runtime with the two types."""

    def __init__(self) -> None:
        super().__init__()
        self._leader: Leading
        self._runtime = self.run(self._start())

    async def _start(self) -> SingleThreadedAgentRuntime:
        runtime = SingleThreadedAgentRuntime()
        await Answering.register(runtime, "answering", Answering)
        self._leader = Leading()
        await self._leader.register_instance(runtime, AgentId("leading", "one"))
        await runtime.add_subscription(TypeSubscription("counting", "answering"))
        runtime.start()
        return runtime

    async def _lead(self, do: Callable[[Leading], Any]) -> Any:
        """What an agent finds that does it while it handles a message."""
        self._leader.do = do
        await self._runtime.send_message(Lead(), self._leader.id)
        return self._leader.found

    def spawn_to_answer(self, agents: int, across: bool, warm: bool) -> list[int]:
        async def do(leader: Leading) -> list[int]:
            times = []
            for number in range(agents):
                start = now_ns()
                await leader.send_message(Ask(1), AgentId("answering", f"one-{number}"))
                times.append(now_ns() - start)
            return times

        return self.run(self._lead(do))

    def population(self, agents: int) -> Population:
        return self.run(self._population(agents))

    async def _population(self, agents: int) -> Population:
        await self._runtime.send_message(Ask(1), AgentId("answering", "first"))
        before = pss_bytes()
        start = now_ns()
        alive = await self._crowd_of(agents)
        passed = now_ns() - start
        return Population(
            alive=alive,
            returned_ns=passed,  # an agent begins with its first message, so both are one
            answered_ns=passed,
            before_bytes=before,
            held_bytes=pss_bytes(),
        )

    async def _crowd_of(self, agents: int) -> int:
        asked = [
            self._runtime.send_message(Ask(number), AgentId("answering", f"crowd-{number}"))
            for number in range(agents)
        ]
        return len({answer.number for answer in await asyncio.gather(*asked)})

    def trips(self, turn_s: float, across: bool, busy: bool) -> list[int]:
        return self.run(self._lead(_asking(turn_s)))

    def count(self, messages: int, across: bool) -> int:
        return self.run(self._count(messages))

    async def _count(self, messages: int) -> int:
        topic = TopicId("counting", "counter")

        async def do(leader: Leading) -> int:
            for _ in range(messages):
                await leader.publish_message(Add(), topic)
            return 0

        # A published message has no answer: all were handled when the runtime has nothing left.
        start = now_ns()
        await self._lead(do)
        await self._runtime.stop_when_idle()
        passed = now_ns() - start
        self._runtime.start()
        counted = await self._runtime.send_message(Counted(), AgentId("answering", "counter"))
        check_count(counted.number, messages)
        return passed

    def crowd(self, agents: int, turn_s: float) -> Crowd:
        return self.run(self._crowd(agents, turn_s))

    async def _crowd(self, agents: int, turn_s: float) -> Crowd:
        alive = await self._crowd_of(agents)
        await self._lead(_asking(turn_s / 5))
        idle = await self._lead(_asking(turn_s))
        chats = [0]
        chatting = [
            asyncio.create_task(self._chat(number, chats)) for number in range(chatters_of(agents))
        ]
        await asyncio.sleep(1 / CHATS_PER_S)
        chatter = await self._lead(_asking(turn_s))
        for task in chatting:
            task.cancel()
        return Crowd(alive=alive, idle_ns=idle, chatter_ns=chatter, chats=chats[0])

    async def _chat(self, number: int, chats: list[int]) -> None:
        other = AgentId("answering", f"crowd-{number}")
        while True:
            await self._runtime.send_message(Ask(number), other)
            chats[0] += 1
            await asyncio.sleep(1 / CHATS_PER_S)

    def close(self) -> None:
        self.run(self._runtime.stop_when_idle())
        super().close()


def _asking(turn_s: float) -> Callable[[Leading], Any]:
    async def do(leader: Leading) -> list[int]:
        other, ask, times = AgentId("answering", "other"), Ask(1), []
        until = now_ns() + int(turn_s * 1e9)
        while (start := now_ns()) < until:
            await leader.send_message(ask, other)
            times.append(now_ns() - start)
        return times

    return do
