"""Requests within a process are answered in the asker's own turn: only the clock notices."""

import asyncio
import contextvars
import inspect
import threading
from typing import Any, ClassVar

import pytest

import ultrafast as uf
from ultrafast import errors

pytestmark = pytest.mark.usefixtures("clean_shm")

whose: contextvars.ContextVar[str] = contextvars.ContextVar("whose", default="nobody's")


class Echo(uf.Agent):
    def on_message(self, message: uf.IncomingMessage) -> Any:
        if message.body == "whose":
            mine = whose.get()
            whose.set("the handler's")
            return mine
        if message.body == "fail":
            raise ZeroDivisionError("as you wish")
        return message.body


class Silent(uf.Agent):
    async def on_message(self, message: uf.IncomingMessage) -> Any:
        await asyncio.sleep(message.body)


class Chain(uf.Agent):
    """Asks the next one of the chain, and adds itself to what it says."""

    async def on_message(self, message: uf.IncomingMessage) -> Any:
        others = message.body
        return [self.id, *(await self.context.request(others[0], others[1:]) if others else [])]


def one_loop(main: Any) -> None:
    async def run() -> None:
        config = uf.Config(workers=0, max_concurrent_agents=300, mailbox_capacity=8)
        async with uf.UltraFastAgentManager(config) as m:
            for cls in (Echo, Silent, Chain):
                m.register(cls.__name__.lower(), cls)
            await main(m)
            await m.shutdown(timeout_s=0.1)

    asyncio.run(run())


def test_bodies_errors_and_contexts_stay_apart() -> None:
    async def main(m: uf.UltraFastAgentManager) -> None:
        agent = await m.spawn_agent("echo")
        for body in (None, 0, "text", b"bytes", {"a": [1, 2]}, 1.5, True, [None]):
            assert await m.request(None, agent, body) == body
        with pytest.raises(errors.AgentError, match="ZeroDivisionError: as you wish"):
            await m.request(None, agent, "fail")
        whose.set("the asker's")
        assert await m.request(None, agent, "whose") == "nobody's"
        assert whose.get() == "the asker's"

    one_loop(main)


def test_an_asker_that_never_waits_lets_others_run() -> None:
    async def main(m: uf.UltraFastAgentManager) -> None:
        agent = await m.spawn_agent("echo")
        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        beside = asyncio.create_task(other())
        for number in range(5_000):
            assert await m.request(None, agent, number) == number
        assert turns > 5
        beside.cancel()

    one_loop(main)


def test_chains_of_agents_answer_and_times_end_alone() -> None:
    async def main(m: uf.UltraFastAgentManager) -> None:
        chain = await m.spawn_agents("chain", 100)
        assert await m.request(None, chain[0], chain[1:]) == chain
        silent = await m.spawn_agents("silent", 20)
        asked = [m.request(None, each, 60.0, timeout_s=0.05) for each in silent]
        patient = asyncio.create_task(m.request(None, await m.spawn_agent("silent"), 0.2))
        ended = await asyncio.gather(*asked, return_exceptions=True)
        assert all(isinstance(each, TimeoutError) for each in ended)
        assert await patient is None
        for _ in range(8):  # the mailbox of one that is busy fills, and says so
            await m.send_message(None, silent[0], 0)
            await asyncio.sleep(0.01)  # out of the worker's queue, into its own
        with pytest.raises(errors.QueueFull):
            await m.request(None, silent[0], 0, timeout_s=0.05)

    one_loop(main)


def test_what_is_answered_at_once_is_a_copy_in_its_plain_form() -> None:
    class Keeper(uf.Agent):
        kept: ClassVar[list[Any]] = []

        def on_message(self, message: uf.IncomingMessage) -> Any:
            if message.body == "tuple":
                return (1, (2, "ä"))
            if message.body == "large":
                return ["x" * 100_000]
            if message.body == "surrogate":
                return "\ud800"
            if message.body == "wide":
                return 1 << 64
            return self.kept

    async def main(m: uf.UltraFastAgentManager) -> None:
        m.register("keeper", Keeper)
        agent = await m.spawn_agent("keeper")
        got = await m.request(None, agent, None)
        got.append("mine")
        assert Keeper.kept == [] and await m.request(None, agent, None) == []
        assert await m.request(None, agent, "tuple") == [1, [2, "ä"]]
        assert await m.request(None, agent, "large") == ["x" * 100_000]
        for wrong in ("surrogate", "wide"):
            with pytest.raises(errors.EncodeError):
                await m.request(None, agent, wrong)
        before = m.get_performance_metrics()
        for body in ("tuple", "large", None):
            await m.request(None, agent, body)
        after = m.get_performance_metrics()
        for each in ("sent", "delivered", "handled", "replies"):
            assert after.counters[each] - before.counters[each] == 3
        assert after.request_time.count - before.request_time.count == 3

    one_loop(main)


def test_a_request_is_a_coroutine_that_is_sent_when_it_is_awaited() -> None:
    async def main(m: uf.UltraFastAgentManager) -> None:
        agent, silent = await m.spawn_agent("echo"), await m.spawn_agent("silent")
        asked = m.request(None, agent, 1)
        assert inspect.isawaitable(asked)
        assert await asked == 1
        with pytest.raises(RuntimeError, match="already awaited"):
            await asked
        raw = m.bus.request(None, agent, 2)
        assert asyncio.iscoroutine(raw) and await asyncio.create_task(raw) == 2
        with pytest.raises(RuntimeError, match="already awaited"):
            await raw
        raw = m.bus.request(None, agent, 3)
        with pytest.raises(TypeError, match="just-started"):
            raw.send(1)
        with pytest.raises(StopIteration) as ended:
            raw.send(None)
        assert ended.value.value == 3
        # By hand, to where it waits for somebody else.
        slow = m.bus.request(None, silent, 0.01)
        future = slow.send(None)
        assert asyncio.isfuture(future)
        with pytest.raises(KeyError):
            slow.throw(KeyError("enough"))
        with pytest.raises(ZeroDivisionError):
            m.bus.request(None, agent, 4).throw(ZeroDivisionError)
        m.bus.request(None, agent, 5).close()
        # Tuples and errors are values like any other.
        assert await asyncio.wait_for(m.bus.request(None, agent, (1, 2)), 5.0) == [1, 2]
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(m.bus.request(None, silent, 60.0), 0.05)
        with pytest.warns(RuntimeWarning, match="never awaited, and not sent"):
            forgotten = m.bus.request(None, agent, 6)
            del forgotten

    one_loop(main)


def test_what_comes_while_an_asker_is_answered_at_once_is_handled_at_the_next_turn() -> None:
    """The bell is not armed between requests: the turn after them looks."""

    async def main(m: uf.UltraFastAgentManager) -> None:
        agent, counter = await m.spawn_agent("echo"), await m.spawn_agent("echo")
        for _ in range(50):
            assert await m.request(None, agent, None) is None
            started = threading.Thread(target=m.bus.send_nowait, args=(None, counter, None))
            started.start()
            started.join()
        async with asyncio.timeout(60.0):
            while delivered(m) < 100:
                await asyncio.sleep(0.001)
        # Asleep again, with the bell armed: who rings now is heard.
        await asyncio.sleep(0.01)
        threading.Thread(target=m.bus.send_nowait, args=(None, counter, None)).start()
        async with asyncio.timeout(60.0):
            while delivered(m) < 101:
                await asyncio.sleep(0.001)

    def delivered(m: uf.UltraFastAgentManager) -> int:
        return m.get_performance_metrics().counters["delivered"]

    one_loop(main)
