"""Requests between two busy workers: who waits goes on within the turns of others."""

import asyncio
import contextvars
import os
from typing import Any

import pytest

import ultrafast as uf
from ultrafast import errors

pytestmark = pytest.mark.usefixtures("clean_shm")

whose: contextvars.ContextVar[Any] = contextvars.ContextVar("whose", default=None)


_KEPT = "the same object wherever it is not sent"


class Answering(uf.Agent):
    async def on_message(self, message: uf.IncomingMessage) -> Any:
        match message.body:
            case "where":
                return os.getpid()
            case "fail":
                raise ZeroDivisionError("as you wish")
            case "never":
                await asyncio.sleep(60)
            case "kept":
                return _KEPT
            case ["later", pause_s]:
                await asyncio.sleep(pause_s)
        return message.body


class Asking(uf.Agent):
    """Asks one in its own worker without a pause, and one in another meanwhile."""

    async def on_message(self, message: uf.IncomingMessage) -> Any:
        near, far = message.body
        self.chats, self.busy = 0, True
        chatting = asyncio.create_task(self.chat(near))
        try:
            return await self.ask(near, far)
        finally:
            self.busy = False
            await chatting

    async def chat(self, near: int) -> None:
        while self.busy:
            assert await self.context.request(near, self.chats) == self.chats
            self.chats += 1

    async def ask(self, near: int, far: int) -> list[Any]:
        request, me = self.context.request, asyncio.current_task()
        for number in range(50):
            whose.set(number)
            assert await request(far, number) == number
            assert asyncio.current_task() is me and whose.get() == number
        with pytest.raises(errors.AgentError, match="as you wish"):
            await request(far, "fail")
        with pytest.raises(TimeoutError):
            await request(far, "never", timeout_s=0.02)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await request(far, "never")
        given_up = asyncio.create_task(request(far, ["later", 0.02]))
        await asyncio.sleep(0.01)
        given_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await given_up
        # Some wait for each other's places: in one context, by hundreds, and with those nearby.
        shared = contextvars.copy_context()
        pairs = [
            asyncio.create_task(request(whom, [number]), context=shared)
            for number in range(100)
            for whom in (near, far)
        ]
        assert await asyncio.gather(*pairs) == [[n] for n in range(100) for _ in range(2)]
        asked = [request((near, far)[number % 2], number) for number in range(200)]
        assert await asyncio.gather(*asked) == list(range(200))
        return [os.getpid(), self.chats]


def test_answers_from_a_busy_worker_come_to_a_busy_one_each_to_its_own() -> None:
    async def main() -> None:
        config = uf.Config(workers=2, max_concurrent_agents=50)
        async with uf.UltraFastAgentManager(config) as m:
            m.register("answering", Answering, concurrency=400)
            m.register("asking", Asking)
            near = await m.spawn_agent("answering")
            here = await m.request(None, near, "where")
            far = near
            while await m.request(None, far, "where") == here:
                far = await m.spawn_agent("answering")
            asking = await m.spawn_agent("asking", affinity=near)
            other = await m.spawn_agent("asking", affinity=far)
            (pid, chats), (_, others) = await asyncio.gather(
                m.request(None, asking, (near, far), timeout_s=110.0),
                m.request(None, other, (far, near), timeout_s=110.0),
            )
            assert pid == here and chats > 10 and others > 10
            for each in (near, far):  # what was asked never to answer does not
                assert await m.terminate_agent(each, drain=False)

    asyncio.run(main())


class Settling(uf.Agent):
    """Asks one far away, then one nearby again and again: how many answers were not sent."""

    async def on_message(self, message: uf.IncomingMessage) -> int:
        near, far = message.body
        unsent = 0
        for number in range(10):
            assert await self.context.request(far, number) == number
            for _ in range(100):
                unsent += await self.context.request(near, "kept") is _KEPT
        return unsent


class Turning(uf.Agent):
    """Asks one far away, then one nearby: how often the loop did not turn for that."""

    async def on_message(self, message: uf.IncomingMessage) -> int:
        near, far = message.body
        loop, at_once = asyncio.get_running_loop(), 0
        for number in range(300):
            turns: list[int] = []
            assert await self.context.request(far, number) == number
            loop.call_soon(turns.append, number)
            assert await self.context.request(near, number) == number
            at_once += not turns
        return at_once


def test_who_goes_on_with_an_answer_is_answered_nearby_in_the_same_turn() -> None:
    async def main() -> None:
        config = uf.Config(workers=2, max_concurrent_agents=50)
        async with uf.UltraFastAgentManager(config) as m:
            m.register("answering", Answering)
            m.register("turning", Turning)
            m.register("settling", Settling)
            near = await m.spawn_agent("answering")
            here = await m.request(None, near, "where")
            far = near
            while await m.request(None, far, "where") == here:
                far = await m.spawn_agent("answering")
            turning = await m.spawn_agent("turning", affinity=near)
            assert await m.request(None, turning, (near, far), timeout_s=60.0) > 100
            # Who stays nearby has turns of its own again.
            settling = await m.spawn_agent("settling", affinity=near)
            assert await m.request(None, settling, (near, far), timeout_s=60.0) > 500

    asyncio.run(main())
